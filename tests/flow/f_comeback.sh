#!/usr/bin/env bash
# What was open when a link, a controller or another name of a node went away is carried on, or stopped, when they are back.
# usage: f_comeback.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
cd "$dir" || exit 1
nodes_skip_unless_possible
one() { sed -i 's/, {"name": "v3"}//' "$1"; } # FILE: one of its variants
on() { sed -i "s|\"slot\": \"cpu\"|\"slot\": \"cpu\", \"nodes\": [$2]|" "$1"; } # FILE NODES
running() { is "SELECT count(*) FROM attempt WHERE state = 'running'" "$1"; }
engines() { pgrep -f "fake_engine .*$dir/" | wc -l; }
no_engine() { [ "$(engines)" = 0 ]; }
controller_dies() {
	kill -KILL "$(controller_pid)"
	wait_for 5 test ! -d "/proc/$(controller_pid)"
}

# A session that is told to start something ends at that, while there is a file `cut`; one that is there `once` goes then.
cat >cutting <<SH
#!/bin/bash
case \$SSH_ORIGINAL_COMMAND in
*sftp*) exec /usr/lib/openssh/sftp-server ;;
*session*) ;;
*) exec sh -c "\$SSH_ORIGINAL_COMMAND" ;;
esac
pass() {
	while IFS= read -r line; do
		if [[ \$line = *'"type":"start"'* && -e $dir/cut ]]; then
			grep -q once $dir/cut && rm $dir/cut
			exit 0
		fi
		printf '%s\n' "\$line"
	done
}
sh -c "\$SSH_ORIGINAL_COMMAND" < <(pass 2>/dev/null)
SH
chmod +x cutting
nodes_start 3 || exit 1
node_stop 1
node_start 1 "ForceCommand $dir/cutting" || exit 1
export GRETA_LEASE_S=3
for k in 1 2 3; do expect 0 agent greta-orch node add "node$k" --store "$dir/node$k/store"; done
controller_ends

# --- told to start, and not heard: what is sent again names the files on the node, which are looked for anew by then
cat >engine <<SH
#!/bin/sh
echo "\$0" >>$dir/started_as
echo '[PERF_TIMING] {"prefill_s":0.0001,"prompt_tokens":1}'
SH
chmod +x engine
cat >again.json <<-JSON
	{"name": "again", "slot": "cpu", "nodes": ["node1"], "contexts": [1], "repeats": 1,
	 "engine": {"command": ["./engine"], "adapter": "perf_timing"}, "variants": [{"name": "a"}]}
JSON
echo once >cut
expect 0 '1 of 1' greta-orch submit again.json
[ ! -e cut ] || fail "nothing was cut"
equal "attempts" "SELECT count(*) FROM attempt" 1
grep -q "^$dir/node1/store/" started_as || fail "started as $(cat started_as)"
[ "$(sort -u started_as | wc -l)" = 1 ] || fail "started as $(cat started_as)"

# --- cancelled while no controller runs: a cell, then a campaign
controller_ends
for what in cell whole; do
	open_ended $what.json 1 never
	one $what.json
	on $what.json '"node2"'
	greta-orch submit --detach $what.json >/dev/null
	wait_for 20 running 1 || fail "$what: nothing was started"
	controller_dies
	if [ $what = cell ]; then cell="--variant baseline"; else cell=; fi
	expect 0 '1 job' greta-orch cancel $what $cell
	wait_for 10 no_engine || fail "$what: cancelled, and still there"
	wait_for 10 no_controller || fail "$what: the controller stayed"
	equal "$what" "SELECT group_concat(outcome) FROM attempt a JOIN job j ON j.id = a.job_id JOIN campaign c ON c.id = j.campaign_id
		WHERE c.name = '$what'" cancelled
done
equal "campaigns" "SELECT group_concat(state, ' ') FROM campaign" "done done cancelled"

# --- cancelled before its node had it, and the controller gone before it could say so
echo always >cut
open_ended early.json 1 never
one early.json
on early.json '"node1"'
greta-orch submit --detach early.json >/dev/null
wait_for 10 is "SELECT count(*) FROM attempt WHERE state = 'planned'" 1 || fail "nothing was planned"
expect 0 '1 job' greta-orch cancel early
controller_dies
rm cut
expect 0 agent greta-orch node check node1
wait_for 10 no_controller || fail "early: the controller stayed"
equal "early" "SELECT group_concat(a.outcome) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = 4" cancelled
no_engine || fail "early: an engine runs"

# --- a slot that was taken before its node has said how large it is
open_ended all.json 1 all_done
one all.json
on all.json '"node2"'
greta-orch submit --detach all.json >/dev/null
wait_for 20 running 1 || fail "all: nothing was started"
controller_dies
campaign small.json 128 1 ok
one small.json
on small.json '"node2"'
sed -i 's|"slot": "cpu"|"slot": {"cpus": 1}|' small.json
greta-orch submit --detach small.json >/dev/null
greta-orch resume --detach all >/dev/null
wait_for 20 nodes_up 1 || fail "node2 is not back"
sleep 0.5
equal "beside one that takes all" "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = 6" 0
touch all_done
expect 0 '1 of 1' greta-orch watch small
expect 0 '1 of 1' greta-orch watch all

