#!/usr/bin/env bash
# A node that stays away beyond its lease, comes back, and has a result after all; and a controller that was overtaken while
# it stood still, for longer than a link may be silent.
# usage: f_lease.sh FOLDER-OF-PROGRAMS [SECONDS THAT IT STANDS STILL]
. "$(dirname "$0")/lib.sh"
still_s=${2:-12}
cd "$dir" || exit 1
nodes_start 2 || exit 1
export GRETA_LEASE_S=3
for k in 1 2; do expect 0 agent greta-orch node add "node$k" --store "$dir/node$k/store"; done
expect 0 draining greta-orch node drain node2
one() { sed -i 's/, {"name": "v3"}//' "$1"; } # FILE: one of its variants

# --- lost, tried elsewhere, and back: the first good result counts, the other is kept
open_ended lease.json 1 both_up
one lease.json
greta-orch submit --detach lease.json >/dev/null
wait_for 10 is "SELECT count(*) FROM attempt WHERE state = 'running'" 1 || fail "nothing was started"
expect 0 up greta-orch node resume node2
frozen=$(node_pids 1)
kill -STOP $frozen
wait_for 25 is "SELECT count(*) FROM attempt WHERE outcome = 'lost' AND cause = 'lease'" 1 || fail "it was not called lost"
wait_for 10 is "SELECT count(*) FROM attempt WHERE state = 'running'" 1 || fail "it was not tried elsewhere"
kill -CONT $frozen
wait_for 30 nodes_up 2 || fail "the node that was away is not back: $(greta-orch status)"
touch both_up
expect 0 '1 of 1' greta-orch watch
wait_for 20 is "SELECT count(*) FROM attempt WHERE outcome = 'ok'" 2 || { greta-orch resume --detach >/dev/null; greta-orch node check >/dev/null; }
wait_for 20 is "SELECT count(*) FROM attempt WHERE outcome = 'ok'" 2 || fail "the result that came late was not taken: $(sql 'SELECT outcome, state FROM attempt')"
equal "superseded" "SELECT count(*) FROM attempt WHERE superseded = 1" 1
equal "counted" "SELECT count(*) FROM job WHERE counted_attempt IS NOT NULL AND state = 'done'" 1
controller_ends
[ -z "$(ls node1/spool/*/attempts node2/spool/*/attempts | grep -v :)" ] || fail "spools were left: $(ls node*/spool/*/attempts)"

# --- back with no result, when its successor is on its way: that one decides
attempts() { echo "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id JOIN campaign c ON c.id = j.campaign_id WHERE c.name = '$1'"; }
# away NAME: an attempt of the campaign runs on node1, which is then away for longer than its lease
away() {
	expect 0 draining greta-orch node drain node2
	greta-orch submit --detach "$1.json" >/dev/null
	wait_for 20 is "$(attempts "$1") AND a.state = 'running'" 1 || fail "$1: nothing was started"
	expect 0 up greta-orch node resume node2
	frozen=$(node_pids 1)
	kill -STOP $frozen
	wait_for 25 is "$(attempts "$1") AND a.outcome = 'lost'" 1 || fail "$1: it was not called lost"
}
open_ended late.json 1 late
one late.json
away late
wait_for 20 is "$(attempts late) AND a.state = 'running'" 1 || fail "it was not tried elsewhere"
kill -KILL $(pgrep -f "greta-agent supervise $dir/node1/")
kill -CONT $frozen
wait_for 30 is "SELECT count(*) FROM attempt WHERE cause <> 'lease' AND outcome = 'lost'" 1 || fail "its end was not heard of"
sleep 0.5
equal "attempts of one that is back with no result" "$(attempts late)" 2
equal "its job" "SELECT j.state FROM job j JOIN campaign c ON c.id = j.campaign_id WHERE c.name = 'late'" running
touch late
expect 0 '1 of 1' greta-orch watch

# --- back with a result when its campaign was through without: it counts, and is judged as the others were
cat >says <<SH
#!/bin/sh
until [ "\$1" = 5 ] || [ -e $dir/gate ]; do sleep 0.1; done
echo "\$GRETA_ATTEMPT says \$1" >>$dir/ledger
echo "[PERF_TIMING] {\"prefill_s\":0.0001,\"prompt_tokens\":1,\"top1\":\$1,\"logits_sha256\":\"abc\"}"
SH
chmod +x says
cat >gated.json <<-JSON
	{"name": "gated", "slot": "cpu", "contexts": [1], "repeats": 1, "retries": {"lost": 0},
	 "gates": {"logits_reference": "good", "same_top1": true},
	 "engine": {"command": ["$dir/says"], "adapter": "perf_timing"},
	 "variants": [{"name": "off", "args": ["7"], "nodes": ["node1"]}, {"name": "good", "args": ["5"], "nodes": ["node2"]}]}
