#!/usr/bin/env bash
# What Slurm refuses, when a pool is added and amid a campaign: one clear line each; jobs that it has forgotten; machines in
# quarantine, and spools on their own disks. By a real Slurm of one node, with accounts where slurmdbd and its database are
# installed; by programs that stand before Slurm's own where ours can't do it.
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


# --- what stands before Slurm's programs: words in files where Slurm can't be brought to say them
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
cat >before/sacct <<SH
#!/bin/sh
[ ! -s $dir/unknown ] || case " \$* " in *" \$(cat $dir/unknown) "*) exit 0 ;; esac
exec $(command -v sacct) "\$@"
SH
chmod +x before/*
slurm_path=$PATH
export PATH=$dir/before:$PATH

# --- amid a campaign the queue is full; then its jobs die, while nobody looks (more of that below)
limit() { sacctmgr -iQ modify user root set "maxsubmitjobs=$1" >/dev/null; }
limited() { scontrol show assoc_mgr flags=assoc users=root | grep -q "MaxSubmitJobs=$1("; }
holds() { is "SELECT count(*) FROM attempt WHERE state = 'running'" "$1"; }
if [ "${slurm_storage:-}" ]; then
	expect 0 'added' greta-orch node add pool --slurm --spool "$dir/pool" --cpus 1 --nodes 2 --idle 2
	campaign late.json 128 1 ok --layers 2900 --layer-ms 100 --until "$dir/go"
	sed -i 's|"slot": "cpu"|"slot": {"cpus": 1}, "timeout_s": 300|' late.json
	limit 1
	wait_for 20 limited 1 || fail "the limit did not reach slurmctld"
	greta-orch submit late.json >late.out 2>&1 &
	submit=$!
	wait_for 30 grep -q 'pool: the queue takes no more from us for now: .*AssocMaxSubmitJobLimit' late.out ||
		fail "a full queue is not told: $(cat late.out)"
	wait_for 30 holds 1 || fail "what was in the queue does not run: $(squeue)"
	equal "attempts that ended at a full queue" "SELECT count(*) FROM attempt WHERE state = 'ended'" 0
	limit 1000
	wait_for 30 holds 2 || fail "it did not go on when there was room: $(squeue; cat late.out)"
	jobs=($(squeue -h -n greta-pool -o %A))
	kill -KILL "$(controller_pid)" $submit
	wait $submit 2>/dev/null
	for job in "${jobs[@]}"; do slurm_job_die "$job"; done
fi

# --- refused when a pool is added; a removed one's session ends, though the controller stays
late_db=$GRETA_DB
export GRETA_DB=$dir/bad.db
greta-orch controller --stay >/dev/null 2>&1 &
controller=$!
wait_for 20 test -S "$GRETA_DB.sock" || fail "the controller does not listen"
sessions() { [ "$(pgrep -fc "greta-agent session .*$dir/bad")" = "$1" ]; }
refused() { # PATTERN [OPTIONS...]: in one line
	expect 3 "$1" greta-orch node add "bad$((++k))" --slurm --spool "$dir/bad" "${@:2}"
	[ "$(grep -vc ' added$' <<<"$said")" = 1 ] || fail "more than a line: $said"
	sessions 1 || fail "not one session but: $(pgrep -fa "session .*$dir/bad")"
	expect 0 "bad$k: removed" greta-orch node remove "bad$k"
	wait_for 10 sessions 0 || fail "the session of a removed node stays: $(pgrep -fa "session .*$dir/bad")"
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
kill $controller
wait $controller
expect 3 'there is no squeue in the PATH of a login here' \
	env PATH="$bin" GRETA_DB="$dir/other.db" greta-orch node add nowhere --slurm --spool "$dir/bad"

# --- machines in quarantine: a GPU, then the whole; a person lets them go
export GRETA_DB=$dir/gpus.db
quarantine=$slurm_dir/n1/slots/quarantine
expect 0 'added' greta-orch node add gpus --slurm --spool "$dir/gpus" --gres gpu:2 --idle 1
burn() { echo "since 2026-01-02T03:04:05Z: smells burnt" >"$quarantine/$1"; }
gpu_campaign() { # NAME
	campaign "$1.json" 128 1 ok
	sed -i 's|"slot": "cpu"|"slot": "gpu", "timeout_s": 60|' "$1.json"
}
used() { sql "SELECT group_concat(d.uuid, ' ') FROM (SELECT DISTINCT d.uuid FROM attempt a JOIN job j ON j.id = a.job_id
	JOIN campaign c ON c.id = j.campaign_id JOIN attempt_device x ON x.attempt_id = a.id JOIN device d ON d.id = x.device_id
	WHERE c.name = '$1' ORDER BY d.uuid) d"; }
for name in both one none; do gpu_campaign $name; done
expect 0 '2 of 2' greta-orch submit both.json
burn gpu-GPU-n1-0
expect 0 '2 of 2' greta-orch submit one.json
[ "$(used one)" = GPU-n1-1 ] || fail "one is in quarantine, but used are: $(used one)"
# The controller may be gone before its pool came to tell; it hears of it when it connects next.
listed() { greta-orch node check gpus >/dev/null; greta-orch node list | grep -qE 'n1:gpu-GPU-n1-0 .*n1:gpu-GPU-n1-0 since .*: smells burnt'; }
wait_for 10 listed || fail "not told of what is in quarantine: $(greta-orch node list)"
expect 0 'n1:gpu-GPU-n1-0 is out of quarantine' greta-orch node resume gpus
burn node
greta-orch submit none.json >none.out 2>&1 &
submit=$!
wait_for 30 grep -q 'without n1, in quarantine (`greta-orch node resume gpus`): ' none.out ||
	fail "a machine in quarantine was not left out: $(cat none.out)"
expect 0 'n1:node is out of quarantine' greta-orch node resume gpus
wait $submit || fail "it did not go on: $(cat none.out)"
[ -z "$(ls "$quarantine")" ] || fail "still in quarantine: $(ls "$quarantine")"
equal "in quarantine" "SELECT count(*) FROM quarantine" 0
equal "attempts" "SELECT count(*), sum(outcome = 'ok') FROM attempt" "6|6"

# --- a build that only nodes have, and that takes its time: bounded, and said to be not verified
cat >slow.json <<-JSON
	{"name": "slow", "slot": "gpu", "contexts": [128], "repeats": 1, "variants": [{"name": "v"}],
	 "engine": {"command": ["env", "$bin/fake_engine", "ok", "--ctx", "{context}", "--layers", "290", "--layer-ms", "100"], "adapter": "perf_timing"}}
JSON
expect 0 'v +not verified: on gpus: a prefill of a few tokens had not ended within 2.0 s; --verify-timeout' \
	greta-orch plan --verify-timeout 2s slow.json
grep -q '^verifying v (1 of 1), at most 2.0 s' <<<"$said" || fail "no progress was told: $said"

# --- attempts on the compute node's own disk: what they tell is collected, a cancel reaches them, nothing stays there
mkdir disk
expect 0 'added' greta-orch node add near --slurm --spool "$dir/near" --local-spool "$dir/disk" --cpus 2 --idle 1
near_campaign() { # NAME NODE UNTIL
	campaign "$1.json" 128 1 ok --layers 900 --layer-ms 100 --until "$3"
	sed -i 's|"slot": "cpu"|"slot": {"cpus": 1}, "nodes": ["'"$2"'"], "timeout_s": 120, "retries": {"infra": 0}|' "$1.json"
}
near_campaign told near "$dir/tell"
near_campaign stopped near "$dir/never"
near_campaign nowhere away "$dir/never"
expect 0 'controller' greta-orch submit --detach told.json
wait_for 30 holds 2 || fail "nothing runs there: $(squeue; cat near/log/*)"
[ "$(ls disk/greta-*/near/attempts | wc -l)" = 2 ] || fail "they do not run on the disk there: $(ls -R disk)"
touch tell
expect 0 '2 of 2' timeout 30 greta-orch watch told
expect 0 'controller' greta-orch submit --detach stopped.json
wait_for 30 holds 2 || fail "nothing runs there: $(squeue; cat near/log/*)"
expect 0 '.' greta-orch cancel stopped
wait_for 20 is "SELECT count(*) FROM attempt WHERE outcome = 'cancelled'" 2 || fail "a cancel did not reach them"
left_behind() { find disk/greta-*/near/attempts near/attempts near/queue -mindepth 1; }
wait_for 20 eval '[ -z "$(left_behind)" ]' || fail "left behind: $(left_behind)"
expect 0 'added' greta-orch node add away --slurm --spool "$dir/away" --local-spool "$dir/nowhere" --cpus 2
expect 1 'infra: 3 allocations in a row ended before they took work; .*spool folder .*/nowhere/greta-[0-9]+: No such file' \
	greta-orch submit nowhere.json

# --- jobs that slurmctld has forgotten by now: one that slurmdbd knows, and one that nobody knows
[ "${slurm_storage:-}" ] || done_testing
export GRETA_DB=$late_db
forgotten() { ! PATH=$slurm_path scontrol show job "$1"; }
for job in "${jobs[@]}"; do
	wait_for 90 forgotten "$job" || fail "slurmctld still knows of job $job"
done
echo "${jobs[1]}" >unknown
touch go
expect 0 '2 of 2 jobs have a counted result' timeout 60 greta-orch resume
equal "an end that only slurmdbd knew" "SELECT count(*) FROM attempt WHERE outcome = 'lost' AND reason LIKE
	'Slurm ended job ${jobs[0]}, which ran it: FAILED%'" 1
equal "an end that nobody knew" "SELECT count(*) FROM attempt WHERE outcome = 'lost' AND reason =
	'Slurm no longer knows job ${jobs[1]}, which ran it'" 1
done_testing
