#!/usr/bin/env bash
# A pool of Slurm as a node: a real slurmctld and eight slurmd with eight GPUs each on this machine; 200 jobs of which a
# quarter misbehaves, and everything that a scheduler does to jobs.
# usage: f_slurm.sh FOLDER-OF-PROGRAMS [JOBS [long]]
#
# long: a node that fails, and a time limit that is hit, too. Slurm looks at limits in minutes.
. "$(dirname "$0")/lib.sh"
. "$here/slurm.sh"
n_jobs=${2:-200}
long=${3:-}
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots GRETA_SLURM_POLL_S=0.5 GRETA_LEASE_S=60
trap 'slurm_stop; finish' EXIT
cd "$dir" || exit 1
slurm_start 8 8 "PartitionName=safe Nodes=ALL MaxTime=UNLIMITED PriorityTier=10" || { fail "Slurm did not start"; exit 1; }

# --- what can't be: one clear line each
add() { greta-orch node add "$@" --slurm; }
expect 3 'Slurm has no partition "nowhere"' add bad1 --spool "$dir/pool" --partition nowhere
expect 3 'knows no gres "wheel:1"' add bad2 --spool "$dir/pool" --gres wheel:1
expect 3 'no node there has gres "gpu:9"' add bad3 --spool "$dir/pool" --gres gpu:9
expect 2 'go with --slurm' greta-orch node add bad4 --host h --partition main
mkdir old && printf '#!/bin/sh\ncase "$*" in *--json*) echo "squeue: unrecognized option --json" >&2; exit 1;; *) echo slurm 19.05.5;; esac\n' >old/squeue
chmod +x old/squeue
PATH=$dir/old:$PATH expect 3 'Slurm 19.05.5 is too old' add bad5 --spool "$dir/pool"
wait_for 5 no_controller
printf '#!/bin/sh\necho "sbatch: error: Batch job submission failed: $SAYS" >&2; exit 1\n' >old/sbatch && chmod +x old/sbatch && rm old/squeue
refused() { # PATTERN WORDS
	SAYS=$2 PATH=$dir/old:$PATH expect 3 "$1" add "bad$((++k))" --spool "$dir/pool"
	wait_for 5 no_controller
}
k=10
refused 'you may not use account "none-such"|you may not use account' 'Invalid account or account/partition combination specified'
refused 'you may not use QOS' 'Invalid qos specification'
refused 'you may not use partition' "User's group not permitted to use this partition"
refused 'the queue takes no more from us' 'Job violates accounting/QOS policy (job submit limit, user size and/or time limits)'
greta-orch node list --json | jq -r '.[].node' 2>/dev/null | xargs -r greta-orch node remove >/dev/null
wait_for 5 no_controller

# --- a pool, and what would be submitted to it
expect 0 '64 GPUs and 64 CPUs in 8 allocations' add cluster1 --spool "$dir/pool" --gres gpu:8 --cpus 8 --nodes 8 --idle 3
gpu_campaign() { # FILE REPEATS [ENGINE OPTIONS...]: one variant of an engine that tells of its GPUs
	local file=$1 repeats=$2 options="" o
	shift 2
	for o in "$@"; do options+=", \"$o\""; done
	cat >"$file" <<-JSON
		{"name": "$(basename "$file" .json)", "slot": "gpu", "nodes": ["cluster1"], "contexts": [128], "repeats": $repeats, "timeout_s": 60,
		 "engine": {"command": ["$dir/engine"$options, "--ctx", "{context}", "--attn", "{variant}",
		            "--ledger", "$dir/ledger"], "adapter": "perf_timing"},
		 "variants": [{"name": "baseline"}]}
	JSON
}
# Takes note of its GPU, and whether somebody else has it now.
cat >engine <<-ENGINE
	#!/bin/bash
	[ -n "\$GRETA_ATTEMPT" ] || exec $bin/fake_engine ok "\${@:2}" # its build is verified before it runs
	gpu=\$CUDA_VISIBLE_DEVICES
	[ "gpu-\$gpu" = "\$GRETA_SLOT" ] || echo "slot \$GRETA_SLOT but GPU \$gpu" >>$dir/wrong
	[ -z "\${ROCR_VISIBLE_DEVICES+x}\${HIP_VISIBLE_DEVICES+x}\${GPU_DEVICE_ORDINAL+x}" ] || echo "other numbers are set" >>$dir/wrong
	exec 9>"$dir/in-use/\$gpu"
	flock -n 9 || echo "\$gpu is used twice" >>$dir/wrong
	echo "\$gpu" >>$dir/gpus
	mode=\$1; shift
	if [ "\$mode" = mixed ]; then
		modes=(ok ok ok ok ok ok exit short-prompt)
		mode=\${modes[\$((0x\${GRETA_ATTEMPT:0:2} % 8))]}
		echo "\$GRETA_ATTEMPT \$mode" >>$dir/modes
	fi
	$bin/fake_engine "\$mode" "\$@" &
	child=\$!
	trap 'kill -TERM \$child' TERM
	wait \$child; code=\$?
	[ \$code -lt 128 ] || wait \$child
	exit \$code
