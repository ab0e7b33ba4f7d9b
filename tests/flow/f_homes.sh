#!/usr/bin/env bash
# What the folders are like in which a fleet has to live: a home that nodes share, one that can't be written, network file
# systems (stood in for by pretend.c: what a program is told of the file system; its locks are those of a local one).
# usage: f_homes.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
nodes_start 3 || exit 1
pretend=$preloads/libpretend.so
mkdir -m 700 nfs

# --- the database: refused there, with a way out
GRETA_DB=$dir/nfs/greta.db expect 3 'nfs file system, where a database can be damaged by lost locks; name a local place with --db' \
	env LD_PRELOAD=$pretend NETWORK_FS=$dir/nfs greta-orch node add node1 --store "$dir/store"

# --- a home on NFS that nodes share: the store may lie there, the spool does not
for k in 1 2; do
	node_stop $k
	nodes_setenv="LD_PRELOAD=$pretend NETWORK_FS=$dir/nfs HOME=$dir/nfs" node_start $k
done
head -c 40000000 /dev/urandom >model.bin
for k in 1 2; do expect 0 'node' greta-orch node add node$k --no-check --store "$dir/nfs/store"; done
cat >shared.json <<JSON
	{"name": "shared", "slot": "cpu", "contexts": [128], "repeats": 2, "model": "model.bin", "max_jobs_per_node": 1,
	 "engine": {"command": ["$bin/fake_engine", "ok", "--ctx", "{context}", "--attn", "{model}", "--layers", "10", "--layer-ms", "100",
	            "--ledger", "$dir/ledger"], "adapter": "perf_timing"}, "variants": [{"name": "a"}, {"name": "b"}]}
JSON
controller_ends
greta-orch controller --stay 2>/dev/null &
wait_for 10 test -S "$GRETA_DB.sock"
expect 0 '2 of 2 nodes answer' greta-orch node ping # and are asked what they are when the campaign wants them
equal "nodes known" "SELECT count(*) FROM node" 0
expect 0 '4 of 4' greta-orch submit shared.json
kill "$(controller_pid)"
check_all_counted 4
equal "nodes used" "SELECT count(DISTINCT alias_id) FROM attempt" 2
[ "$(find nfs/store -name model.bin | wc -l)" = 1 ] && [ -z "$(find nfs/store -name '*.part')" ] || fail "the model: $(find nfs/store)"
cmp -s model.bin "$(find nfs/store -name model.bin)" || fail "the model was damaged"
controller_ends

# --- a spool there: refused by the node, with a way out
node_stop 2
nodes_setenv="LD_PRELOAD=$pretend NETWORK_FS=$dir/node2/spool" node_start 2
expect 3 'the spool .* is on a network file system \(nfs\)' greta-orch node check node2
controller_ends

# --- a store that can't be written; one that another user has
if [ "$(id -u)" = 0 ] && mkdir -m 700 ro && mount -t tmpfs -o size=1m,ro none ro 2>/dev/null; then
	trap 'umount -l "$dir/ro" 2>/dev/null; finish' EXIT
	expect 3 '/ro/store/.*(Read-only|refused|No such file|Failure)' greta-orch node add node3 --store "$dir/ro/store"
	mkdir -m 755 theirs
	chown 65534 theirs
	expect 3 'theirs on the node belongs to another user \(uid 65534\)' greta-orch node add theirs --host node3 --store "$dir/theirs/store"
	grep -q 'another place .--store' <<<"$said" || fail "no way out: $said"
	[ -z "$(find theirs -type f)" ] || fail "something was brought there: $(find theirs)"
fi
done_testing
