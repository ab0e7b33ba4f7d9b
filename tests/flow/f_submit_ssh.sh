#!/usr/bin/env bash
# Campaigns over SSH: uploads, several nodes, cut and frozen connections, and what is refused.
# usage: f_submit_ssh.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
nodes_start 3 || exit 1
add() { greta-orch node add "$1" --store "$dir/$1/store" "${@:2}"; }

# --- nodes
expect 0 'agent +greta' add node1
expect 0 'survives|go on without a connection' greta-orch node check node1
[ -x "$(echo "$dir"/node1/store/*/greta-agent)" ] || fail "the agent was not uploaded"
ls "$dir"/node1/store/*/*.part 2>/dev/null && fail "a part was left behind"
before=$(stat -c %Y-%i "$dir"/node1/store/*/greta-agent)
expect 0 'agent +greta' greta-orch node check node1 --json
[ "$before" = "$(stat -c %Y-%i "$dir"/node1/store/*/greta-agent)" ] || fail "the agent was uploaded twice"
expect 3 'node1' add node1
expect 0 'node2' add node2 --no-check
expect 0 'node2' greta-orch node list

# --- a campaign on two nodes; the engine is uploaded, once
cp "$bin/fake_engine" engine
campaign two.json "128, 256" 4 ok
sed -i "s|$bin/fake_engine|./engine|" two.json
expect 0 '16 of 16' greta-orch submit two.json
check_all_counted 16
equal "nodes used" "SELECT count(DISTINCT node_id) FROM attempt" 2
[ "$(ls "$dir"/node1/store/*/engine "$dir"/node2/store/*/engine | wc -l)" = 2 ] || fail "the engine is not in the stores"

# --- what is refused, each with its reason in one line
expect 3 "host key .*known_hosts file.*--accept-new" add stranger --host 127.0.1.4 --no-check # not in known_hosts
expect 3 "host key refused: .*no known_hosts" greta-orch node check stranger
done_testing
