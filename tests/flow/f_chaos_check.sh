#!/usr/bin/env bash
# The referee of bench/chaos finds what is planted in a copy of a database that was good, and in copies of the ledgers.
# usage: f_chaos_check.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
check=$here/../../bench/chaos_check
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots
mkdir -m 700 ledgers
cat >good.json <<-JSON
	{"name": "good", "slot": {"cpus": 1}, "contexts": [128, 256], "repeats": 2,
	 "engine": {"command": ["$bin/fake_engine", "ok", "--ctx", "{context}", "--attn", "{variant}", "--ledgers", "$dir/ledgers",
	            "--cell", "good/{variant}/{context}/{repeat}"], "adapter": "perf_timing"},
	 "variants": [{"name": "a"}, {"name": "b"}]}
JSON
expect 0 '8 of 8' greta-orch submit good.json
controller_ends
echo "good 8" >acknowledged
expect 0 '"counted": 8, .*"executions": 8, .*"lost": 0, "doubled": 0, "wrong": 0, "damaged": 0' \
	"$check" --acknowledged acknowledged "$GRETA_DB" ledgers

# planted KIND SQL [COMMAND...]: what the statement or the command spoils in copies is found, and called KIND.
planted() {
	local kind=$1 statement=$2
	shift 2
	rm -rf bad.db bad && cp -r ledgers bad
	sqlite3 "$GRETA_DB" ".backup bad.db"
	sqlite3 bad.db "PRAGMA foreign_keys = OFF; $statement" || fail "could not plant: $statement"
	[ $# = 0 ] || "$@" || fail "could not plant: $*"
	expect 1 "^$kind: " "$check" --acknowledged acknowledged bad.db bad
}
one=$(ls ledgers | head -1) other=$(ls ledgers | tail -1)
planted lost "UPDATE job SET counted_attempt = NULL WHERE id = 1"
planted lost "UPDATE job SET state = 'queued' WHERE id = 2"
planted lost "UPDATE attempt SET state = 'running' WHERE id = 3"
planted lost "DELETE FROM sample WHERE attempt_id = 1"
planted lost "DELETE FROM job WHERE id = 8; DELETE FROM sample WHERE attempt_id = 8; DELETE FROM attempt WHERE job_id = 8"
planted lost "UPDATE campaign SET name = 'another'"
planted lost "" sh -c "cp bad/$one bad/00000000-0000-4000-8000-000000000000"
planted doubled "UPDATE job SET counted_attempt = 1 WHERE id IN (1, 2)"
planted doubled "UPDATE attempt SET job_id = 1 WHERE id = 2"
planted doubled "INSERT INTO sample SELECT attempt_id, 2, name, value, text FROM sample WHERE attempt_id = 1"
planted doubled "" sh -c "cat bad/$one >>copy && cat copy >>bad/$one"
planted wrong "UPDATE sample SET value = value + 1e-9 WHERE name = 'prefill_s' AND attempt_id = 5"
planted wrong "UPDATE job SET context = 512 WHERE id = 4"
planted wrong "UPDATE job SET counted_attempt = 9 - counted_attempt"
planted wrong "UPDATE attempt SET superseded = 1 WHERE id = 1"
planted wrong "UPDATE attempt SET outcome = 'failed' WHERE id = 1"
planted wrong "" sh -c "cp bad/$one keep && cp bad/$other bad/$one && cp keep bad/$other"
planted wrong "" sh -c "sed -i '/^result/d' bad/$one"
planted damaged "UPDATE attempt SET build_id = 4711 WHERE id = 1"
expect 2 'no-such' "$check" no-such.db ledgers

done_testing
