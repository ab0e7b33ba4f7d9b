#!/usr/bin/env bash
# A pool of Slurm as a node: a real slurmctld and eight slurmd with eight GPUs each on this machine, reached over ssh; 200
# jobs of which a quarter misbehaves, and everything that a scheduler does to jobs while controller and login node are away.
# usage: f_slurm.sh FOLDER-OF-PROGRAMS [JOBS]
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/slurm.sh"
slurm_alone "$0" "$@"
. "$here/lib.sh"
n_jobs=${2:-200}
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots GRETA_SLURM_POLL_S=0.5
trap 'slurm_stop; nodes_stop; finish' EXIT
cd "$dir" || exit 1
slurm_start 8 8 "PartitionName=safe Nodes=n1 MaxTime=UNLIMITED PriorityTier=10" || { fail "Slurm did not start"; exit 1; }
nodes_setenv="SLURM_CONF=$SLURM_CONF GRETA_SLURM_POLL_S=$GRETA_SLURM_POLL_S PATH=$PATH"
nodes_start 1 || exit 1

# --- two pools: one over ssh, with GPUs; one here on the login node, of jobs that Slurm may requeue, all on n1
expect 0 '64 GPUs and 64 CPUs in 8 allocations' greta-orch node add cluster1 --slurm --host node1 --store "$dir/node1/store" \
	--spool "$dir/pool" --gres gpu:8 --cpus 8 --nodes 8 --idle 5
expect 0 '2 CPUs in 2 allocations' greta-orch node add cluster2 --slurm --spool "$dir/pool2" --cpus 1 --nodes 2 --idle 2 \
	--partition safe --sbatch=--requeue
gpu_campaign() { # FILE REPEATS SLOT MODE [ENGINE OPTIONS...]
	local file=$1 repeats=$2 slot=$3 options="" o
	shift 3
	for o in "$@"; do options+=", \"$o\""; done
	cat >"$file" <<-JSON
		{"name": "$(basename "$file" .json)", "slot": $slot, "nodes": ["cluster1"], "contexts": [128], "repeats": $repeats,
		 "timeout_s": 300, "retries": {"lost": 3},
		 "engine": {"command": ["$dir/engine"$options, "--ctx", "{context}", "--attn", "{variant}",
		            "--ledger", "$dir/ledger"], "adapter": "perf_timing"}, "variants": [{"name": "baseline"}]}
	JSON
}
# Takes note of its GPUs, and whether somebody else has them now.
cat >engine <<-ENGINE
	#!/bin/bash
	[ -n "\$GRETA_ATTEMPT" ] || exec $bin/fake_engine ok "\${@:2}" # its build is verified before it runs
	slots=\${CUDA_VISIBLE_DEVICES//,/ } fd=20
	[ "gpu-\${slots// / gpu-}" = "\${GRETA_SLOT//,/ }" ] || echo "slot \$GRETA_SLOT but GPUs \$slots" >>$dir/wrong
	[ -z "\${ROCR_VISIBLE_DEVICES+x}\${HIP_VISIBLE_DEVICES+x}\${GPU_DEVICE_ORDINAL+x}" ] || echo "other numbers are set" >>$dir/wrong
	for gpu in \$slots; do
		eval "exec \$((++fd))>$dir/in-use/\$gpu"
		flock -n \$fd || echo "\$gpu is used twice" >>$dir/wrong
		echo "\$gpu" >>$dir/gpus
	done
	mode=\$1; shift
	if [ "\$mode" = mixed ]; then
		modes=(ok ok ok ok ok ok exit short-prompt)
		mode=\${modes[\$((0x\${GRETA_ATTEMPT: -2} % 8))]}
		echo "\$GRETA_ATTEMPT \$mode" >>$dir/modes
	fi
	exec $bin/fake_engine "\$mode" "\$@"
ENGINE
chmod +x engine; mkdir in-use
wrong() { [ ! -s wrong ] || { fail "$(sort wrong | uniq -c | head -n 5)"; : >wrong; }; }

# --- what would be submitted
gpu_campaign mixed.json "$n_jobs" '"gpu"' mixed
allocations=$((n_jobs < 64 ? (n_jobs + 7) / 8 : 8))
expect 0 "up to $allocations allocations of 56 min" greta-orch plan --skip-verify mixed.json
grep -q 'sbatch --parsable --job-name=greta-cluster1 .*--time=56 --gres=gpu:8' <<<"$said" || fail "no sbatch line: $said"
expect 0 "^exec 'greta-agent' pilot --spool '$dir/pool' --limit-s 3360 --idle-s 5" greta-orch submit --dry-run mixed.json
expect 0 '.' greta-orch plan --skip-verify --json mixed.json
[ "$(jq -r '.slurm[0].allocations' <<<"$said")" = $allocations ] || fail "plan --json: $said"

# --- in the other pool attempts hold from now on: the first's job is requeued, the second's shortened, which Slurm sees within 30 s
running() { squeue -h -n "greta-$1" -t R -o %A -S -N; }
held() { is "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id JOIN campaign c ON c.id = j.campaign_id
	WHERE c.name = '$1' AND a.state = 'running'" "$2"; }
attempt_of() { ls "$1/pilots/$2."* | grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'; }
declare -A expected
becomes() { expected[$(attempt_of "$1" "$2")]=$3; } # POOL JOB OUTCOME-AND-REASON
campaign breeze.json 128 1 ok --layers 2900 --layer-ms 100 --until "$dir/go"
sed -i 's|"slot": "cpu"|"slot": {"cpus": 1}, "nodes": ["cluster2"], "timeout_s": 300, "retries": {"timed_out": 1}|' breeze.json
expect 0 'controller' greta-orch submit --detach breeze.json
wait_for 60 held breeze 2 || fail "not all of it runs: $(squeue; greta-orch status)"
few=($(running cluster2))
becomes pool2 "${few[0]}" 'preempted: Slurm said: JOB [0-9]+ .*DUE TO JOB REQUEUE'
becomes pool2 "${few[1]}" 'timed_out: Slurm said: JOB [0-9]+ .*DUE TO TIME LIMIT'
scontrol update "jobid=${few[1]}" "endtime=$(date -d '+2 seconds' +%FT%T)"
scontrol requeue "${few[0]}"

# --- the campaign: every result once, with the outcome that its engine earned
expect 1 'failed' greta-orch submit mixed.json
of_mixed="JOIN job j ON j.id = a.job_id JOIN campaign c ON c.id = j.campaign_id AND c.name = 'mixed'"
equal "attempts" "SELECT count(*) FROM attempt a $of_mixed" "$n_jobs"
equal "jobs over" "SELECT count(DISTINCT j.id) FROM attempt a $of_mixed WHERE j.state = 'done'" "$n_jobs"
while read -r uuid mode; do
	case $mode in ok) want=ok ;; exit) want=failed ;; short-prompt) want=invalid ;; esac
	echo "('$uuid', '$want')"
