#!/usr/bin/env bash
# A GPU that fails its probe after a hang is kept out of use: the campaign goes on elsewhere or says why it can't, `node list`
# shows it, restarts change nothing, and `node resume` lets it go, on the node too. The GPUs are a recorded tree.
# usage: f_quarantine.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots GRETA_SYSFS_ROOT=$dir/sys GRETA_DEV_ROOT=$dir/dev GRETA_KMSG=$dir/kmsg
export GRETA_AFTER_KILL_S=1 GRETA_GPU_PROBE=$dir/probe
cd "$dir" || exit 1

one=GPU-0000000000000001 two=GPU-0000000000000002
fake_gpu . 1
fake_gpu . 2
: >kmsg
cat >probe <<'SH'
#!/bin/sh
grep -qs "$ROCR_VISIBLE_DEVICES" "$(dirname "$0")/sick" || exit 0
echo "copy back: wrong data"
exit 1
SH
chmod +x probe

# on_gpus FILE REPEATS MODE [ENGINE OPTIONS...]
on_gpus() {
	local file=$1 repeats=$2
	shift 2
	campaign "$file" 128 "$repeats" "$@"
	sed -i 's|"slot": "cpu"|"slot": {"gpus": 1}, "phases": {"prefill": {"silence_s": 1.5}}|; s|, {"name": "v3"}||' "$file"
}

# --- one hangs, and its GPU fails the probe: the others go on beside it
echo "$one $two" >sick
on_gpus hang.json 4 hang-spin --once $dir/hung
expect 1 '3 of 4 jobs have a counted result' greta-orch submit hang.json
equal "hangs" "SELECT count(*) FROM attempt WHERE outcome = 'hung' AND reason LIKE '%in quarantine%'" 1
bad=$(sql "SELECT d.uuid FROM attempt a JOIN attempt_device t ON t.attempt_id = a.id JOIN device d ON d.id = t.device_id WHERE outcome = 'hung'")
controller_ends
expect 0 "local .*up .*gpu-$bad .*gpu-$bad since 20.*: after attempt .*copy back: wrong data" greta-orch node list
expect 0 "\"quarantine\": ?\"gpu-$bad\"" greta-orch node list --json
grep -qE '"since": ?"20[0-9-]+T[0-9:]+Z"' <<<"$said" || fail "no time since when: $said"

# --- what is left is used, by a controller and sessions that know of it from the database and from the node
on_gpus good.json 3 ok --layer-ms 20
expect 0 '3 of 3' greta-orch submit good.json
equal "attempts on the bad one" "SELECT count(*) FROM attempt a JOIN attempt_device t ON t.attempt_id = a.id JOIN device d ON d.id = t.device_id
	JOIN job j ON j.id = a.job_id WHERE j.campaign_id = 2 AND d.uuid = '$bad'" 0

# --- a job that needs both says so, and does not wait
sed 's|{"gpus": 1}|{"gpus": 2}|; s|"good"|"both"|' good.json >both.json
expect 3 "asks for 2 GPUs, the node has 1 to use \(gpu-$bad in quarantine since .*wrong data\); see to it, then .greta-orch node resume local" \
	greta-orch submit both.json
sed 's|{"gpus": 1}|"node"|; s|"good"|"whole"|' good.json >whole.json
expect 3 "takes the whole node, and a part of it is in quarantine" greta-orch submit whole.json

# --- the other one, too: nothing can run
rm -f hung
on_gpus last.json 2 hang-spin --once $dir/hung
expect 3 'no node can run|asks for 1 GPUs, the node has 0 to use' greta-orch submit last.json
equal "in quarantine" "SELECT count(*) FROM quarantine" 2
equal "waiting" "SELECT state FROM job WHERE campaign_id = 5 ORDER BY id DESC LIMIT 1" queued

# --- an agent of a release before: a clear answer, and nothing changes
cat >old-agent <<'SH'
#!/bin/sh
echo "GRETA-AGENT $3 1"
read -r hello
echo '{"type":"hello","re":1,"protocol_min":1,"protocol_max":1,"version":"0.0.9"}'
sleep 2
SH
chmod +x old-agent
controller_ends
GRETA_AGENT=$dir/old-agent expect 3 "of a release that can't let go of it: run .greta-agent quarantine --release --all. there" greta-orch node resume local
controller_ends
equal "in quarantine" "SELECT count(*) FROM quarantine" 2

# --- resume lets go, on the node as well; what waited goes on
rm -f sick
expect 0 "gpu-$one is out of quarantine" greta-orch node resume local
grep -q "gpu-$two is out of quarantine" <<<"$said" || fail "the other one was not named: $said"
equal "in quarantine" "SELECT count(*) FROM quarantine" 0
expect 0 'nothing is in quarantine' greta-agent quarantine
expect 1 '1 of 2 jobs have a counted result' greta-orch resume last
expect 0 '3 of 3' greta-orch resume both
expect 0 '3 of 3' greta-orch resume whole