ENGINE
chmod +x engine; mkdir in-use
gpu_campaign mixed.json "$n_jobs" mixed
expect 0 'up to 8 allocations of 24 min' greta-orch plan --skip-verify mixed.json
grep -q 'sbatch --parsable --job-name=greta-cluster1 .*--time=24 --gres=gpu:8' <<<"$said" || fail "no sbatch line: $said"
expect 0 "^exec 'greta-agent' pilot --spool '$dir/pool' --limit-s 1440 --idle-s 3" greta-orch submit --dry-run mixed.json
expect 0 '.' greta-orch plan --skip-verify --json mixed.json
[ "$(jq -r '.slurm[0].allocations' <<<"$said")" = 8 ] || fail "plan --json: $said"

# --- beside all that follows: an allocation whose time is up before its attempt is through
if [ "$long" ]; then
	add cluster2 --cpus 1 --partition safe --sbatch=--time=1 --spool "$dir/pool2" >/dev/null || fail "no second pool"
	campaign slow.json 128 1 ok --layers 1000 --layer-ms 200
	sed -i 's|"slot": "cpu"|"slot": {"cpus": 1}, "nodes": ["cluster2"]|; s|, {"name": "v3"}||' slow.json
	expect 0 'controller: pid' greta-orch submit --detach slow.json
fi

# --- the campaign: every result once, with the outcome that its engine earned
expect 1 'failed' greta-orch submit mixed.json
wrong() { [ ! -s wrong ] || { fail "$(sort wrong | uniq -c | head -n 5)"; : >wrong; }; }
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

# --- what a scheduler does: each campaign loses something, and ends with every result
in_slurm() { squeue -h -n greta-cluster1 -t "$1" -o %A; }
begun() { [ "$(wc -l <"$dir/pids" 2>/dev/null || echo 0)" -ge "$1" ]; }
suffer() { # NAME OUTCOME REASON COMMAND...: while engines run, COMMAND; some attempts end so, and every job has its result
	local name=$1 outcome=$2 reason=$3
	shift 3
	printf "# %s at %d s\n" "$name" $SECONDS
	rm -f pids
	gpu_campaign "$name.json" 12 ok --layers 30 --layer-ms 100 --pid "$dir/pids"
	greta-orch submit --detach "$name.json" >/dev/null
	wait_for 20 begun 8 || fail "$name: nothing runs: $(squeue)"
	"$@" || fail "$name: $*"
	expect 0 '12 of 12 jobs have a counted result' timeout 60 greta-orch watch "$name"
	[ "$failed" = 0 ] || { squeue; ls -R pool/queue pool/pilots; tail -n 3 pool/log/*; }
	[ "$outcome" = none ] || is "SELECT count(*) > 0 FROM attempt a JOIN job j ON j.id = a.job_id JOIN campaign c
		ON c.id = j.campaign_id WHERE c.name = '$name' AND a.outcome = '$outcome' AND a.reason LIKE '%$reason%'" 1 ||
		fail "$name: no $outcome with '$reason': $(sql "SELECT a.outcome, a.reason, count(*) FROM attempt a JOIN job j
			ON j.id = a.job_id JOIN campaign c ON c.id = j.campaign_id WHERE c.name = '$name' GROUP BY 1, 2")"
	wrong
}
first_job() { in_slurm R | head -n 1; }
ctld_again() { slurm_ctld_kill; sleep 1; slurm_ctld_start; }
node_down() { scontrol update nodename="$(squeue -h -n greta-cluster1 -t R -o %N | grep -vx "$(squeue -h -n greta-cluster2 -o %N)" | head -n 1)" state=down reason=test; }
urgent() { sbatch -Q -p urgent --exclusive -N 7 -t 1 --output=/dev/null --wrap 'sleep 2'; }
suffer scancelled preempted 'CANCELLED' eval 'scancel $(first_job)'
suffer requeued preempted 'JOB' eval 'scontrol requeue $(first_job)'
suffer preempted preempted 'PREEMPTION' urgent
if [ "$long" ]; then
	suffer down lost 'NODE FAILURE' node_down
	scontrol update nodename=n[1-8] state=resume 2>/dev/null
fi
suffer restarted none '' ctld_again

# --- time limit hit
[ -z "$long" ] || expect 1 'timed_out: Slurm said: JOB [0-9]+ .* DUE TO TIME LIMIT' timeout 100 greta-orch watch slow
done_testing
