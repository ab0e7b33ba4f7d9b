#!/usr/bin/env bash
# The power fails, again and again: of the controller's machine, of the node's, of both. What was acknowledged is there, what
# ran is known, every job has one result in the end. And a disk that lies is noticed, by the same checks.
# usage: f_power_cut.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
mkdir -p disk/db disk/spool kept
chmod 700 disk/db disk/spool
export GRETA_DB=$dir/disk/db/greta.db GRETA_SPOOL_DIR=$dir/disk/spool GRETA_SLOTS_DIR=$dir/slots
export POWER_CUT_ROOT=$dir/disk POWER_CUT_DISK=$dir/kept
powered() { LD_PRELOAD=$preloads/libpower_cut.so "$@"; }

# submitted NAME: three jobs; a line in the file `acknowledged` once submit has returned
submitted() {
	campaign "$1.json" 128 3 ok --layers 4 --layer-ms 50
	sed -i 's/"slot": "cpu"/"slot": {"cpus": 1}, "retries": {"lost": 15, "infra": 15}/; s/, {"name": "v3"}//' "$1.json"
	powered greta-orch submit --detach "$1.json" >/dev/null 2>&1 && echo "$1" >>acknowledged
}

node_processes() {
	local p
	for p in $(pgrep -f "greta-agent|fake_engine"); do
		grep -qsz "^GRETA_SPOOL_DIR=$GRETA_SPOOL_DIR$" "/proc/$p/environ" && echo "$p"
	done
}
die() { while [ -n "$("$@")" ]; do kill -KILL $("$@") 2>/dev/null; sleep 0.02; done; }
# The controller stands still while the node is without power, or it would have a session there before the disk is.
power_cut() { # controller, node or both
	local controller
	controller=$(controller_pid)
	if [ "$1" = node ]; then kill -STOP "$controller"; else kill -KILL "$controller"; fi 2>/dev/null
	[ "$1" = controller ] || die node_processes
	[ "$1" = node ] || "$here/power_cut.py" disk/db kept
	[ "$1" = controller ] || "$here/power_cut.py" disk/spool kept
	[ "$1" != node ] || kill -CONT "$controller" 2>/dev/null
}

missing() { # acknowledged campaigns that are not there as they were
	local name
	while read -r name; do
		is "SELECT count(*) FROM job j JOIN campaign c ON c.id = j.campaign_id WHERE c.name = '$name'" 3 || echo "$name"
	done <acknowledged
}

for round in 1 2 3 4 5 6; do
	submitted "c$round"
	sleep "0.$((RANDOM % 10))"
	case $((round % 3)) in
	0) what=both ;;
	1) what=controller ;;
	2) what=node ;;
	esac
	power_cut $what
	[ -z "$(missing)" ] || fail "lost with the power of $what, though acknowledged: $(missing)"
	equal "integrity after a power cut" "PRAGMA integrity_check" ok
	powered greta-orch resume --detach >/dev/null 2>&1
	[ $what = controller ] || continue
	sleep 1
	equal "lost by a power cut of the controller alone" "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id
		JOIN campaign c ON c.id = j.campaign_id WHERE c.name = 'c$round' AND outcome = 'lost'" 0
done
submitted last
expect '[01]' 'counted' timeout 120 greta-orch watch last
wait_for 60 is "SELECT count(*) FROM job WHERE state <> 'done'" 0 || fail "not all came to an end: $(greta-orch status)"
[ "$(wc -l <acknowledged)" = 7 ] || fail "not every campaign was accepted: $(cat acknowledged)"
check_all_counted 21
while read -r uuid _; do
	is "SELECT count(*) FROM attempt WHERE uuid = '$uuid'" 1 || fail "attempt $uuid ran, and is not known"
done <ledger
controller_ends
[ -z "$(ls disk/spool/*/attempts)" ] || fail "spools were left: $(ls disk/spool/*/attempts)"

# --- a disk that drops what it promised to keep
submitted before
controller_ends
POWER_CUT_LIES=greta.db-wal submitted lied
power_cut controller
[ "$(missing)" = lied ] || fail "what a lying disk lost was not noticed: $(missing)"
done_testing
