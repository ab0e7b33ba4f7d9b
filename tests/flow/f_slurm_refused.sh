#!/usr/bin/env bash
# What Slurm refuses, and what it has forgotten: one clear line each. By a real Slurm of one node, with accounts and
# sacct where slurmdbd and its database are installed; by programs that stand before Slurm's own where ours can't do it.
# usage: f_slurm_refused.sh FOLDER-OF-PROGRAMS
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/slurm.sh"
slurm_alone "$0" "$@"
. "$here/lib.sh"
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots GRETA_SLURM_POLL_S=0.5
trap 'slurm_stop; finish' EXIT
cd "$dir" || exit 1
slurm_accounting || echo "there is no slurmdbd or no mariadbd: accounts and sacct are left out"
slurm_start 1 2 "PartitionName=short Nodes=ALL MaxTime=1" "MinJobAge=2" "EnforcePartLimits=ALL" || { fail "Slurm did not start"; exit 1; }
if [ "${slurm_storage:-}" ]; then
	sacctmgr -iQ add account ours >/dev/null
	sacctmgr -iQ add user root account=ours >/dev/null
	wait_for 20 sbatch -Q --test-only --wrap true || fail "the account did not reach slurmctld"
fi

# --- refused: by words in a file where Slurm can't be brought to say them
mkdir before
cat >before/sbatch <<SH
#!/bin/sh
[ ! -s $dir/words ] || { cat $dir/words >&2; exit 1; }
exec $(command -v sbatch) "\$@"
SH
cat >before/squeue <<SH
#!/bin/sh
[ ! -e $dir/is-old ] || case "\$*" in *--json*) echo "squeue: unrecognized option '--json'" >&2; exit 1 ;; *) echo slurm 19.05.5; exit ;; esac
exec $(command -v squeue) "\$@"
SH
chmod +x before/*
PATH=$dir/before:$PATH greta-orch controller --stay >/dev/null 2>&1 &
controller=$!
wait_for 20 test -S "$GRETA_DB.sock" || fail "the controller does not listen"
refused() { # PATTERN [OPTIONS...]: in one line
	expect 3 "$1" greta-orch node add "bad$((++k))" --slurm --spool "$dir/pool" "${@:2}"
	[ "$(grep -vc ' added$' <<<"$said")" = 1 ] || fail "more than a line: $said"
	greta-orch node remove "bad$k" >/dev/null 2>&1
}
k=0
refused 'Slurm has no partition "nowhere": `sinfo' --partition nowhere
refused 'Slurm knows no gres "wheel:1": `sinfo' --gres wheel:1
refused 'no node there has gres "gpu:9" and the CPUs asked for: `sinfo' --gres gpu:9
refused 'more than partition "short" allows: .*--time' --partition short
if [ "${slurm_storage:-}" ]; then
	refused 'you may not use account "theirs": `sacctmgr' --account theirs
fi
says() { echo "sbatch: error: Batch job submission failed: $1" >words; }
says "User's group not permitted to use this partition"
refused 'you may not use partition "main": ask' --partition main
says 'Access/permission denied'
refused 'you may not submit: .*denied'
says 'Invalid user id'
refused 'Slurm does not know you: .*user id'
says 'Invalid qos specification'
refused 'you may not use QOS "best": `sacctmgr' --qos best
says 'Job violates accounting/QOS policy (job submit limit, user size and/or time limits)'
refused 'the queue takes no more from us for now: .*policy'
says 'Invalid account or account/partition combination specified'
refused 'you may not use account "theirs"' --account theirs
says 'Slurm temporarily unable to accept job, sleeping and retrying'
refused 'the queue takes no more from us for now'
says 'Unable to contact slurm controller (connect failure)'
refused 'slurmctld does not answer'
says 'something that nobody has heard before'
refused 'Slurm refuses: .*heard before'
: >words
touch is-old
refused 'Slurm 19.05.5 is too old: its squeue knows no --json; 21.08 or a newer one is needed'
rm is-old

# --- refused after all, when an allocation is asked for: what waits ends as infra, with that line
expect 0 '2 GPUs and 2 CPUs in 2 allocations' greta-orch node add pool --slurm --spool "$dir/pool" --gres gpu:1 --nodes 2 --idle 1
gpu_campaign() { # FILE REPEATS [ENGINE OPTIONS...]
	campaign "$1" 128 "$2" ok "${@:3}"
	sed -i 's|"slot": "cpu"|"slot": "gpu", "nodes": ["pool"], "timeout_s": 300, "retries": {"infra": 0, "lost": 1}|; s|, {"name": "v3"}||' "$1"
}
gpu_campaign late.json 1
says 'Invalid qos specification'
expect 1 'infra: you may not use QOS "\(default\)"' greta-orch submit late.json
: >words

# --- a full queue is waited for, and said
gpu_campaign full.json 2 --layers 2900 --layer-ms 100 --until "$dir/go"
says 'Job violates accounting/QOS policy (job submit limit, user size and/or time limits)'
greta-orch submit full.json >full.out 2>&1 &
waiting=$!
touch go
wait_for 20 grep -q 'pool: the queue takes no more from us for now' full.out || fail "a full queue is not told of: $(cat full.out)"
: >words
wait $waiting || fail "after a full queue: $(cat full.out)"
grep -q '2 of 2' full.out || fail "after a full queue: $(cat full.out)"
rm go

# --- a machine that died while nobody looked, and a job that squeue no longer shows
gpu_campaign died.json 1 --layers 2900 --layer-ms 100 --until "$dir/go"
greta-orch submit --detach died.json >/dev/null
runs() { is "SELECT count(*) FROM attempt WHERE state = 'running'" 1; }
wait_for 30 runs || fail "nothing runs: $(squeue)"
job=$(squeue -h -o %A)
kill -KILL $controller
wait $controller 2>/dev/null
slurm_job_die "$job"
forgotten() { ! scontrol show job "$job"; }
wait_for 60 forgotten || fail "Slurm still knows it: $(scontrol show job "$job")"
touch go
PATH=$dir/before:$PATH expect 0 '1 of 1' greta-orch resume
want='Slurm no longer knows job'
[ -z "${slurm_storage:-}" ] || want="Slurm ended job $job, which ran it: FAILED, signal 9"
equal "what became of it" "SELECT outcome || ' ' || (reason LIKE '$want%') FROM attempt WHERE outcome != 'ok' AND job_id =
	(SELECT j.id FROM job j JOIN campaign c ON c.id = j.campaign_id WHERE c.name = 'died')" 'lost 1'
wait_for 30 no_controller || fail "the controller stayed"

# --- no login node at all
PATH=$bin expect 3 'there is no squeue in the PATH of a login here: is this a login node' "$bin/greta-orch" node add bad --slurm --spool "$dir/pool"
done_testing
