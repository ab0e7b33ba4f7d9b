#!/usr/bin/env bash
# f_html.sh BIN HTML_BUILD OUT: the HTML report of two campaigns in Chromium, and the commands that answer from them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd) bin=$1 html=$2 out=$3
dir=$(mktemp -d "${TMPDIR:-/tmp}/greta-html-XXXXXX")
export GRETA_DB=$dir/greta.db
trap 'rm -rf "$dir"' EXIT
orch() { "$bin/greta-orch" "$@"; }
fail() { echo "f_html: $*" >&2; exit 1; }
expect() { grep -qF -- "$1" <<<"$2" || fail "'$1' is not in: $2"; }

python3 "$here/b389_tree.py" "$dir/before" 1 1
python3 "$here/b389_tree.py" "$dir/after" 2 1.05
orch import "$dir/before" --name before >/dev/null
orch import "$dir/after" --name after >/dev/null

text=$(orch scaling before --predict 12288)
expect "baseline: the curve breaks at 32768" "$text"
expect "v4 beats baseline from n = 28" "$text"
rc=0; text=$(orch regress after --junit "$dir/regress.xml") || rc=$?
[ $rc = 4 ] || fail "regress left with $rc: $text"
expect "12 cells: 12 slower" "$text"
python3 -c 'import sys, xml.etree.ElementTree as x; assert x.parse(sys.argv[1]).getroot()[0].get("failures") == "12"' "$dir/regress.xml"
expect "faster" "$(orch compare after before)"
orch baseline set slow after >/dev/null
expect "slow" "$(orch baseline list)"
orch regress after --baseline slow >/dev/null || fail "a campaign is slower than itself"
orch baseline remove slow >/dev/null

orch export after -o "$dir/after.csv"
orch export after -f jsonl -o "$dir/after.jsonl"
orch export after -f llama-bench -o "$dir/after.json"
orch export after -f prometheus -o "$dir/after.prom"
python3 "$here/exports.py" "$dir/after"
text=$(orch import "$dir/after.json" --name there-and-back --variants x)
expect "12 runs added" "$text"

rc=0; text=$(orch report after --html "$dir/report.html" 2>&1) || rc=$?
case $text in *"built without npm"*) echo "skipped: $text"; exit 77 ;; esac
[ $rc = 0 ] || fail "$text"
command -v node >/dev/null || { echo "skipped: there is no node"; exit 77; }
node "$here/f_html.mjs" "$dir/report.html" "$out" "$html"