# --- the hang of one resets both: its sibling dies of that, is no failure, and is tried again for nothing
cat >pair <<'SH'
#!/bin/sh
# The first to come hangs once the other one is there, too. Told to end, it can't before the reset of its GPU, which the kernel
# speaks of, and of which the other one dies.
here=$(dirname "$0")
until_there() { until [ -e "$here/$1" ]; do sleep 0.05; done; }
reset() {
	echo "amdgpu 0000:0${ROCR_VISIBLE_DEVICES##*0}:00.0: amdgpu: GPU reset begin!" >>"$here/kmsg"
	touch "$here/reset"
	until_there died
	sleep 0.5
	exit 1
}
if mkdir "$here/first" 2>/dev/null; then
	echo "$ROCR_VISIBLE_DEVICES" >"$here/culprit"
	until_there second
	trap reset TERM
	"$1" hang-spin --ctx "$2" &
	wait
fi
if mkdir "$here/second" 2>/dev/null; then
	until_there reset
	touch "$here/died"
	echo "HIP error: device lost" >&2
	exit 1
fi
exec "$1" ok --ctx "$2"
SH
chmod +x pair
on_gpus pair.json 4 ok
sed -i "s|\"$bin/fake_engine\", \"ok\", \"--ctx\"|\"$dir/pair\", \"$bin/fake_engine\"|; s|\"--attn\".*\"adapter\"|\"-\"], \"adapter\"|" pair.json
expect 1 '3 of 4 jobs have a counted result' greta-orch submit pair.json
pair="a.job_id IN (SELECT j.id FROM job j JOIN campaign c ON c.id = j.campaign_id WHERE c.name = 'pair')"
equal "outcomes" "SELECT group_concat(outcome) FROM (SELECT a.outcome FROM attempt a WHERE $pair ORDER BY 1)" "collateral,hung,ok,ok,ok"
hung=$(sql "SELECT uuid FROM attempt a WHERE $pair AND outcome = 'hung'")
equal "the sibling" "SELECT class || ' ' || certainty || ' ' || blamed || ' ' || cause FROM attempt a WHERE $pair AND outcome = 'collateral'" \
	"collateral established node neighbour"
expect 0 "on which hung attempt $hung: the kernel says: amdgpu 0000:0[12]:00.0: amdgpu: GPU reset begin!; exit 1; last words: HIP error: device lost" \
	greta-orch show --attempt "$(sql "SELECT id FROM attempt a WHERE $pair AND outcome = 'collateral'")"
equal "its job" "SELECT j.state || ' ' || (j.counted_attempt IS NOT NULL) || ' ' || (SELECT count(*) FROM attempt b WHERE b.job_id = j.id)
	FROM job j JOIN attempt a ON a.job_id = j.id WHERE $pair AND a.outcome = 'collateral'" "done 1 2"
expect 0 "gpu-$(cat culprit) since .*was taken down from there" greta-orch node list
expect 0 "gpu-$(cat culprit) is out of quarantine" greta-orch node resume local

# --- put there and let go by hand on the node: node check asks, and waits for that answer too, though it be the last to come
cat >slow-agent <<'SH'
#!/bin/bash
greta-agent "$@" | while read -r line; do
	if [[ $line = *'"type":"quarantined"'* ]]; then
		(sleep 0.5; printf '%s\n' "$line") &
	else
		printf '%s\n' "$line"
	fi
done
SH
chmod +x slow-agent
controller_ends
export GRETA_AGENT=$dir/slow-agent
echo "since 2026-01-02T03:04:05Z: smells burnt" >"slots/quarantine/gpu-$one"
expect 0 'gpu 0' greta-orch node check local
expect 0 "gpu-$one since 20.*: smells burnt" greta-orch node list
expect 0 '^$' greta-agent quarantine --release --all
expect 0 'gpu 0' greta-orch node check local
equal "in quarantine" "SELECT count(*) FROM quarantine" 0

# --- both answers are waited for at once, by two people
unset GRETA_AGENT
echo "since 2026-01-02T03:04:05Z: smells burnt" >"slots/quarantine/gpu-$one"
expect 0 'gpu 0' greta-orch node check local
controller_ends
greta-orch node resume local >resumed 2>&1 &
resume=$!
expect 0 'gpu 0' timeout 20 greta-orch node check local
wait $resume || fail "not resumed: $(cat resumed)"
equal "in quarantine" "SELECT count(*) FROM quarantine" 0

done_testing
