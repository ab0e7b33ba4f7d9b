#!/usr/bin/env bash
# What Slurm refuses when a pool is added: one clear line each. By a real Slurm of one node, with accounts where slurmdbd
# and its database are installed; by programs that stand before Slurm's own where ours can't do it.
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
	expect 3 "$1" greta-orch node add "bad$((++k))" --slurm --spool "$dir/bad" "${@:2}"
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
kill $controller
wait $controller
done_testing
