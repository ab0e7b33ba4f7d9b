#!/usr/bin/env bash
# At a campaign's end it is held against those before, without being asked: an engine that is the same and takes longer.
# usage: f_regress.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots
cd "$dir" || exit 1

printf '#!/bin/sh\nexec %s/fake_engine "$@" --prefill-s "$(cat %s/seconds)"\n' "$bin" "$dir" >engine
chmod +x engine
cat >nightly.json <<-JSON
	{"name": "nightly", "slot": "cpu", "contexts": [128, 256], "repeats": 4, "variants": [{"name": "v3"}], "engine":
	 {"command": ["$dir/engine", "ok", "--ctx", "{context}", "--layers", "2", "--layer-ms", "30"], "adapter": "perf_timing"}}
JSON
echo 0.020 >seconds
expect 0 '8 of 8 jobs have a counted result' greta-orch submit nightly.json
grep -q against <<<"$said" && fail "the first campaign was held against something: $said"

# --- as fast as before: nothing is made of it
expect 0 'against 1 earlier campaign: 2 cells: 2 same' greta-orch submit nightly.json

# --- slower by half: said at once; the exit code is that of the jobs, and regress has its own
echo 0.030 >seconds
expect 0 'against 2 earlier campaigns: 2 cells: 2 slower' greta-orch submit nightly.json
grep -q 'v3 at 128: slower, 0.02 s to 0.03 s, 1.5x' <<<"$said" || fail "no figures: $said"
grep -q 'code and command are the same: this is drift of the environment' <<<"$said" || fail "no drift: $said"
expect 4 '### Regression: nightly' greta-orch regress --markdown --junit out.xml
grep -q '<testcase classname="v3" name="context 128" time="0.03"><failure message="1.5x slower' out.xml || fail "JUnit: $(cat out.xml)"
expect 4 'code and command are the same' greta-orch regress
expect 0 '"regressed":false' greta-orch regress 2 --json

# --- against a baseline that was as slow there is no regression
expect 0 . greta-orch baseline set slow nightly
expect 0 'A is baseline slow' greta-orch regress --baseline slow
expect 0 slow greta-orch baseline list
expect 0 . greta-orch baseline remove slow
expect 2 "there is no baseline 'slow'" greta-orch regress --baseline slow
done_testing
