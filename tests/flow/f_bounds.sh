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
	sed -i "s|\"slot\": \"cpu\"|\"slot\": {\"cpus\": 1}, \"timeout_s\": $2, \"phases\": {\"prefill\": {\"silence_s\": 0.3}}|; s|, {\"name\": \"v3\"}||" bounds.json
}
basis() {
	sql "SELECT p.value ->> 'basis' FROM attempt_text t, json_each(t.spec, '\$.phases') p WHERE p.key = 'prefill'
		AND t.attempt_id = (SELECT max(id) FROM attempt)"
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

done_testing