# --- a job avoids where it failed only as long as another node may take it
controller_ends
open_ended avoid.json 1 avoided
one avoid.json
on avoid.json '"node2", "node3"'
node_stop 3
greta-orch submit --detach avoid.json >/dev/null
expect 0 agent greta-orch node check node1
wait_for 20 running 1 || fail "avoid: nothing was started"
kill -KILL $(pgrep -f "greta-agent supervise $dir/node2/")
wait_for 20 is "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = 7 AND outcome = 'lost'" 1 ||
	fail "avoid: not lost"
touch avoided
expect 0 '1 of 1' timeout 30 greta-orch watch
node_start 3 || exit 1

# --- a node that died with an attempt, which its lease has ended, can be removed
open_ended gone.json 1 never
one gone.json
on gone.json '"node3"'
sed -i 's|"repeats": 1|"repeats": 1, "retries": {"lost": 0}|' gone.json
greta-orch submit --detach gone.json >/dev/null
wait_for 20 running 1 || fail "gone: nothing was started"
expect 3 'runs 1 attempts' greta-orch node remove node3
node_stop 3
kill -KILL $(nodes_processes)
wait_for 25 running 0 || fail "gone: not called lost"
expect 0 removed greta-orch node remove node3

# --- a node that can't say what it is, for the moment
controller_ends
export GRETA_DB=$dir/local.db GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots
cat >busy-agent <<SH
#!/bin/bash
greta-agent "\$@" | while IFS= read -r line; do
	if [[ \$line = *'"type":"facts"'* && ! -e $dir/refused && \$line =~ \"re\":([0-9]+) ]]; then
		touch $dir/refused
		line="{\"type\":\"refused\",\"re\":\${BASH_REMATCH[1]},\"code\":\"fail\",\"text\":\"no process to be had\"}"
	fi
	printf '%s\n' "\$line"
done
SH
chmod +x busy-agent
campaign later.json 128 1 ok
GRETA_AGENT=$dir/busy-agent expect 0 '2 of 2' timeout 30 greta-orch submit later.json
[ -e refused ] || fail "nothing was refused"

# --- one machine by two names: the second lets alone what the first one runs, and serves when that is gone
controller_ends
export GRETA_DB=$dir/twins.db
for name in a b; do expect 0 added greta-orch node add $name --local --no-check; done
controller_ends
greta-orch controller --stay &
controller=$!
wait_for 10 test -S "$GRETA_DB.sock" || fail "no controller"
open_ended first.json 1 both
one first.json
on first.json '"a"'
greta-orch submit --detach first.json >/dev/null
wait_for 20 running 1 || fail "twins: nothing was started"
expect 0 cpu greta-orch node check b
touch both
expect 0 '1 of 1' timeout 20 greta-orch watch first
equal "attempts of twins" "SELECT count(*) FROM attempt" 1
expect 0 cpu greta-orch node check a # which connects anew, and is the first all the same
for name in a b; do
	campaign on_$name.json 128 1 ok
	on on_$name.json "\"$name\""
done
expect 0 '2 of 2' greta-orch submit on_a.json
expect 3 'no node can run .*: b: the same machine as another node' greta-orch submit on_b.json
expect 0 removed greta-orch node remove a
expect 0 '2 of 2' greta-orch resume on_b
kill $controller
wait $controller

# --- what a campaign takes from its controller's environment
controller_ends
cat >secret.json <<-JSON
	{"name": "secret", "slot": "cpu", "nodes": ["b"], "contexts": [1], "repeats": 1, "env": {"HF_TOKEN": null},
	 "engine": {"command": ["/bin/echo", "[PERF_TIMING] {\"prefill_s\":0.0001,\"prompt_tokens\":1}"], "adapter": "perf_timing"},
	 "variants": [{"name": "a"}]}
JSON
expect 2 'takes HF_TOKEN from the controller.s environment' greta-orch submit secret.json
controller_ends
expect 0 draining greta-orch node drain b
controller_ends
HF_TOKEN=hunter2 greta-orch submit --detach secret.json >/dev/null
wait_for 10 no_controller || fail "a controller without a node stayed"
expect 0 up greta-orch node resume b
controller_ends
expect 3 'takes HF_TOKEN from the controller.s environment' timeout 20 greta-orch resume
controller_ends
HF_TOKEN=hunter2 expect 0 '1 of 1' greta-orch resume

sanitized=$(grep -hE "AddressSanitizer|runtime error" ./*.db.log)
[ -z "$sanitized" ] || fail "$sanitized"
done_testing
