#!/usr/bin/env bash
# A node that stays away beyond its lease, comes back, and has a result after all; and a controller that was overtaken.
# usage: f_lease.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
nodes_start 2 || exit 1
export GRETA_LEASE_S=3
for k in 1 2; do expect 0 agent greta-orch node add "node$k" --store "$dir/node$k/store"; done
expect 0 draining greta-orch node drain node2
one() { # FILE LAYERS: one job
	campaign "$1" 128 1 ok --layers "$2" --layer-ms 100
	sed -i 's/, {"name": "v3"}//' "$1"
}

# --- lost, tried elsewhere, and back: the first good result counts, the other is kept
one lease.json 200
greta-orch submit --detach lease.json >/dev/null
wait_for 10 is "SELECT count(*) FROM attempt WHERE state = 'running'" 1 || fail "nothing was started"
expect 0 up greta-orch node resume node2
frozen=$(node_pids 1)
kill -STOP $frozen
wait_for 25 is "SELECT count(*) FROM attempt WHERE outcome = 'lost' AND cause = 'lease'" 1 || fail "it was not called lost"
wait_for 10 is "SELECT count(*) FROM attempt WHERE state = 'running'" 1 || fail "it was not tried elsewhere"
kill -CONT $frozen
expect 0 '1 of 1' greta-orch watch
wait_for 20 is "SELECT count(*) FROM attempt WHERE outcome = 'ok'" 2 || { greta-orch resume --detach >/dev/null; greta-orch node check >/dev/null; }
wait_for 20 is "SELECT count(*) FROM attempt WHERE outcome = 'ok'" 2 || fail "the result that came late was not taken: $(sql 'SELECT outcome, state FROM attempt')"
equal "superseded" "SELECT count(*) FROM attempt WHERE superseded = 1" 1
equal "counted" "SELECT count(*) FROM job WHERE counted_attempt IS NOT NULL AND state = 'done'" 1
wait_for 20 no_controller || fail "the controller stayed"
[ -z "$(ls -A node1/spool/*/attempts node2/spool/*/attempts | grep -v :)" ] || fail "spools were left: $(ls node*/spool/*/attempts)"

# --- a copy of the database takes over; the first controller may neither dispatch nor acknowledge any more
campaign fence.json 128 3 ok --layers 30 --layer-ms 100
greta-orch submit --detach fence.json >/dev/null
wait_for 10 is "SELECT count(*) FROM attempt WHERE state = 'running'" 2 || fail "nothing was started"
first=$(controller_pid)
kill -STOP "$first"
sqlite3 "$GRETA_DB" ".backup copy.db"
GRETA_DB=$dir/copy.db expect 0 '6 of 6' greta-orch resume
n=$(wc -l <ledger)
kill -CONT "$first"
wait_for 15 test ! -d "/proc/$first" || fail "the overtaken controller goes on"
grep -qE 'newer controller|owns this database now' "$GRETA_DB.log" || fail "it did not say why it ended: $(tail -3 "$GRETA_DB.log")"
[ "$(wc -l <ledger)" = "$n" ] || fail "the overtaken controller started something"
GRETA_DB=$dir/copy.db
check_all_counted 7

done_testing
