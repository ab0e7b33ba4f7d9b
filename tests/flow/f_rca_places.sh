#!/usr/bin/env bash
# Where a hang comes from, on two nodes of two GPUs each (recorded trees) over a real sshd: planted in a variant, on a GPU, on
# a node, rca says that it follows that one, and none of the others.
# usage: f_rca_places.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1

for k in 1 2; do
	fake_gpu "$dir/tree$k" $((2 * k - 1))
	fake_gpu "$dir/tree$k" $((2 * k))
done
: >kmsg

# The first run of v3 says where the hang lives: from then on all hang that come there, and none besides.
cat >place <<'SH'
#!/bin/sh
cd "$(dirname "$0")" || exit 1
case $1 in
variant) here=${2%%.*} ;; # behind the dot stands what rca has added
gpu) here=$ROCR_VISIBLE_DEVICES ;;
node) here=node$(((${ROCR_VISIBLE_DEVICES##*0} + 1) / 2)) ;;
esac
[ "${2%%.*}" != v3 ] || ln -s "$here" "culprit-$1" 2>/dev/null
[ "$here" = "$(readlink "culprit-$1")" ] && mode=hang-sleep || mode=ok
exec "$3" "$mode" --ctx "$4"
SH
chmod +x place

nodes_setenv="GRETA_SYSFS_ROOT=$dir/tree%k/sys GRETA_DEV_ROOT=$dir/tree%k/dev GRETA_KMSG=$dir/kmsg GRETA_AFTER_KILL_S=0.1 GRETA_GPU_PROBE=/bin/true"
nodes_start 2 || exit 1
for k in 1 2; do
	expect 0 'gpu 1 .*MI300X' greta-orch node add "node$k" --store "$dir/node$k/store"
done

# plant WHERE: a hang that lives there, and a search for it
plant() {
	cat >"$1.json" <<-JSON
		{"name": "$1", "slot": {"gpus": 1}, "contexts": [4096], "repeats": 1, "telemetry_interval_s": 0,
		 "nodes": ["node1", "node2"], "phases": {"prefill": {"silence_s": 0.2}}, "reference": "baseline",
		 "engine": {"command": ["$dir/place", "$1", "{variant}", "$bin/fake_engine", "{context}"], "adapter": "perf_timing"},
		 "variants": [{"name": "v3"}, {"name": "baseline"}]}
	JSON
	expect 1 '[01] of 2 jobs have a counted result' greta-orch submit "$1.json"
	expect 0 "rca-$1-" greta-orch rca --detach --contexts 2048 --rate 40 --set UNUSED=1 \
		--attempt "$(sql "SELECT attempt_id FROM result WHERE campaign = '$1' AND variant = 'v3' AND outcome = 'hung'")"
}

# follows WHERE KERNEL DEVICE NODE WORDS: what the search has found
follows() {
	local id
	id=$(sql "SELECT id FROM campaign WHERE name LIKE 'rca-$1-%'")
	expect 0 '' timeout 250 greta-orch watch "$id"
	expect 0 "$5" greta-orch rca "$id"
	sed -n '1,/^By hand/p' <<<"$said"
	expect 0 "\"follows\":\{\"kernel\":$2,\"device\":$3,\"node\":$4\}" greta-orch rca "$id" --json
}

plant variant
plant gpu
plant node
follows variant true false false '^It follows the kernel \(variant\)\. It does not follow the GPU, the node\.$'
follows gpu false true false '^It follows the GPU\. It does not follow the kernel \(variant\), the node\.$'
follows node false false true '^It follows the node\. It does not follow the kernel \(variant\), the GPU\.$'
done_testing
