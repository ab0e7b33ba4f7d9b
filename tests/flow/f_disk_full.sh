#!/usr/bin/env bash
# Full disks: the controller's (nothing committed is lost, it goes on by itself) and the node's (said, put aside).
# usage: f_disk_full.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
[ "$(id -u)" = 0 ] || { echo "SKIP: only root can mount a small file system"; exit 77; }
mkdir -m 700 small spool spool2
mount -t tmpfs -o size=8m none small || { echo "SKIP: tmpfs can't be mounted here"; exit 77; }
trap 'umount -l "$dir/small" "$dir/spool2" 2>/dev/null; finish' EXIT
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots

# --- the database's disk
export GRETA_DB=$dir/small/greta.db
campaign fill.json 128 10 ok --layers 3 --layer-ms 100
greta-orch submit --detach fill.json >/dev/null
wait_for 20 is "SELECT count(*) > 2 FROM job WHERE state = 'done'" 1 || fail "nothing ran"
dd if=/dev/zero of=small/filler bs=64k 2>/dev/null
n=-1
stands() { # what room the log's file had left may still be used
	local before=$n
	n=$(sql "SELECT count(*) FROM job WHERE counted_attempt IS NOT NULL")
	[ "$n" = "$before" ] || { sleep 3; false; }
}
wait_for 30 stands || fail "the disk is full, and results are stored"
[ "$n" -lt 20 ] || fail "the disk was never full"
sleep 3
equal "results while the disk is full" "SELECT count(*) FROM job WHERE counted_attempt IS NOT NULL" "$n"
rm small/filler
wait_for 60 is "SELECT count(*) FROM job WHERE counted_attempt IS NOT NULL" 20 || fail "it did not go on by itself"
check_all_counted 20
[ "$(sort ledger | cut -d' ' -f1 | uniq | wc -l)" = 20 ] || fail "an attempt ran twice, or a job had two"
controller_ends

# --- the node's disk
export GRETA_DB=$dir/greta.db
mount -t tmpfs -o size=1m none spool2
mkdir -m 700 spool2/greta
export GRETA_SPOOL_DIR=$dir/spool2/greta
campaign nospace.json 128 5 ok
expect 0 'agent' greta-orch node add local --local
dd if=/dev/zero of=spool2/filler bs=4k 2>/dev/null
expect 3 'local: .*(No space left|disk|could not start)' greta-orch submit nospace.json
rm spool2/filler
expect 0 'up' greta-orch node resume local
expect '[01]' 'jobs have a counted result' greta-orch resume

done_testing