done <modes | paste -sd, >expected
equal "attempts with the right outcome" "WITH want(uuid, outcome) AS (VALUES $(cat expected))
	SELECT count(*) FROM attempt a JOIN want USING (uuid, outcome)" "$n_jobs"
[ "$(sort -u gpus | wc -l)" -ge 16 ] || fail "only $(sort -u gpus | wc -l) GPUs were used"
wrong

# --- a storm: eight attempts that hold, each with a whole allocation, and neither controller nor login node
gpu_campaign storm.json 8 '{"gpus": 8}' ok --layers 2900 --layer-ms 100 --until "$dir/go"
expect 0 'controller' greta-orch submit --detach storm.json
wait_for 60 held storm 8 || fail "not all of it runs: $(squeue; greta-orch status)"
jobs=($(running cluster1)) # that on n1 is the last
node_of() { squeue -h -j "$1" -o %N; }
becomes pool "${jobs[0]}" 'preempted: Slurm said: JOB [0-9]+ .*CANCELLED AT'
becomes pool "${jobs[1]}" 'lost: Slurm said: JOB [0-9]+ .*DUE TO NODE FAILURE'
becomes pool "${jobs[2]}" 'preempted: Slurm said: JOB [0-9]+ .*DUE TO PREEMPTION'
becomes pool "${jobs[3]}" 'preempted: Slurm said: JOB [0-9]+ .*DUE TO PREEMPTION'
becomes pool "${jobs[4]}" 'preempted: Slurm said: JOB [0-9]+ .*DUE TO PREEMPTION'
becomes pool "${jobs[5]}" 'lost: Slurm ended job [0-9]+, which ran it: FAILED'
becomes pool "${jobs[6]}" 'ok: '
becomes pool "${jobs[7]}" 'ok: '
state_is() { [ "$(squeue -h -j "$1" -o %t 2>/dev/null)" = "$2" ]; }
is_over() { ! squeue -h -t R -o %A | grep -qx "$1"; }
kill -KILL "$(controller_pid)"
node_stop 1
scancel "${jobs[0]}"
down=$(node_of "${jobs[1]}")
scontrol update "nodename=$down" state=down reason=test
urgent=$(sbatch --parsable -p urgent --exclusive -N 3 -w "$(node_of "${jobs[2]}"),$(node_of "${jobs[3]}"),$(node_of "${jobs[4]}")" \
	-t 5 --output=/dev/null --wrap 'sleep 300')
slurm_job_die "${jobs[5]}"
wait_for 20 is_over "${jobs[5]}" || fail "Slurm did not see that a job died: $(squeue)"
wait_for 30 state_is "$urgent" R || fail "the urgent job did not start: $(squeue)"
sleep 6 # it stores its state every 5 s, and knows nothing later again
slurm_ctld_kill
sleep 1
slurm_ctld_start
wait_for 60 is_over "${few[1]}" || fail "the time limit was not hit: $(squeue)"
scancel "$urgent"
scontrol update "nodename=$down" state=resume 2>/dev/null
node_start 1
touch go
greta-orch resume --detach >/dev/null
expect 0 '8 of 8 jobs have a counted result' timeout 120 greta-orch watch storm
expect 0 '2 of 2 jobs have a counted result' timeout 60 greta-orch watch breeze
for uuid in "${!expected[@]}"; do
	got=$(sql "SELECT outcome || ': ' || coalesce(reason, '') FROM attempt WHERE uuid = '$uuid'")
	grep -qE "^${expected[$uuid]}" <<<"$got" || fail "attempt $uuid: '$got', '${expected[$uuid]}' expected"
done
wrong
equal "attempts of a storm" "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id JOIN campaign c ON c.id = j.campaign_id
	WHERE c.name IN ('storm', 'breeze')" 18
[ "$failed" = 0 ] || { squeue; ls -R pool*/queue pool*/pilots; tail -n 3 pool*/log/*; }
controller_ends
[ -z "$(ls -A pool/attempts pool/queue pool2/attempts pool2/queue | grep -v :)" ] || fail "spools were left: $(ls -R pool/attempts pool/queue)"
done_testing
