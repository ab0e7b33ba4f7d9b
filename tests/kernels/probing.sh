# probing.sh: to be sourced by tests of greta-gpu-probe.
#
#	probe      the program      options    put before its arguments      without    what `env` drops: (-u NAME)
#	expect CODE PATTERN [NAME=VALUE...] -- [ARGS...]      its exit code, and a pattern of the one line that it says
options=() without=()

expect() {
	local code=$1 pattern=$2 env=() out rc=0
	shift 2
	while [ "$1" != -- ]; do
		env+=("$1")
		shift
	done
	shift
	out=$(env "${without[@]}" "${env[@]}" timeout 60 "$probe" "${options[@]}" "$@" 2>&1) || rc=$?
	if [ "$rc" != "$code" ] || ! [[ $out =~ $pattern ]] || [ "$(wc -l <<<"$out")" != 1 ]; then
		printf 'probe %s %s: exit %s instead of %s, or not one line like "%s":\n%s\n' \
			"${env[*]}" "$*" "$rc" "$code" "$pattern" "$out" >&2
		exit 1
	fi
}
