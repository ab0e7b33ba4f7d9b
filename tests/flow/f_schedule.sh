#!/usr/bin/env bash
# Who runs where and when: constraints of variants, repeats of a cell on one GPU or over all, exclusive nodes, limits,
# priorities, fair shares, draining, cancelling over SSH, and how long is left.
# usage: f_schedule.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
nodes_start 2 || exit 1
for k in 1 2; do # two nodes of four GPUs each; 1 to 4 and 5 to 8
	for g in 1 2 3 4; do fake_gpu "node$k" $((4 * k - 4 + g)); done
	node_stop $k
	nodes_setenv="GRETA_SYSFS_ROOT=$dir/node$k/sys GRETA_DEV_ROOT=$dir/node$k/dev" node_start $k
	expect 0 'agent +greta' greta-orch node add "node$k" --store "$dir/node$k/store"
done

# planned NAME KEYS REPEATS MS: variants a, b and c of the fake engine on GPUs, each attempt MS long; KEYS: more of the campaign
planned() {
	cat >"$1.json" <<-JSON
		{"name": "$1", "slot": "gpu", "contexts": [128], "repeats": $3, "telemetry_interval_s": 0, $2
		 "engine": {"command": ["$bin/fake_engine", "ok", "--ctx", "{context}", "--attn", "{variant}", "--layers", "4",
		            "--layer-ms", "$(($4 / 4))", "--ledger", "$dir/ledger"], "adapter": "perf_timing"},
		 "variants": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}
	JSON
}
only() { sed -i "s/, {\"name\": \"b\"}, {\"name\": \"c\"}//" "$1.json"; } # variant a alone
of() { echo "FROM attempt a JOIN job j ON j.id = a.job_id JOIN campaign c ON c.id = j.campaign_id JOIN alias n ON n.id = a.alias_id
	JOIN variant v ON v.id = j.variant_id LEFT JOIN attempt_device t ON t.attempt_id = a.id WHERE c.name = '$1'"; }
running() { is "SELECT count(*) $(of "$1") AND a.state = 'running'" "$2"; }
# The most attempts of a campaign that ran at once: on a node, on a GPU.
most_at_once() {
	sql "SELECT max(n) FROM (SELECT (SELECT count(*) $(of "$1") AND $2 = x.at AND a.started_ns <= x.s AND a.ended_ns > x.s) AS n
		FROM (SELECT a.started_ns AS s, $2 AS at $(of "$1")) x)"
}

controller_stays # a node that comes to know of itself later than the other gets less

# --- a variant only on those nodes, another only on those GPUs: they wait for them and for no others
planned where "" 2 100
gpu7=GPU-0000000000000007
sed -i "s/{\"name\": \"b\"}/{\"name\": \"b\", \"nodes\": [\"node2\"]}/; s/{\"name\": \"c\"}/{\"name\": \"c\", \"devices\": [\"$gpu7\"]}/" where.json
expect 0 '6 of 6' greta-orch submit where.json
equal "nodes of b" "SELECT group_concat(DISTINCT n.name) $(of where) AND v.name = 'b'" node2
equal "GPUs of c" "SELECT group_concat(DISTINCT (SELECT uuid FROM device d WHERE d.id = t.device_id)) $(of where) AND v.name = 'c'" $gpu7
equal "waited for a GPU on the node" "SELECT count(*) FROM event e JOIN attempt a ON a.id = e.attempt_id WHERE e.kind = 'waiting'" 0

# --- the repeats of a cell stay on the GPU of the first, also when another controller goes on; each cell has its own
planned same '"placement": "same_gpu",' 6 400
expect 0 'placement: same_gpu' greta-orch plan same.json
greta-orch submit --detach same.json >/dev/null
wait_for 20 is "SELECT count(*) > 5 $(of same) AND a.outcome = 'ok'" 1 || fail "nothing ran"
kill -9 "$(controller_pid)"
expect 0 '18 of 18' greta-orch resume
equal "GPUs of each cell" "SELECT group_concat(n) FROM (SELECT count(DISTINCT t.device_id) AS n $(of same) GROUP BY v.id)" 1,1,1
equal "GPUs of all" "SELECT count(DISTINCT t.device_id) $(of same)" 3

