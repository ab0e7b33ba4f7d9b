#!/usr/bin/env bash
# An engine that no KILL ends, stuck in the kernel: the attempt ends `unkillable`, the node goes into quarantine and stays there,
# and once the process is gone and a person has let the node go, jobs run again. A file system that answers nothing stands in
# for the driver; where none can be mounted, a freezer of cgroup v1.
# usage: f_unkillable.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots GRETA_UNKILLABLE_S=2
group=/sys/fs/cgroup/freezer/greta-test-$$
mkdir stuck

begin() {
	"$bin/stuck_fs" "$dir/stuck" >fuse 2>&1 &
	stuck_fs=$!
	if wait_for 5 grep -q ready fuse; then
		echo "stand-in: a file system (FUSE) that answers nothing"
		stuck=("$bin/fake_engine" ok --until "$dir/stuck/file")
	elif mkdir "$group"; then
		echo "stand-in: a cgroup v1 freezer; $(cat fuse)"
		stuck=(sh -c "echo \$\$ >$group/cgroup.procs; echo FROZEN >$group/freezer.state; exec sleep 600")
	else
		echo "SKIP: no FUSE ($(cat fuse)), and no cgroup v1 freezer"
		exit 77
	fi
}
end() {
	kill -TERM "$stuck_fs" 2>/dev/null
	[ ! -d "$group" ] || echo THAWED >"$group/freezer.state"
}
trap 'end; finish; rmdir "$group" 2>/dev/null' EXIT

begin 2>/dev/null
cat >stuck.json <<JSON
{"name": "stuck", "slot": {"cpus": 1}, "contexts": [128], "repeats": 1, "timeout_s": 6,
 "phases": {"load": {"silence_s": 0.5}, "prefill": {"silence_s": 0.5}},
 "engine": {"command": $(printf '%s\n' "${stuck[@]}" | jq -R . | jq -sc .), "adapter": "perf_timing"}, "variants": [{"name": "v3"}]}
JSON
campaign good.json 128 1 ok
start=$SECONDS
expect 1 '0 of 1' timeout 150 greta-orch submit stuck.json
echo "$((SECONDS - start)) s, $(sql "SELECT outcome || ', ' || class || ': ' || reason FROM attempt")"
equal "verdict" "SELECT outcome || ' ' || class || ' ' || certainty || ' ' || blamed || ' ' || survivors FROM attempt" "timed_out unkillable established node 1"
equal "evidence" "SELECT count(DISTINCT name) FROM evidence_part WHERE name IN ('threads', 'black_box')" 2
pid=$(pgrep -f "$dir/stuck/file|^sleep 600" | head -n 1)
[ -n "$pid" ] && kill -0 "$pid" || fail "nothing was left: the stand-in can be killed"
controller_ends
expect 0 'local .*quarantine.* since 20.*left' greta-orch node list
expect 3 'quarantine' timeout 60 greta-orch submit good.json

# --- the driver has come to itself
end
wait_for 20 eval '! kill -0 "$pid"' || fail "process $pid is still there"
expect 0 'out of quarantine' greta-orch node resume local
expect 0 '2 of 2' greta-orch resume good
done_testing
