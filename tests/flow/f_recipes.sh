#!/usr/bin/env bash
# f_recipes.sh BIN shell|pandas|duckdb BUILD: what docs/answers.md tells people to do with exports, done, as it stands there.
# BUILD: a folder to keep DuckDB in.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd) bin=$(realpath "$1") which=$2 build=$3
docs=$here/../../docs/answers.md dir=$(mktemp -d "${TMPDIR:-/tmp}/greta-recipes-XXXXXX")
trap 'rm -rf "$dir"' EXIT
export GRETA_DB=$dir/greta.db PATH=$bin:$PATH
skip() { echo "skipped: $*"; exit 77; }
expect() { grep -qF -- "$1" <<<"$2" || { echo "f_recipes: '$1' is not in: $2" >&2; exit 1; }; }
block() { sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" "$docs" | grep -v '^```' || true; } # LANGUAGE

python3 "$here/b389_tree.py" "$dir/tree" 2 1
greta-orch import "$dir/tree" --name tree >/dev/null
cd "$dir"

shell() {
	local text
	text=$(eval "$(block sh)")
	expect '[["baseline",30],["v4",29]]' "$text"
	expect "baseline,30" "$text"
}

pandas() {
	local python
	for python in python3 /usr/bin/python3 ""; do
		! "${python:-true}" -c 'import pandas' 2>/dev/null || break
	done
	[ -n "$python" ] || skip "python3-pandas is not installed"
	block python >recipe.py
	greta-orch export -f jsonl -o results.jsonl
	text=$("$python" recipe.py)
	expect "variant" "$text"
	expect "32768" "$text"
}

# The medians that it prints are those of `scaling`.
duckdb() {
	command -v npm >/dev/null || skip "there is no npm to get DuckDB with"
	mkdir -p "$build"
	if ! cmp -s "$here/duckdb/package-lock.json" "$build/installed"; then
		cp "$here"/duckdb/package*.json "$build"
		(cd "$build" && timeout 240 npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 --fetch-timeout=30000) >npm.log 2>&1 ||
			skip "npm could not get DuckDB: $(grep -m 1 'npm ERR!\|npm error' npm.log)"
		cp "$here/duckdb/package-lock.json" "$build/installed"
	fi
	greta-orch export -f csv -o results.csv
	block sql | node "$here/duckdb.mjs" "$build" >rows.json
	greta-orch scaling --json | jq -c '[.cells[] | [.variant, .context, .prefill_s]] | sort' >expected.json
	python3 - <<-'PY'
		import json
		rows, expected = json.load(open("rows.json")), json.load(open("expected.json"))
		assert len(rows) == len(expected) == 12, (rows, expected)
		for (variant, context, s), (v, n, t) in zip(sorted(rows), expected):
		    assert (variant, context) == (v, n) and abs(s - t) < 1e-9 * t, (variant, context, s, v, n, t)
	PY
}

"$which"