# --- over all GPUs, evenly
controller_stays
planned spread '"placement": "spread",' 8 100
only spread
expect 0 '8 of 8' greta-orch submit spread.json
equal "GPUs of eight repeats" "SELECT count(DISTINCT t.device_id) $(of spread)" 8
planned spread3 '"placement": "spread",' 4 100
expect 0 '12 of 12' greta-orch submit spread3.json
equal "GPUs of each cell" "SELECT group_concat(n) FROM (SELECT count(DISTINCT t.device_id) AS n $(of spread3) GROUP BY v.id)" 4,4,4
sed 's/"slot": "gpu"/"slot": {"gpus": 2}/' spread.json >two.json
expect 2 '"spread" is about single GPUs' greta-orch submit two.json
controller_leaves

# --- a GPU, and a node, for one attempt alone; at most two attempts on a node
equal "attempts on one GPU at once" "SELECT $(most_at_once same t.device_id)" 1
planned limited '"max_jobs_per_node": 2,' 3 200
expect 0 '9 of 9' greta-orch submit limited.json
equal "attempts on a node at once" "SELECT $(most_at_once limited n.id)" 2
planned whole "" 2 200
sed -i 's/"slot": "gpu"/"slot": "node"/' whole.json
planned beside "" 8 200
greta-orch submit --detach beside.json >/dev/null
expect 0 '6 of 6' greta-orch submit whole.json
expect '[01]' 'counted|done' greta-orch watch beside
equal "ran beside one that has the node" "SELECT count(*) FROM attempt x JOIN attempt y ON x.alias_id = y.alias_id AND x.id <> y.id
	AND x.started_ns < y.ended_ns AND y.started_ns < x.ended_ns JOIN job j ON j.id = x.job_id JOIN campaign c ON c.id = j.campaign_id
	WHERE c.name = 'whole'" 0

# --- equal campaigns share; a higher priority goes before what waits
planned first "" 10 200
planned second "" 10 200
planned urgent '"priority": 5,' 4 200
for c in first second; do greta-orch submit --detach $c.json >/dev/null; done
wait_for 20 is "SELECT count(*) > 4 $(of second)" 1 || fail "the second does not get its share"
greta-orch submit --detach urgent.json >/dev/null
expect 0 '12 of 12' greta-orch watch urgent
for c in first second; do expect '[01]' 'counted|done' greta-orch watch $c; done
from=$(sql "SELECT min(a.id) $(of urgent)") to=$(sql "SELECT max(a.id) $(of urgent)")
equal "planned before the urgent one was through" "SELECT count(*) FROM attempt WHERE id BETWEEN $from AND $to" 12
begun=$(sql "SELECT min(a.id) $(of second)") # how far the first is by then depends on the machine
ended=$(sql "SELECT min(last) FROM (SELECT max(a.id) AS last $(of first) UNION ALL SELECT max(a.id) $(of second))")
share="SELECT abs(sum(CASE c.name WHEN 'first' THEN 1 ELSE -1 END)) <= 8 FROM (SELECT job_id FROM attempt WHERE id BETWEEN $begun AND $ended AND id NOT BETWEEN
	$from AND $to ORDER BY id LIMIT 40) a JOIN job j ON j.id = a.job_id JOIN campaign c ON c.id = j.campaign_id"
equal "fair shares" "$share" 1

# --- a drained node ends what runs there and takes nothing new
planned drained "" 5 2000
greta-orch submit --detach drained.json >/dev/null
wait_for 20 is "SELECT count(DISTINCT n.name) $(of drained) AND a.state = 'running'" 2 || fail "not both nodes are busy: $(greta-orch status)"
expect 0 'draining' greta-orch node drain node1 --reason "new firmware"
last=$(sql "SELECT max(a.id) $(of drained) AND n.name = 'node1'")
expect 0 '15 of 15' greta-orch watch drained
equal "begun on a drained node" "SELECT count(*) $(of drained) AND n.name = 'node1' AND a.id > $last" 0
equal "cut short by draining" "SELECT count(*) $(of drained) AND a.outcome <> 'ok'" 0
expect 0 up greta-orch node resume node1

