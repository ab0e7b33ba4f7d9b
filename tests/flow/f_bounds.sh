#!/usr/bin/env bash
# What runs of a cell took before bounds the silence of the next: a hang that only looks like a long computation is ended long
# before its budget then, and the attempt's record says what that rests on. Too few runs bound nothing.
# usage: f_bounds.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots
cd "$dir" || exit 1

# runs REPEATS TIMEOUT: of a cell that spins for ever, once $dir/hung is not there
runs() {
	campaign bounds.json 128 "$1" hang-spin --once "$dir/hung" --layers 4 --layer-ms 5
	sed -i "s|, \"--ledger\", \"$dir/ledger\"||; s|\"slot\": \"cpu\"|\"slot\": {\"cpus\": 1}, \"timeout_s\": $2, \"phases\": {\"prefill\": {\"silence_s\": 0.3}}|; s|, {\"name\": \"v3\"}||" bounds.json
}
basis() {
	sql "SELECT p.value ->> 'basis' FROM attempt a JOIN spec s ON s.id = a.spec_id, json_each(s.text, '\$.phases') p WHERE p.key = 'prefill'
		AND a.id = (SELECT max(id) FROM attempt)"
}

# --- too few: a spin that may be a long computation runs to the end of its budget
touch hung
runs 4 600
expect 0 '4 of 4' greta-orch submit bounds.json
rm hung
runs 1 4
expect 1 '0 of 1' greta-orch submit bounds.json
grep -q '^configured: 4 runs of this cell (5 are needed), 0 shorter contexts (3 are needed)$' <<<"$(basis)" || fail "a bound by $(basis)"
equal "unbounded" "SELECT reason LIKE 'over its budget of 4%' FROM attempt ORDER BY id DESC LIMIT 1" 1

# --- enough: it does not
touch hung
runs 2 600
expect 0 '2 of 2' greta-orch submit bounds.json
rm hung
runs 1 600
start=$SECONDS
expect 1 'hung: no progress for .*; history: 6 runs of this cell, median .*; 25 times that' greta-orch submit bounds.json
[ $((SECONDS - start)) -lt 300 ] || fail "it took $((SECONDS - start)) s"
equal "bounded" "SELECT outcome || ' ' || class || ' ' || certainty FROM attempt ORDER BY id DESC LIMIT 1" "hung host_spin supported"
expect 0 'prefill +0\.3 .*history: 6 runs of this cell, median' greta-orch show --attempt "$(sql "SELECT max(id) FROM attempt")"
grep -q 'limits, and what they rest on' <<<"$said" || fail "no title: $said"

# --- the controller dies amid a campaign: what was planned keeps its bounds, and the next one learns from the same runs
touch hung
runs 14 600
sed 's|"bounds"|"amid", "max_jobs_per_node": 2|; s|"--layer-ms", "5"|"--layer-ms", "150"|' bounds.json >amid.json
n_done() { sql "SELECT count(*) FROM job WHERE state = 'done' AND campaign_id = (SELECT max(id) FROM campaign)"; }
some_done() { [ "$(n_done)" -ge 7 ]; }
# bounds [CONDITION]: of each attempt in turn, how many runs of its cell it was bounded by
bounds() {
	sql "SELECT coalesce(substr(p.value ->> 'basis', 1 + nullif(instr(p.value ->> 'basis', 'history: '), 0) + 8) + 0, 0) FROM attempt a
		JOIN spec s ON s.id = a.spec_id JOIN job j ON j.id = a.job_id, json_each(s.text, '\$.phases') p
		WHERE p.key = 'prefill' AND j.campaign_id = (SELECT max(id) FROM campaign) ${1:-} ORDER BY a.id"
}
specs() { sql "SELECT a.id, s.text ->> 'phases' FROM attempt a JOIN spec s ON s.id = a.spec_id WHERE a.id <= $last ORDER BY a.id"; }
expect 0 'amid' greta-orch submit --detach amid.json
wait_for 60 some_done || fail "only $(n_done) of 7 runs"
kill -KILL "$(controller_pid)"
last=$(sql "SELECT max(id) FROM attempt") before=$(specs)
expect 0 '14 of 14' greta-orch resume amid
[ "$(specs)" = "$before" ] || fail "bounds of attempts that were planned before have changed: $before, then $(specs)"
[ -n "$(bounds "AND a.id > $last")" ] || fail "nothing was planned by the second controller"
[ "$(bounds)" = "$(bounds | sort -n)" ] || fail "a bound was forgotten: $(bounds | tr '\n' ' ')"
[ "$(bounds "AND a.id > $last" | head -n 1)" -ge 5 ] || fail "the second controller knows of too few runs: $(bounds | tr '\n' ' ')"

done_testing
