#!/usr/bin/env bash
# What can't be answered or read: one clear sentence each, the right exit code, and nothing left in the database.
# usage: f_bad_input.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
export GRETA_AGENT=$dir/none # nothing here needs an agent

# says CODE SENTENCE COMMAND...: it fails so, in a single line.
says() {
	expect "$@"
	[ "$(wc -l <<<"$said")" = 1 ] || fail "more than a line: ${*:3}: $said"
}

# --- no database, none of ours, none of this version
says 3 'no database there; .greta-orch submit. makes one' greta-orch scaling
echo hello >text.db
says 3 'file is not a database' greta-orch compare a b --db text.db
sqlite3 other.db 'CREATE TABLE t(x)'
says 2 "a database, but not one of GRETA's" greta-orch regress --db other.db

# --- malformed imports
bad_import() { says 2 "$1" greta-orch import "$2"; } # SENTENCE FILE
file() { printf '%s\n' "${@:2}" >"$1"; }
one='{"variant":"x","context":4096,"prefill_s":1}'
: >empty.jsonl
bad_import 'empty.jsonl is empty' empty.jsonl
file text.jsonl 'not json'
bad_import 'text.jsonl:1: .*expected a value' text.jsonl
file cut.jsonl "$one" '{"variant":"x","context":'
bad_import 'cut.jsonl:2: .*ends too early' cut.jsonl
file none.json '[]'
bad_import 'none.json holds no result' none.json
file decode.json '[{"n_prompt":0,"n_gen":128,"samples_ns":[1]}]'
bad_import 'decode.json holds no prefill: all its llama-bench tests generate tokens' decode.json
file many.json '[{"n_prompt":"many","n_gen":0,"samples_ns":[1]}]'
bad_import 'many.json:1: n_prompt of a llama-bench test is not a number of tokens' many.json
file drop.sql 'CREATE TABLE IF NOT EXISTS test (n_prompt INTEGER);' 'DROP TABLE test;'
bad_import 'drop.sql:2: neither CREATE TABLE nor INSERT INTO' drop.sql
file cut.sql 'CREATE TABLE IF NOT EXISTS test (n_prompt INTEGER);' "INSERT INTO test (n_prompt) VALUES ('512"
bad_import 'cut.sql:2: no INSERT as llama-bench -o sql prints it' cut.sql
file untimed.json '[{"n_prompt":512}]'
bad_import 'untimed.json:1: a llama-bench test without results' untimed.json
file negative.jsonl '{"variant":"x","context":-1,"prefill_s":1}'
bad_import 'negative.jsonl:1: neither a llama-bench test .* nor a result' negative.jsonl
file numbers.json '[1, 2]'
bad_import 'numbers.json:1: neither a llama-bench test' numbers.json
printf '\0\1\2\377' >bytes.jsonl
bad_import 'bytes.jsonl:1: ' bytes.jsonl
mkdir nothing
bad_import 'nothing: no run found: expected <variant>/ctx_<N>_run<i>/perf.json' nothing
mkdir -p broken/base/ctx_4096_run0
file broken/base/ctx_4096_run0/perf.json '{'
bad_import 'broken: none of its runs can be read: .*perf.json:2:1: expected a key' broken
says 3 'missing: No such file' greta-orch import missing
equal "what refused imports left" "SELECT count(*) FROM campaign" 0
says 3 'holds no campaign yet; .greta-orch submit FILE. starts one' greta-orch regress

# --- only failures
file failed.jsonl '{"variant":"x","context":4096,"outcome":"failed"}' '{"variant":"x","context":8192,"outcome":"hung"}'
expect 0 '0 ok, 0 invalid, 2 failed' greta-orch import failed.jsonl --name failed
expect 1 'failed has no counted run, so nothing can be said about it' greta-orch regress failed
expect 1 'no run of these has a counted result, so nothing can be said about scaling' greta-orch scaling failed
expect 1 '0 of 1' greta-orch results failed
expect 0 '0 of 2' greta-orch report failed
says 2 "'failed' has no counted run" greta-orch compare failed failed
says 2 'campaign 1 has no counted result: nothing to compare with' greta-orch baseline set b failed