# --- tried again as often as the campaign says, and never for ever
planned again '"retries": {"failed": 2},' 1 4
sed -i 's/"ok", "--ctx"/"exit", "--ctx"/' again.json
expect 1 '0 of 3' greta-orch submit again.json
equal "tries" "SELECT count(*) $(of again) AND a.outcome = 'failed'" 9
sed 's/"again"/"free"/; s/"failed": 2/"failed": "free"/' again.json >free.json
only free
expect 1 'not tried again after 20 attempts' greta-orch submit free.json
equal "free tries" "SELECT count(*) $(of free)" 20

# --- cancel a job, a cell, the campaign: their engines are gone within 5 s, on the nodes, and the others go on
planned stop "" 2 60000
for v in a b c; do sed -i "s/{\"name\": \"$v\"}/{\"name\": \"$v\", \"args\": [\"--pid\", \"$(pwd | sed 's|/|\\/|g')\/pids.$v\"]}/" stop.json; done
sed -i 's/"ok", "--ctx"/"runaway", "--ctx"/' stop.json
greta-orch submit --detach stop.json >/dev/null
wait_for 20 running stop 6 || fail "not all run: $(greta-orch status)"
alive() { local n=0 p; for p in $(cat "$@" 2>/dev/null); do [ -d "/proc/$p" ] && n=$((n + 1)); done; echo $n; }
gone() { [ "$(alive "$@")" = 0 ]; }
listed() { [ "$(cat pids.a pids.b pids.c | wc -l)" = 12 ]; }
wait_for 20 listed || fail "$(cat pids.a pids.b pids.c | wc -l) of 12 processes said that they are there"
before=$(alive pids.a)
expect 0 '1 jobs cancelled' greta-orch cancel stop --variant a --repeat 2
wait_for 5 running stop 5 || fail "a cancelled job still runs"
wait_for 5 eval '[ "$(alive pids.a)" -lt "$before" ]' || fail "no process of the cancelled job ended"
expect 0 '2 jobs cancelled' greta-orch cancel stop --variant b --context 128
wait_for 5 gone pids.b || fail "$(alive pids.b) processes of a cancelled cell are alive after 5 s"
[ "$(alive pids.c)" -gt 1 ] || fail "another cell was stopped, too"
expect 0 '3 jobs cancelled' greta-orch cancel stop
wait_for 5 gone pids.a pids.c || fail "$(alive pids.a pids.c) processes of a cancelled campaign are alive after 5 s"
controller_ends

# --- how long is left: a range at first; within 20 % (and a second, which looking takes) once each cell has run once, here by sleeping engines; also beside
# another campaign, and where cells are bound to GPUs
eta() { greta-orch status --json | jq -e ".campaigns[] | select(.name == \"$1\") | $2"; }
each_ran() { is "SELECT count(DISTINCT v.id) $(of "$1") AND a.outcome = 'ok'" 3 && eta "$1" '.eta_s != null' >/dev/null; }
right() { # NAME SAID BEGUN
	local took
	wait_for 60 is "SELECT state FROM campaign WHERE name = '$1'" done || fail "$1 does not end: $(greta-orch status)"
	took=$(jq -n "$(date +%s.%N) - $3")
	jq -en "$2 - $took | fabs < 0.2 * $took + 1" >/dev/null || fail "$1: it said $2 s, and took $took s"
}
planned left "" 10 1200
planned beside_left "" 10 1200
greta-orch submit --detach left.json >/dev/null
eta left '.eta_s == null' >/dev/null || fail "an estimate before anything ran: $(eta left .)"
greta-orch submit --detach beside_left.json >/dev/null
for c in left beside_left; do wait_for 20 each_ran $c || fail "no estimate: $(eta $c .)"; done
left=$(eta left .eta_s) begun=$(date +%s.%N)
right left "$left" "$begun"
controller_ends
planned bound '"placement": "same_gpu",' 6 1200
greta-orch submit --detach bound.json >/dev/null
wait_for 20 each_ran bound || fail "no estimate: $(eta bound .)"
left=$(eta bound .eta_s) begun=$(date +%s.%N)
right bound "$left" "$begun"

done_testing
