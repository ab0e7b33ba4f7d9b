# lib.sh: for flows that drive greta-orch from outside. To be sourced with the folder of programs as $1.
#
# Makes $dir, a temporary folder that goes away with what still runs for it, and sets GRETA_DB in it.
set -u
bin=$1
export PATH=$bin:$PATH
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d) || exit 1
nodes_dir=$dir
export GRETA_DB=$dir/greta.db
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1}:verify_asan_link_order=0 # what is preloaded may come first
preloads=$(cd "$bin/../lib" && pwd) # power_cut, pretend
unset GRETA_SSH_CONFIG SSH_AUTH_SOCK
failed=0
. "$here/sshd.sh"

fail() {
	echo "FAILED: $*"
	failed=1
}

# expect CODE PATTERN COMMAND...: the exit code, and a pattern in what it prints.
expect() {
	local code=$1 pattern=$2 got
	shift 2
	said=$("$@" 2>&1 </dev/null)
	got=$?
	[[ $got = $code ]] || fail "exit code $got, $code expected: $*: ${said:0:600}"
	grep -qE -- "$pattern" <<<"$said" || fail "no '$pattern' from: $*: ${said:0:600}"
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

sql() { sqlite3 -readonly -cmd ".timeout 5000" "$GRETA_DB" "$1"; }
is() { [ "$(sql "$1")" = "$2" ]; }
# equal WHAT SQL VALUE
equal() {
	local got
	got=$(sql "$2")
	[ "$got" = "$3" ] || fail "$1: $got, $3 expected"
}

# campaign FILE CONTEXTS REPEATS MODE [ENGINE OPTIONS...]: two variants of the fake engine.
campaign() {
	local file=$1 contexts=$2 repeats=$3 mode=$4 options=""
	shift 4
	for o in "$@"; do options+=", \"$o\""; done
	cat >"$file" <<-JSON
		{"name": "$(basename "$file" .json)", "slot": "cpu", "contexts": [$contexts], "repeats": $repeats,
		 "engine": {"command": ["$bin/fake_engine", "$mode", "--ctx", "{context}",
		            "--attn", "{variant}", "--ledger", "$dir/ledger"$options], "adapter": "perf_timing"},
		 "variants": [{"name": "baseline"}, {"name": "v3"}]}
	JSON
}

# open_ended FILE REPEATS WORD: the same, but each engine runs until the file WORD is there, if need be for minutes.
open_ended() { campaign "$1" 128 "$2" ok --layers 3000 --layer-ms 100 --until "$dir/$3"; }

# needs_gpus N: NVIDIA GPUs, and kernels for them in this build; else the flow is skipped.
needs_gpus() {
	n_gpus=$(ls -d /proc/driver/nvidia/gpus/* 2>/dev/null | wc -l)
	[ "$n_gpus" -ge "$1" ] || { echo "SKIP: $n_gpus NVIDIA GPUs, $1 needed"; exit 77; }
	greta-infer --kernel-resources --json | grep -q sm_90a || { echo "SKIP: built without kernels for sm_90a"; exit 77; }
	export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots
}

# fake_gpu ROOT NUMBER: an MI300X named GPU-000000000000000NUMBER, for GRETA_SYSFS_ROOT=ROOT/sys GRETA_DEV_ROOT=ROOT/dev, as
# Documentation/gpu/amdgpu and drivers/gpu/drm/amd/amdkfd/kfd_topology.c have them.
fake_gpu() {
	local i=$2 node=$1/sys/class/kfd/kfd/topology/nodes/$2 card=$1/sys/class/drm/renderD$((128 + $2))/device
	mkdir -p "$node" "$card" "$1/dev/dri"
	printf 'simd_count 1216\nsimd_per_cu 4\ngfx_target_version 90402\ndrm_render_minor %d\nunique_id %d\n' $((128 + i)) "$i" >"$node/properties"
	printf 'DRIVER=amdgpu\nPCI_SLOT_NAME=0000:0%d:00.0\n' "$i" >"$card/uevent"
	echo "AMD Instinct MI300X OAM" >"$card/product_name"
	echo 0 >"$card/gpu_busy_percent"
	echo 0 >"$card/mem_busy_percent"
	: >"$1/dev/dri/renderD$((128 + i))"
}

controller_pid() { cat "$GRETA_DB.lock" 2>/dev/null; }
# It has let go of the database, too, which another one waits for.
no_controller() { ! [ -e "$GRETA_DB.sock" ] && { ! [ -e "$GRETA_DB.lock" ] || flock -n "$GRETA_DB.lock" true; }; }
controller_ends() { wait_for 20 no_controller || fail "the controller stayed"; }
# One that goes on when nothing is left, with all its nodes up, until controller_leaves.
controller_stays() {
	controller_ends
	greta-orch controller --stay >/dev/null 2>&1 &
	wait_for 20 test -S "$GRETA_DB.sock" || fail "no controller"
	expect 0 '' greta-orch node check
}
controller_leaves() {
	kill -TERM "$(controller_pid)"
	controller_ends
}
nodes_up() { greta-orch status --json | jq -e "[.nodes[] | select(.state == \"up\")] | length == $1"; }

# Every job done with one counted result, and each counted result is one that an engine really gave.
check_all_counted() {
	local n=$1
	equal "counted jobs" "SELECT count(*) FROM job WHERE state = 'done' AND counted_attempt IS NOT NULL" "$n"
	while read -r uuid; do
		grep -q "^$uuid " "$dir/ledger" || fail "attempt $uuid counts, but no engine ran it"
	done < <(sql "SELECT a.uuid FROM job j JOIN attempt a ON a.id = j.counted_attempt")
	equal "integrity" "PRAGMA integrity_check" ok
	equal "foreign keys" "PRAGMA foreign_key_check" ""
}

finish() {
	local pid
	pid=$(controller_pid)
	[ -n "$pid" ] && [ -d "/proc/$pid" ] && kill -TERM "$pid" 2>/dev/null && wait_for 5 no_controller
	nodes_stop
	[ "$failed" = 0 ] || { echo "--- controller's log"; tail -n 30 "$GRETA_DB.log" 2>/dev/null; }
	rm -rf "$dir"
}
trap finish EXIT

done_testing() { exit $failed; }
