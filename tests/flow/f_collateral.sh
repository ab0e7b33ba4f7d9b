#!/usr/bin/env bash
# A job that is taken down by its neighbours wherever it goes: each time it is tried again for nothing, on the other node, but
# not for ever. The GPUs are recorded trees.
# usage: f_collateral.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1

for k in 1 2; do fake_gpu "$dir/tree$k" "$k"; done
: >kmsg1
: >kmsg2

# Another GPU's reset, as amdgpu_device.c prints it, of which it dies.
cat >struck <<'SH'
#!/bin/sh
echo "3,900,1000,-;amdgpu 0000:dd:00.0: amdgpu: GPU reset begin!" >>"$(dirname "$0")/kmsg${ROCR_VISIBLE_DEVICES##*0}"
sleep 0.2
echo "HIP error: device lost" >&2
exit 1
SH
chmod +x struck

nodes_setenv="GRETA_SYSFS_ROOT=$dir/tree%k/sys GRETA_DEV_ROOT=$dir/tree%k/dev GRETA_KMSG=$dir/kmsg%k GRETA_AFTER_KILL_S=0.1 GRETA_GPU_PROBE=/bin/true"
nodes_start 2 || exit 1
for k in 1 2; do
	expect 0 'gpu 0 .*MI300X' greta-orch node add "node$k" --store "$dir/node$k/store"
done
cat >struck.json <<JSON
{"name": "struck", "slot": {"gpus": 1}, "contexts": [128], "repeats": 1, "telemetry_interval_s": 0, "nodes": ["node1", "node2"],
 "retries": {"failed": 3}, "engine": {"command": ["$dir/struck"], "adapter": "perf_timing"}, "variants": [{"name": "v3"}]}
JSON
controller_stays # a node that comes later than the other gets the next one, too
expect 1 'collateral: .*; not tried again after 20 attempts' timeout 200 greta-orch submit struck.json
equal "attempts" "SELECT count(*), min(outcome), max(outcome), min(certainty) FROM attempt" "20|collateral|collateral|established"
equal "where it went next" "SELECT count(*) FROM attempt a JOIN attempt b ON b.try_no = a.try_no + 1 WHERE a.alias_id <> b.alias_id" 19
equal "the job" "SELECT state || ' ' || (counted_attempt IS NULL) || ' ' || (reason LIKE '%not tried again after 20 attempts') FROM job" "done 1 1"
done_testing
