#!/usr/bin/env bash
# A hang that comes in one of seven runs, only without a variable and only above a context: rca finds both within its
# budget, also when its controller is killed on the way. A hang that never comes back: it says that nothing was found.
# usage: f_rca.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
mkdir -m 700 spool
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots

# sweep NAME ABOVE: an engine whose 4th, 8th... run at 4096 hangs at once
sweep() {
	cat >"$1.json" <<-JSON
		{"name": "$1", "slot": {"cpus": 1}, "contexts": [512, 1024, 2048, 4096], "repeats": 1, "telemetry_interval_s": 0,
		 "phases": {"prefill": {"silence_s": 0.5}},
		 "engine": {"command": ["$bin/fake_engine", "flaky", "--ctx", "{context}", "--unless", "FENCE", "--above", "$2",
		            "--one-in", "$3", "--count", "$dir/count"], "adapter": "perf_timing"},
		 "variants": [{"name": "v3", "args": ["--attn", "v3"]}]}
	JSON
}
