#!/usr/bin/env bash
# Another release takes over while attempts run: a schema that has to be brought up, an agent of another build. Sessions of
# the new agent serve what supervisors of the old one write, and nothing is lost or run twice.
# usage: f_upgrade.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
nodes_start 1 || exit 1
cp "$bin/fake_engine" engine
expect 0 'agent +greta' greta-orch node add node1 --store "$dir/store"
open_ended grow.json 2 taken_over
sed -i 's/"slot": "cpu"/"slot": {"cpus": 1}/' grow.json
cpus=$(nproc)
at_once=$((cpus < 4 ? cpus : 4))
greta-orch submit --detach grow.json >/dev/null
wait_for 20 is "SELECT count(*) FROM attempt WHERE state = 'running'" $at_once || fail "not all slots are busy"
kill -9 "$(controller_pid)"
# What versions 7, 8 and 9 changed, taken back.
undo() { sqlite3 -bail -cmd ".timeout 5000" "$GRETA_DB" "$@" || fail "the database was not taken back"; }
undo <"$here/../fixtures/undo_0009.sql"
undo "DROP INDEX attempt_result; DROP INDEX campaign_age; DROP TABLE log_column; DROP TABLE log_group; DROP TABLE log_slice; DROP INDEX log_loose;
	CREATE TABLE log_filter (chunk_id INTEGER PRIMARY KEY REFERENCES log_chunk(id), bits BLOB NOT NULL) STRICT;
	PRAGMA user_version = 5"
running=$(sql "SELECT group_concat(uuid) FROM (SELECT uuid FROM attempt ORDER BY id LIMIT $at_once)")
expect 3 'of version 5, .*greta-orch resume' greta-orch results

mkdir next
cp "$bin/greta-agent" next/
echo "another build" >>next/greta-agent
export GRETA_AGENT=$dir/next/greta-agent
greta-orch resume --detach >/dev/null
wait_for 20 nodes_up 1 || fail "the new agent does not answer: $(greta-orch status)"
touch taken_over
expect 0 '4 of 4' greta-orch watch
[ -e "$GRETA_DB.v5.bak" ] || fail "no backup was kept"
[ "$(ls store/*/greta-agent | wc -l)" = 2 ] || fail "the new agent was not used: $(ls store/*)"
equal "what ran when it was killed" "SELECT group_concat(a.uuid) FROM (SELECT * FROM attempt ORDER BY id LIMIT $at_once) a
	JOIN job j ON j.counted_attempt = a.id" "$running"
equal "attempts" "SELECT count(*) FROM attempt" 4
check_all_counted 4
controller_ends
[ -z "$(ls node1/spool/*/attempts)" ] || fail "spools were left"
done_testing
