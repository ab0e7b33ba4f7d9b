#!/usr/bin/env bash
# Memory events of cgroup v2, played from fixtures: an engine that the kernel kills for them is `oom`, with the counter that proves
# it, and its record says that it was played back. One that is killed without them is not.
# usage: f_memory.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots GRETA_PROC_ROOT=$dir/proc
scope=cg/user.slice/session-1.scope

if find /sys/fs/cgroup -maxdepth 4 -name memory.events 2>/dev/null | grep -q .; then
	echo "this machine has memory events of cgroup v2; those here are played from fixtures"
else
	echo "this machine has no memory events of cgroup v2: they are played from fixtures"
fi

# As Documentation/filesystems/proc.rst (mountinfo), cgroups(7) and Documentation/admin-guide/cgroup-v2.rst have them.
mkdir -p proc/self $scope
echo "30 23 0:26 / $dir/cg rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate" >proc/self/mountinfo
echo "0::/user.slice/session-1.scope" >proc/self/cgroup
printf 'low 0\nhigh 0\nmax 12\noom 3\noom_kill 3\noom_group_kill 0\n' >$scope/memory.events
echo "oom_kill 3" >proc/vmstat
cat >eaten <<SH
#!/bin/sh
[ "\$1" = other ] || sed -i 's/^oom_kill 3/oom_kill 4/' "$dir/$scope/memory.events"
kill -KILL \$\$
SH
chmod +x eaten
cat >memory.json <<JSON
{"name": "memory", "slot": {"cpus": 1}, "contexts": [128], "repeats": 1,
 "engine": {"command": ["$dir/eaten", "{variant}"], "adapter": "perf_timing"}, "variants": [{"name": "full"}]}
JSON
expect 1 '0 of 1' greta-orch submit memory.json
equal "outcome" "SELECT outcome, reason LIKE '%oom_kill of $dir/$scope/memory.events went from 3 to 4, played back by GRETA_PROC_ROOT%' FROM attempt" "oom|1"
expect 0 'memory.events went from 3 to 4, played back' greta-orch show --attempt 1
grep -E 'oom_kill of' <<<"$said" | head -n 1
sed 's/"memory"/"other"/; s/"full"/"other"/' memory.json >other.json
expect 1 '0 of 1' greta-orch submit other.json
equal "outcome of another KILL" "SELECT outcome, signal FROM attempt ORDER BY id DESC LIMIT 1" "failed|9"
done_testing