for format in csv jsonl prometheus; do expect 0 'failed' greta-orch export failed -f $format; done
says 1 'campaign 1 has nothing that llama-bench could hold' greta-orch export failed -f llama-bench -o failed.json
[ "$(cat failed.json)" = "[]" ] || fail "an export of nothing: $(cat failed.json)"

# --- an empty campaign, as one is left where planning it went wrong
sqlite3 -cmd ".timeout 5000" "$GRETA_DB" "INSERT INTO campaign (uuid, name, text, text_sha256, mode, state, submitted_ns) VALUES ('e', 'empty', '{}', '', 'perf', 'done', 1)"
expect 1 'no run is planned in it' greta-orch results empty
says 1 'no run is planned in empty, so nothing can be said about scaling' greta-orch scaling empty
expect 1 'empty has no counted run, so nothing can be said about it' greta-orch regress empty
expect 0 'no run is planned in this campaign' greta-orch report empty
says 2 "'empty' has no counted run" greta-orch compare empty failed
for format in csv jsonl prometheus llama-bench; do
	says 1 "campaign 2 has nothing that $format could hold" greta-orch export empty -f $format -o empty.out
done

# --- a single context
file one.jsonl "$one" '{"variant":"x","context":4096,"prefill_s":1.1}'
expect 0 '2 ok' greta-orch import one.jsonl --name one
expect 0 'x: no fit: it has 1 context with a result, and a fit needs 3' greta-orch scaling one
expect 0 'there is nothing comparable to hold one against' greta-orch regress one
expect 0 'no fit: it has 1 context' greta-orch report one
expect 0 '4096  2 of 2' greta-orch results one
expect 0 "1 cell: 1 can't tell" greta-orch compare one one
for format in csv jsonl prometheus llama-bench; do expect 0 4096 greta-orch export one -f $format; done
file two.jsonl '{"variant":"x","context":8192,"prefill_s":2}'
expect 0 '1 ok' greta-orch import two.jsonl --name two
expect 0 'no cell has a run on both sides, so nothing is compared' greta-orch compare one two
expect 0 'nothing comparable to hold one against in 0 earlier campaigns' greta-orch regress one

# --- selections that match nothing, or mean nothing
for selection in one:y variant=none context=77 node=none build=none date=2020-01-01 since=2100-01-01; do
	says 2 "'$selection' has no counted run" greta-orch compare "$selection" one
done
says 2 "'yesterday' is not a date \(2026-02-12\)" greta-orch compare since=yesterday one
says 2 "a selection has no 'gpu': campaign variant context" greta-orch compare gpu=7 one
says 2 'an empty term in a selection' greta-orch compare one,, one
says 3 'no campaign "nope" in .*; there are: ' greta-orch compare one nope
says 1 'there is no variant none' greta-orch scaling one --variant none
expect 1 'no run of these has a counted result' greta-orch scaling one --node none
expect 1 'nothing in this campaign matches' greta-orch results one --variant none
says 2 "there is no baseline 'none'" greta-orch regress one --baseline none
for command in scaling regress report export "baseline set b"; do
	says 3 'no campaign "nope"' greta-orch $command nope
done

# --- of another version
cp "$GRETA_DB" old.db
sqlite3 old.db 'PRAGMA user_version = 2'
cp "$GRETA_DB" newer.db
sqlite3 newer.db 'PRAGMA user_version = 999'
for command in results scaling regress report export "compare one one"; do
	says 3 'of version 2, .*`greta-orch resume`\) migrates it and keeps a backup' greta-orch $command --db old.db
	says 3 'of version 999, .*; use a newer greta' greta-orch $command --db newer.db
done
done_testing
