#!/usr/bin/env bash
# What a machine can run out of, or have taken away, while attempts run: descriptors, processes, the spool itself.
# usage: f_limits.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
mkdir -m 700 spool
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots
# ends_in_order: the controller at hand, as by a service manager
ends_in_order() {
	kill -TERM "$(controller_pid)"
	controller_ends
}

# --- no descriptors left: said, stored, and it goes on with more
campaign few.json 128 1 ok
(ulimit -n 16; greta-orch submit --detach few.json) >/dev/null
said() { greta-orch status | grep -q "$1"; }
wait_for 20 said 'Too many open files' || fail "it does not say that descriptors ran out: $(greta-orch status)"
ends_in_order
expect 0 '2 of 2' greta-orch resume
controller_ends

# --- no processes left, as a user that has a limit
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$dir"
	mkdir -m 700 mine
	campaign procs.json 128 1 ok
	sed -i "s|$dir/ledger|$dir/mine/ledger|" procs.json
	chown -R 65534 mine
	as_nobody() {
		setpriv --reuid=65534 --regid=65534 --clear-groups env HOME="$dir/mine" GRETA_DB="$dir/mine/greta.db" \
			GRETA_SPOOL_DIR="$dir/mine/spool" GRETA_SLOTS_DIR="$dir/mine/slots" ASAN_OPTIONS=detect_leaks=0 "$@"
	}
	if as_nobody "$bin/greta-orch" help >/dev/null 2>&1; then
		as_nobody bash -c "ulimit -u 2; exec $bin/greta-agent run -- $bin/fake_engine ok" >said 2>&1
		[ $? = 3 ] && grep -q 'Resource temporarily unavailable' said || fail "no processes left: $(cat said)"
		expect 0 '2 of 2' as_nobody "$bin/greta-orch" submit procs.json
	fi
fi

# --- something cleans up the spool of an attempt that runs: lost with that reason, tried again
campaign cleaned.json 128 1 ok --layers 20 --layer-ms 100
greta-orch submit --detach cleaned.json >/dev/null
wait_for 20 is "SELECT count(*) FROM attempt WHERE state = 'running'" 1 || fail "nothing was started"
rm -rf spool/*/attempts/*
expect 0 '2 of 2' timeout 60 greta-orch watch
equal "lost to the cleaner" "SELECT count(*) FROM attempt WHERE outcome = 'lost' AND cause = 'spool'" 1
controller_ends

# --- somebody sets the clock, a day forth and two back, while attempts run: nothing ends for it, no duration changes
open_ended jump.json 1 landed
echo 0 >jump
CLOCK_JUMP=$dir/jump LD_PRELOAD=$preloads/libpretend.so greta-orch submit --detach jump.json >/dev/null
before=$SECONDS
jumped="JOIN job j ON j.id = a.job_id JOIN campaign c ON c.id = j.campaign_id WHERE c.name = 'jump'"
for s in 86400 -86400 0; do
	wait_for 20 is "SELECT count(*) FROM attempt a $jumped AND a.state = 'running'" 1 || fail "nothing runs"
	echo $s >jump
	sleep 0.7
	elapsed=$(greta-orch status --json | jq '.campaigns[0].elapsed_s')
	jq -ne "$elapsed >= 0 and $elapsed <= $((SECONDS - before + 5))" >/dev/null || fail "the campaign goes on for $elapsed s after a jump by $s s"
done
touch landed
expect 0 '2 of 2' timeout 60 greta-orch watch
equal "attempts across jumps" "SELECT count(*) FROM attempt a $jumped" 2
equal "durations across jumps" "SELECT count(*) FROM attempt a $jumped AND a.wall_s BETWEEN 0 AND $((SECONDS - before + 1))" 2
controller_ends

# --- a home that can't be written
expect '[123]' 'proc' env -u GRETA_DB HOME=/proc XDG_DATA_HOME= greta-orch submit few.json
done_testing
