#!/usr/bin/env bash
# Campaigns over SSH: uploads, several nodes, cut and frozen connections, and what is refused.
# usage: f_submit_ssh.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
nodes_start 3 || exit 1
id_of() { sql "SELECT id FROM campaign WHERE name = '$1'"; }
add() { greta-orch node add "$1" --store "$dir/$1/store" "${@:2}"; }

# --- nodes
expect 0 'agent +greta' add node1
expect 0 'survives|go on without a connection' greta-orch node check node1
[ -x "$(echo "$dir"/node1/store/*/greta-agent)" ] || fail "the agent was not uploaded"
ls "$dir"/node1/store/*/*.part 2>/dev/null && fail "a part was left behind"
before=$(stat -c %Y-%i "$dir"/node1/store/*/greta-agent)
expect 0 'agent_version' greta-orch node check node1 --json
[ "$before" = "$(stat -c %Y-%i "$dir"/node1/store/*/greta-agent)" ] || fail "the agent was uploaded twice"
expect 3 'node1' add node1
expect 0 'node2' add node2 --no-check
expect 0 'node2' greta-orch node list

# --- a campaign on two nodes; the engine is uploaded, once
cp "$bin/fake_engine" engine
expect 0 "agent +greta" greta-orch node check node2 # uploads take longer than jobs: both nodes are ready for what follows
campaign two.json "128, 256" 4 ok --layers 5 --layer-ms 50
sed -i "s|$bin/fake_engine|./engine|" two.json
expect 0 '16 of 16' greta-orch submit two.json
check_all_counted 16
equal "nodes used" "SELECT count(DISTINCT node_id) FROM attempt" 2
expect 0 '2 of 2 nodes answer; round trip [0-9.]+ ms \(median\), at most [0-9.]+ ms \(node[12]\)' greta-orch node ping
expect 0 '"rtt_s":[0-9].*"agent_version":"[0-9]' greta-orch node ping node1 --json
node_stop 2
expect 3 'node2  no answer: ' greta-orch node ping
grep -q '1 of 2 nodes answer' <<<"$said" && grep -q '^node1 .* ms  clock' <<<"$said" || fail "not of the other: $said"
node_start 2
[ "$(ls "$dir"/node1/store/*/engine "$dir"/node2/store/*/engine | wc -l)" = 2 ] || fail "the engine is not in the stores"

# --- engine and model with a name that a shell would take apart: in place on the nodes, found, known by hash
head -c 3000000 /dev/urandom >"my model;touch evil.gguf"
cat >'my engine' <<'SH'
#!/bin/sh
[ "$(wc -c <"$1")" = 3000000 ] || exit 9
echo "$GRETA_ATTEMPT ok 0.001" >>"$2"
echo '[PERF_TIMING] {"prefill_s":0.001,"prompt_tokens":128}'
SH
chmod +x 'my engine'
cat >odd.json <<JSON
	{"name": "odd", "slot": "cpu", "contexts": [128], "repeats": 1, "model": "my model;touch evil.gguf",
	 "engine": {"command": ["./my engine", "{model}", "$dir/ledger"], "adapter": "perf_timing"}, "variants": [{"name": "a"}, {"name": "b", "args": ["x"]}]}
JSON
expect 0 '2 of 2' greta-orch submit odd.json
[ -e evil.gguf ] || [ -e ~/evil.gguf ] && fail "a file's name was run as a command"
equal "the model" "SELECT DISTINCT m.file_sha256 FROM attempt a JOIN model m ON m.id = a.model_id" "$(sha256sum <"my model;touch evil.gguf" | cut -d' ' -f1)"

# --- a model whose context length was patched is another file with the same tensors
greta-gguf synth a.gguf --layers 1 --embd 64 --heads 2 --kv-heads 2 --ffn 64 --vocab 300 --seed 7 >/dev/null
cp a.gguf b.gguf
greta-gguf set b.gguf llama.context_length 777 >/dev/null
for m in a b; do
	cat >$m.json <<-JSON
		{"name": "patched-$m", "slot": "cpu", "contexts": [128], "repeats": 1, "model": "$m.gguf", "variants": [{"name": "v"}],
		 "engine": {"command": ["$bin/fake_engine", "ok", "--ctx", "{context}", "--attn", "{model}", "--ledger", "$dir/ledger"], "adapter": "perf_timing"}}
	JSON
	expect 0 '1 of 1' greta-orch submit $m.json