JSON
away gated
wait_for 30 is "SELECT state FROM campaign WHERE name = 'gated'" done || fail "gated: $(greta-orch status)"
touch gate
kill -CONT $frozen
controller_ends
expect 0 agent greta-orch node check node1
wait_for 20 is "$(attempts gated) AND a.outcome = 'invalid' AND a.cause = 'gate'" 1 ||
	fail "a late result passed no gate: $(sql 'SELECT outcome, cause, reason FROM attempt ORDER BY id DESC LIMIT 2')"
equal "counted of gated" "SELECT count(*) FROM job j JOIN campaign c ON c.id = j.campaign_id WHERE c.name = 'gated' AND counted_attempt IS NOT NULL" 1
controller_ends

# --- a copy of the database takes over; the first controller may neither dispatch nor acknowledge any more
open_ended fence.json 2 taken_over
greta-orch submit --detach fence.json >/dev/null
wait_for 10 is "SELECT count(*) FROM attempt WHERE state = 'running'" 2 || fail "nothing was started"
first=$(controller_pid)
kill -STOP "$first"
sqlite3 "$GRETA_DB" ".backup copy.db"
touch taken_over
GRETA_DB=$dir/copy.db expect 0 '4 of 4' greta-orch resume
n=$(wc -l <ledger)
sleep "$still_s"
kill -CONT "$first"
wait_for 15 test ! -d "/proc/$first" || fail "the overtaken controller goes on"
grep -qE 'newer controller|owns this database now' "$GRETA_DB.log" || fail "it did not say why it ended: $(tail -3 "$GRETA_DB.log")"
[ "$(wc -l <ledger)" = "$n" ] || fail "the overtaken controller started something"
GRETA_DB=$dir/copy.db
check_all_counted 7

# --- overtaken, it may not acknowledge either: what it has heard stays on the nodes for the one that took over
export GRETA_DB=$dir/greta2.db
for k in 1 2; do expect 0 agent greta-orch node add "node$k" --store "$dir/node$k/store"; done
open_ended prune.json 1 all_stopped
greta-orch submit --detach prune.json >/dev/null
wait_for 20 is "SELECT count(*) FROM attempt WHERE state = 'running'" 2 || fail "nothing was started"
first=$(controller_pid)
kill -STOP "$first"
sqlite3 "$GRETA_DB" ".backup copy2.db"
export GRETA_DB=$dir/copy2.db
greta-orch resume --detach >/dev/null
wait_for 20 nodes_up 2 || fail "the second controller did not reach both nodes"
second=$(controller_pid)
kill -STOP "$second"
touch all_stopped
outcomes() { ls node*/spool/*/attempts/*/outcome.json 2>/dev/null | wc -l; }
ended() { [ "$(outcomes)" = 2 ]; }
wait_for 20 ended || fail "the engines did not end: $(outcomes)"
sleep "$still_s"
kill -CONT "$first"
wait_for 20 test ! -d "/proc/$first" || fail "the overtaken controller goes on"
[ "$(outcomes)" = 2 ] || fail "the overtaken controller had a spool pruned"
kill -CONT "$second"
expect '[01]' '2 of 2' greta-orch watch
check_all_counted 2
gone() { [ "$(outcomes)" = 0 ]; }
wait_for 20 gone || fail "the spools were not pruned"

# --- two controllers, one node: the loser waits, and says whom for; also for a lock that GRETA did not take
controller_ends
for db in one two; do
	export GRETA_DB=$dir/$db.db
	expect 0 agent greta-orch node add node1 --store "$dir/node1/store"
done
controller_ends
open_ended long.json 1 seen
one long.json
GRETA_DB=$dir/one.db greta-orch submit --detach long.json >/dev/null
holds() { GRETA_DB=$dir/one.db is "SELECT count(*) FROM attempt WHERE state = 'running'" 1; }
wait_for 20 holds || fail "nothing was started"
campaign short.json 128 1 ok
one short.json
greta-orch submit --detach short.json >/dev/null
waits() { greta-orch status --json | grep -qE "\"waiting_for\":\"$1"; }
wait_for 20 waits 'cpu-[0-9]+, held by pid [0-9]+ of user [a-z]+, attempt [0-9a-f-]{36}' ||
	fail "the loser does not say whom it waits for: $(greta-orch status)"
touch seen
expect 0 '1 of 1' greta-orch watch
flock node1/slots/cpu-0 sleep 300 &
holder=$!
greta-orch submit --detach short.json >/dev/null
wait_for 20 waits 'cpu-0, held by pid [0-9]+ \(flock\) of user [a-z]+, outside GRETA' ||
	fail "a foreign holder is not named: $(greta-orch status)"
kill $(pgrep -P $holder) $holder
expect 0 '1 of 1' greta-orch watch
GRETA_DB=$dir/one.db expect 0 '1 of 1' greta-orch watch

done_testing
