#!/usr/bin/env bash
# f_html.sh BIN HTML_BUILD OUT: the HTML report of two campaigns and of a run on a GPU that is pretended, in Chromium, and the
# commands that answer from them.
. "$(dirname "$0")/lib.sh"
set -eo pipefail
trap "set +e; finish" EXIT
html=$2 out=$3
orch() { "$bin/greta-orch" "$@"; }
fail() { echo "f_html: $*" >&2; exit 1; }
holds() { grep -qF -- "$1" <<<"$2" || fail "'$1' is not in: $2"; }

python3 "$here/b389_tree.py" "$dir/before" 1 1
python3 "$here/b389_tree.py" "$dir/after" 2 1.05
orch import "$dir/before" --name before >/dev/null
orch import "$dir/after" --name after >/dev/null

text=$(orch scaling before --predict 12288)
holds "baseline: the curve breaks at 32768" "$text"
holds "v4 beats baseline from n = 28" "$text"
rc=0; text=$(orch regress after --junit "$dir/regress.xml") || rc=$?
[ $rc = 4 ] || fail "regress left with $rc: $text"
holds "12 cells: 12 slower" "$text"
python3 -c 'import sys, xml.etree.ElementTree as x; assert x.parse(sys.argv[1]).getroot()[0].get("failures") == "12"' "$dir/regress.xml"
holds "faster" "$(orch compare after before)"
orch baseline set slow after >/dev/null
holds "slow" "$(orch baseline list)"
orch regress after --baseline slow >/dev/null || fail "a campaign is slower than itself"
orch baseline remove slow >/dev/null

orch export after -o "$dir/after.csv"
orch export after -f jsonl -o "$dir/after.jsonl"
orch export after -f llama-bench -o "$dir/after.json"
orch export after -f prometheus -o "$dir/after.prom"
python3 "$here/exports.py" "$dir/after"
text=$(orch import "$dir/after.json" --name there-and-back --variants x)
holds "12 runs added" "$text"

rc=0; text=$(orch report after --html "$dir/report.html" 2>&1) || rc=$?
case $text in *"built without npm"*) echo "skipped: $text"; exit 77 ;; esac
[ $rc = 0 ] || fail "$text"
command -v node >/dev/null || { echo "skipped: there is no node"; exit 77; }

# --- a run of some seconds, whose readings come from a GPU's files
controller_ends # one that does not know of them
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots GRETA_SYSFS_ROOT=$dir/sys GRETA_DEV_ROOT=$dir/dev
fake_gpu "$dir" 1
mon=$dir/sys/class/drm/renderD129/device/hwmon/hwmon1
mkdir -p "$mon"
echo 650000000 >"$mon/power1_average"
echo 61000 >"$mon/temp1_input"
cat >"$dir/run.json" <<-JSON
	{"name": "run", "slot": "gpu", "contexts": [4096], "repeats": 1, "engine": {"adapter": "perf_timing",
	 "command": ["$bin/fake_engine", "ok", "--ctx", "{context}", "--layers", "8", "--layer-ms", "500"]}, "variants": [{"name": "v3"}]}
JSON
orch submit "$dir/run.json" >/dev/null || fail "the run went wrong: $(orch results run)"
orch report run --include-marked --html "$dir/run.html" >/dev/null
orch query --json "SELECT name, t_ns, value FROM telemetry ORDER BY t_ns" >"$dir/readings.json"
node "$here/f_html.mjs" "$dir/report.html" "$out" "$html" "$dir/run.html" "$dir/readings.json"