done
equal "files, tensors and metadata of a patched model" "SELECT count(DISTINCT file_sha256), count(DISTINCT data_sha256),
	count(DISTINCT metadata_sha256), count(*) FROM model WHERE architecture = 'llama' AND n_params > 0" "2|1|2|2"

# --- a model that became another file under the same path is brought again, also by a controller that knew the first one
controller_stays
for m in a b; do
	cp $m.gguf changing.gguf
	sed "s/$m.gguf/changing.gguf/; s/patched-$m/changed-$m/" $m.json >changing.json
	expect 0 '1 of 1' greta-orch submit changing.json
	equal "the model that was run" "SELECT m.file_sha256 FROM attempt a JOIN model m ON m.id = a.model_id
		ORDER BY a.id DESC LIMIT 1" "$(sha256sum <changing.gguf | cut -d' ' -f1)"
done
controller_leaves

# --- builds that only nodes have are tried there before anything is submitted; nothing of it stays
cat >there.json <<JSON
	{"name": "there", "slot": "cpu", "contexts": [128], "repeats": 1, "gates": {"min_counted": 1},
	 "engine": {"command": ["env", "$bin/fake_engine", "ok", "--ctx", "{context}", "--attn", "{variant}"], "adapter": "perf_timing"},
	 "variants": [{"name": "good"}, {"name": "short",
	   "engine": {"command": ["env", "$bin/fake_engine", "short-prompt", "--ctx", "{context}"], "adapter": "perf_timing"}},
	  {"name": "away", "nodes": ["node2"],
	   "engine": {"command": ["no-such-engine"], "adapter": "perf_timing"}}]}
JSON
before=$(sql "SELECT count(*) FROM campaign")
mkdir trials
TMPDIR=$dir/trials expect 3 'good +verified: on node[12]: sha256 [0-9a-f]{12}, prefilled 16 tokens and kept the contract' greta-orch plan there.json
grep -q 'short .*does not work: on node[12]: invalid: ' <<<"$said" || fail "a short prompt was not noticed: $said"
grep -q 'away .*on node2: .*no-such-engine' <<<"$said" || fail "a missing engine was not told: $said"
equal "campaigns after plan" "SELECT count(*) FROM campaign" "$before"
[ -z "$(ls trials)" ] || fail "the trial was not cleaned up"

# --- what is refused, each with its reason in one line
cp known_hosts known_hosts.all
grep -v "$(node_address 3)" known_hosts.all >known_hosts
expect 3 'host key refused: .*no known_hosts file.*--accept-new' add node3
echo "@revoked * $(cut -d' ' -f1,2 node3/host_key.pub)" >>known_hosts
expect 3 'host key refused: .*@revoked in .*known_hosts line' greta-orch node check node3
{ grep -v "$(node_address 3)" known_hosts.all; echo "[$(node_address 3)]:$nodes_port $(cut -d' ' -f1,2 node1/host_key.pub)"; } >known_hosts
expect 3 'host key refused: .*has another one.*ssh-keygen -R' greta-orch node check node3
grep -v "$(node_address 3)" known_hosts.all >known_hosts
expect 0 'agent +greta' greta-orch node add trusted --host node3 --store "$dir/node3/store" --accept-new
grep -q "^\[$(node_address 3)\]:$nodes_port" known_hosts || fail "the new key was not remembered"
expect 0 'agent +greta' greta-orch node check node3
expect 3 'refused user nobody-there; tried: ' add wrong-user --host node2 --user nobody-there
expect 3 'Connection refused' add dead-port --host node2 --port 1
expect 3 "can't connect to no-such-host.invalid" add no-host --host no-such-host.invalid
cp id.pub authorized.bak; : >authorized_keys
expect 3 'refused user .*tried: .*/id' greta-orch node check node2
cp authorized.bak authorized_keys
expect 2 'only letters' greta-orch node add evil --host node2 --store 'x; touch /tmp/evil'

# --- a login shell that talks; a jump host
node_stop 3
node_start 3 'ForceCommand echo Welcome to this node; eval "$SSH_ORIGINAL_COMMAND"'
expect 0 'agent +greta' greta-orch node check node3
node_stop 3
node_start 3
{ echo "Host jumped"; echo "	HostName $(node_address 3)"; echo "	ProxyJump node1"; cat ssh_config; } >ssh_config.2
mv ssh_config.2 ssh_config
expect 0 'agent +greta' greta-orch node add jumped --store "$dir/node3/store"
sed -i 's/ProxyJump node1/ProxyJump nowhere.invalid/' ssh_config
expect 3 'jump host|proxy|nowhere' greta-orch node check jumped
expect 0 'removed' greta-orch node remove jumped trusted wrong-user dead-port no-host node3

# --- links that die while engines run: nothing is lost, nothing runs twice
open_ended cut.json 2 cut
greta-orch submit --detach cut.json >/dev/null
running() { is "SELECT count(*) FROM attempt WHERE state = 'running'" "$1"; }
wait_for 10 running 2 || fail "nothing was started on two nodes"
kill -KILL $(node_pids 1 | tail -n +2)
kill -KILL $(pgrep -f "greta-agent session" | while read -r p; do grep -qz "GRETA_SPOOL_DIR=$dir/node2/" "/proc/$p/environ" && echo "$p"; done)
touch cut
expect 0 '4 of 4' greta-orch watch
equal "attempts in spite of cuts" "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = $(id_of cut)" 4

# --- a frozen sshd is noticed within 12 s; the attempt goes on, and is found again
open_ended frozen.json 1 noticed
greta-orch submit --detach frozen.json >/dev/null
wait_for 10 running 2 || fail "nothing was started on two nodes"
frozen=$(node_pids 1) # also what it would be reached by again
kill -STOP $frozen
start=$SECONDS
wait_for 13 sh -c 'greta-orch status --json | grep -q "no sign of life"' || fail "a frozen sshd was not noticed in 12 s"
[ $((SECONDS - start)) -ge 8 ] || fail "it was given up after $((SECONDS - start)) s"
touch noticed
kill -CONT $frozen
expect 0 '2 of 2' greta-orch watch
equal "attempts in spite of the freeze" "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = $(id_of frozen)" 2

# --- a killed supervisor: lost, and tried again
open_ended lost.json 1 killed
greta-orch node drain node2 >/dev/null
greta-orch submit --detach lost.json >/dev/null
wait_for 10 running 1 || fail "nothing was started"
kill -KILL $(pgrep -f "greta-agent supervise" | while read -r p; do grep -qz "GRETA_SPOOL_DIR=$dir/node1/" "/proc/$p/environ" && echo "$p"; done)
touch killed
expect 0 '2 of 2' greta-orch watch
equal "lost attempts" "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = $(id_of lost) AND a.outcome = 'lost'" 1
equal "drained node" "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id JOIN alias n ON n.id = a.alias_id WHERE j.campaign_id = $(id_of lost) AND n.name = 'node2'" 0

# --- kill -9 of the controller, with both nodes busy; another takes over
greta-orch node resume node2 >/dev/null
open_ended over.json 3 overtaken
greta-orch submit --detach over.json >/dev/null
wait_for 10 running 2 || fail "nothing was started"
kill -9 "$(controller_pid)"
touch overtaken
expect 0 '6 of 6' greta-orch resume
equal "attempts in spite of kill -9" "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = $(id_of over)" 6

# --- no node can be reached: said, stored, resumable. A controller that had them would wait for their return.
controller_ends
node_stop 1
node_stop 2
campaign away.json 128 1 ok
expect 3 'no node can run .*node1.*Connection refused' greta-orch submit away.json
node_start 1
expect 0 '2 of 2' greta-orch resume
check_all_counted $((16 + 2 + 2 + 2 + 4 + 2 + 2 + 6 + 2))
controller_ends
[ -z "$(ls node1/spool/*/attempts node2/spool/*/attempts | grep -v : )" ] || fail "spools were left: $(ls node*/spool/*/attempts)"

done_testing
