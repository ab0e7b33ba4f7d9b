#!/usr/bin/env bash
# submit with the local transport: what it prints, its exit codes, cancel, detach, Ctrl-C, and a killed controller.
# usage: f_submit_local.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
export GRETA_SPOOL_DIR=$dir/spool GRETA_SLOTS_DIR=$dir/slots
cd "$dir" || exit 1

# --- every word that begins commands has a page
expect 2 'node drain' greta-orch node
expect 0 'node drain' greta-orch node --help
expect 0 'baseline set' greta-orch help baseline
expect 0 'Usage: greta-orch node add' greta-orch help node add
expect 2 "did you mean 'node drain'" greta-orch node drian

# --- nothing there yet
expect 3 'no database there' greta-orch status
expect 3 'no database there' greta-orch resume
head -c 4096 /dev/urandom >junk.db
expect 3 'junk.db: file is not a database; .*restore a backup' greta-orch results --db junk.db
expect 2 'No such file' greta-orch submit missing.json
echo '{"name": "x", "contexts": [1, "a"], "colour": 1}' >bad.json
expect 2 'colour' greta-orch submit bad.json
[ -e "$GRETA_DB" ] && fail "a bad file made a database"

# --- a database of an older version: readers say what brings it up, and that does
{
	cat "$here"/../../db/migrations/000[12]_*.sql
	echo "INSERT INTO meta (key, value) VALUES ('db_uuid', '8d7e0d6c-64b9-4c53-9d3c-6d6f0f1f2a3b'), ('fence', 0), ('created_ns', 1);"
	echo "PRAGMA application_id = 1196577857; PRAGMA user_version = 2;"
} | sqlite3 old.db
expect 3 'of version 2, .*greta-orch resume' greta-orch results --db old.db
expect 0 'nothing to resume' greta-orch resume --db old.db
[ -e old.db.v2.bak ] || fail "no backup was kept"
expect 3 'no campaign' greta-orch results --db old.db

# --- a campaign that works
campaign good.json "128, 256" 2 ok
expect 0 'would run|8 jobs' greta-orch submit --dry-run good.json
expect 0 '8 of 8 jobs have a counted result' greta-orch submit good.json
grep -q 'campaign 1 (good): 8 jobs' <<<"$said" || fail "no id was printed: $said"
grep -q 'node `local`' <<<"$said" || fail "the embedded default was not named: $said"
check_all_counted 8
wait_for 5 no_controller || fail "the controller did not end when nothing was left"
equal "spools left" "SELECT 0" "$(ls spool/*/attempts | wc -l)"
expect 0 'no campaign is active' greta-orch resume
expect 0 'no controller is running' greta-orch status
expect 0 '"counted":8' greta-orch submit --json good.json
equal "attempts that no node has taken" "SELECT count(*) FROM result WHERE dispatched_ns IS NULL" 0

# --- repeats count from 1 wherever they are shown
expect 0 'repeat +1' greta-orch show --job 1
expect 0 'repeat +1' greta-orch show --attempt 1
expect 0 '^ *[0-9]+ .* 128 +1 ' greta-orch results good --runs
equal "repeats" "SELECT group_concat(DISTINCT repeat) FROM cell" 1,2

# --- its logs: searched, followed, both
expect 0 'PERF_TIMING' greta-orch logs --campaign good --grep PERF_TIMING
expect 0 'PERF_TIMING' greta-orch logs --job 1 --follow
expect 0 '^\[PERF_TIMING\]' greta-orch logs --job 1 --follow --grep PERF_TIMING
[ "$(wc -l <<<"$said")" = 1 ] || fail "--follow --grep printed other lines: $said"
expect 2 'Unmatched' greta-orch logs --job 1 --follow --regex --grep 'a[b'
expect 1 '^$' greta-orch logs --grep 'nobody printed this'

# --- engines that misbehave: the campaign goes on, the exit code says it
campaign lies.json 128 1 short-prompt
expect 1 'invalid' greta-orch submit lies.json
equal "lying engines" "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = 3 AND a.outcome = 'invalid'" 2
campaign crash.json 128 2 exit --exit 7
expect 1 'failed' greta-orch submit crash.json
equal "crashing engines" "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = 4 AND a.exit_code = 7" 4

# --- what is missing is named before anything is stored
n=$(sql "SELECT count(*) FROM campaign")
sed "s|$bin/fake_engine|./no-such-engine|" good.json >noengine.json
expect 2 'no-such-engine' greta-orch submit noengine.json
sed 's|"slot"|"model": "no-such-model.gguf", "slot"|' good.json >nomodel.json
expect 2 'no-such-model.gguf' greta-orch submit nomodel.json
sed 's|"slot"|"nodes": ["gpu7"], "slot"|' good.json >nonode.json
expect 2 'gpu7' greta-orch submit nonode.json
equal "campaigns stored" "SELECT count(*) FROM campaign" "$n"

# --- no GPU here, and nobody who could have one
sed 's|"slot": "cpu"|"slot": {"gpus": 9}|' good.json >gpus.json
expect 3 'asks for 9 GPUs, the node has' greta-orch submit gpus.json
expect 0 'jobs cancelled' greta-orch cancel latest

# --- detach, a second submit through the running controller, watch, cancel
campaign long.json "128, 256" 3 ok --layers 100 --layer-ms 100
expect 0 'controller: pid' greta-orch submit --detach long.json
wait_for 10 is "SELECT count(*) FROM attempt WHERE state = 'running'" 1 || fail "nothing was started"
pid=$(controller_pid)
expect 0 'campaign 7' greta-orch submit --detach good.json
[ "$(controller_pid)" = "$pid" ] || fail "a second submit made a second controller"
expect 0 'long' greta-orch status
prefills() { greta-orch status --json | grep -q '"phase":"prefill"'; }
wait_for 10 prefills || fail "status does not tell the phase: $(greta-orch status --json)"
expect 3 'is not in|no campaign|none' greta-orch cancel nothing-like-it
start=$SECONDS
expect 0 '12 jobs cancelled' greta-orch cancel 6
wait_for 5 is "SELECT count(*) FROM attempt WHERE outcome = 'cancelled'" 1 || fail "the running engine was not stopped in 5 s"
pgrep -f "$dir/ledger --layers 100" >/dev/null && fail "the cancelled engine still runs"
expect 0 '8 of 8' greta-orch watch 7
controller_ends

# --- kill -9 of the controller while an engine runs; resume adopts it
open_ended kill.json 1 killed
greta-orch submit --detach kill.json >/dev/null
wait_for 10 is "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = 8 AND a.state = 'running'" 1 ||
	fail "nothing was started"
kill -9 "$(controller_pid)"
sleep 0.2
expect 0 'resume' greta-orch status
touch killed
expect 0 '2 of 2 jobs' greta-orch resume
equal "attempts after kill -9" "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = 8" 2

# --- Ctrl-C asks once, the second leaves; everything is resumable
open_ended interrupt.json 1 interrupted
greta-orch submit interrupt.json >interrupt.out 2>&1 &
job=$!
wait_for 10 is "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = 9 AND a.state = 'running'" 1
kill -INT $job
wait_for 5 grep -q 'Ctrl-C again' interrupt.out || fail "the first Ctrl-C said nothing"
kill -0 $job || fail "the first Ctrl-C ended it"
kill -INT $job
wait $job
[ $? = 130 ] || fail "a second Ctrl-C did not leave with 130: $(cat interrupt.out)"
wait_for 5 no_controller || fail "the controller stayed after Ctrl-C"
expect 0 'draining' greta-orch node drain local # another command does not set it going again
expect 0 'local: up' greta-orch node resume local
sleep 0.3
equal "attempts while nobody resumed" "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = 9" 1
touch interrupted
expect 0 '2 of 2 jobs' greta-orch resume
equal "attempts after Ctrl-C" "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = 9" 2
check_all_counted $((8 + 8 + 8 + 2 + 2))

# --- gates: the likeliest token must be the reference's; so many results are enough
gate() {
	cat >gate.json <<-JSON
		{"name": "gate", "slot": "cpu", "contexts": [1], "repeats": 2, "gates": $1,
		 "engine": {"command": ["$dir/says", "{repeat}"], "adapter": "perf_timing"},
		 "variants": [{"name": "good", "args": ["5"]}, {"name": "same", "args": ["5", ""]}, {"name": "off", "args": ["$2"]}]}
	JSON
}
cat >says <<'SH'
#!/bin/sh
[ "$2" = crash ] && [ "$1" = 2 ] && exit 1
echo "[PERF_TIMING] {\"prefill_s\":0.0001,\"prompt_tokens\":1,\"top1\":${2#crash},\"logits_sha256\":\"${2}abc\"}" | sed 's/"top1":,//'
SH
chmod +x says
gate '{"logits_reference": "good", "same_top1": true}' 7
expect 5 '4 of 6 .*: a gate failed' greta-orch submit gate.json
equal "results off the reference" "SELECT count(*) FROM attempt WHERE cause = 'gate' AND outcome = 'invalid' AND reason LIKE '%top1 7, but good has 5%'" 2
gate '{"logits_reference": "good"}' 5
expect 0 '6 of 6' greta-orch submit gate.json
gate '{"min_counted": 1}' crash
expect 0 '5 of 6' greta-orch submit gate.json
gate '{"min_counted": 2}' crash
expect 5 '5 of 6 .*: a gate failed' greta-orch submit gate.json

# --- logits within a tolerance: of greta-infer's kernels, of one that computes something else, of an engine that leaves none
greta-gguf synth logits.gguf --layers 2 --embd 64 --heads 2 --kv-heads 1 --ffn 64 --vocab 300 --ctx 256 --type f16 --seed 3 >/dev/null
cat >tolerance.json <<-JSON
	{"name": "tolerance", "slot": "cpu", "contexts": [32, 64], "repeats": 1, "model": "logits.gguf",
	 "gates": {"logits_reference": "baseline", "logits_tolerance": 0.001},
	 "variants": [{"name": "baseline", "args": ["--attn", "flash_v2_naive"]}, {"name": "v3", "args": ["--attn", "q_lds"]},
	   {"name": "wrong", "args": ["--attn", "q_lds", "--inject", "wrong-logits"]},
	   {"name": "none", "args": ["--attn", "q_lds", "--logits", "elsewhere"]}]}
JSON
expect 5 '4 of 8 .*: a gate failed' greta-orch submit tolerance.json
equal "who passed" "SELECT group_concat(name) FROM (SELECT DISTINCT v.name FROM job j JOIN variant v ON v.id = j.variant_id
	JOIN campaign c ON c.id = j.campaign_id WHERE c.name = 'tolerance' AND j.counted_attempt IS NOT NULL ORDER BY 1)" "baseline,v3"
equal "off the reference" "SELECT count(*) FROM attempt WHERE cause = 'gate' AND reason LIKE 'gate: the logit of token % is off baseline''s by %; 0.001 is allowed'" 2
equal "none left" "SELECT count(*) FROM attempt WHERE cause = 'gate' AND reason LIKE '%left no logits (GRETA_LOGITS_FILE)%'" 2

# --- kernels that spill are refused before they run, and so are those that can't be seen; what is known is kept
cat >speaks <<'SH'
#!/bin/sh
# $1: its variant; $2: the context
kernel() { echo "{\"kernel\":\"$1_f16\",\"arch\":\"gfx942\",\"attn_impl\":\"$1\",\"scratch_bytes\":$2,\"vgpr\":64}"; }
[ "$*" = "--kernel-resources --json" ] && echo "[$(kernel fits 0),$(kernel spills 812)]" && exit
echo "[PERF_TIMING] {\"prefill_s\":0.0001,\"prompt_tokens\":$2,\"attn_impl\":\"$1\"}"
SH
chmod +x speaks
cat >spill.json <<-JSON
	{"name": "spill", "slot": "node", "contexts": [1], "repeats": 1, "gates": {"no_spill": true},
	 "engine": {"command": ["$dir/speaks", "{variant}", "{context}"], "adapter": "perf_timing"},
	 "variants": [{"name": "fits", "expect": {"attn_impl": "fits"}}, {"name": "spills", "expect": {"attn_impl": "spills"}},
	   {"name": "absent", "expect": {"attn_impl": "absent"}}, {"name": "silent", "engine": {"command": ["/bin/echo"], "adapter": "perf_timing"}}]}
JSON
expect 3 'spills *does not work: gate: no_spill: kernel spills_f16 \(gfx942\) uses 812 bytes' greta-orch plan spill.json
expect 5 '1 of 4 .*: a gate failed' greta-orch submit spill.json
equal "refused" "SELECT count(*) FROM result WHERE campaign = 'spill' AND variant <> 'fits' AND outcome = 'invalid' AND cause = 'gate'
	AND started IS NULL" 3
equal "blind" "SELECT count(*) FROM attempt WHERE reason LIKE 'gate: no_spill can''t see: /bin/echo --kernel-resources --json: %'" 1
equal "kept" "SELECT group_concat(kernel || ' ' || scratch_bytes) FROM kernel" "fits_f16 0,spills_f16 812"

# --- a build that takes its time to be verified is bounded, and said to be not verified
campaign slow.json 128 1 ok --layers 290 --layer-ms 100
expect 0 'v3 +not verified: a prefill of a few tokens had not ended within 1.0 s; --verify-timeout' \
	greta-orch plan --verify-timeout 1s slow.json
grep -q '^verifying v3 (2 of 2), at most 1.0 s' <<<"$said" || fail "no progress was told: $said"

# --- secrets reach the engine out of the controller's environment, and nothing that is kept
cat >asks <<'SH'
#!/bin/sh
[ "$HF_TOKEN" = hunter2-hunter2 ] || exit 9
echo '[PERF_TIMING] {"prefill_s":0.0001,"prompt_tokens":1}'
SH
chmod +x asks
cat >secret.json <<-JSON
	{"name": "secret", "slot": "cpu", "contexts": [1], "repeats": 1, "env": {"HF_TOKEN": null},
	 "engine": {"command": ["$dir/asks"], "adapter": "perf_timing"}, "variants": [{"name": "a"}]}
JSON
controller_ends
HF_TOKEN=hunter2-hunter2 expect 0 '1 of 1' greta-orch submit secret.json
controller_ends
grep -lr hunter2-hunter2 "$GRETA_DB"* spool && fail "a secret was kept"
expect 2 'looks like a secret' greta-orch submit <(sed 's/null/"hunter2"/' secret.json)

# --- copies, a check, and what is old goes
expect 0 'backup.db: [0-9]' greta-orch db backup backup.db
expect 3 'is there already' greta-orch db backup backup.db
equal "rows of the backup" "ATTACH 'backup.db' AS b; SELECT (SELECT count(*) FROM attempt) = (SELECT count(*) FROM b.attempt)" 1
expect 0 '"bytes"' greta-orch db snapshot one.db tolerance --json
expect 1 'tolerance .*done' greta-orch results --db one.db # as there: some results are not ok
expect 0 'sound' greta-orch db check
expect 0 '^logs .* of 0 attempts' greta-orch db prune --days 1
expect 2 'in days' greta-orch db prune

# --- an agent of another release, one that is none, and none at all
cat >other-agent <<'SH'
#!/bin/sh
echo "GRETA-AGENT $3 99"
read -r hello
echo '{"type":"hello","re":1,"protocol_min":99,"protocol_max":99,"version":"9.0"}'
sleep 5
SH
printf '#!/bin/sh\necho not me >&2\nexit 4\n' >no-agent
chmod +x other-agent no-agent
controller_ends
GRETA_AGENT=$dir/other-agent expect 3 'agent \(greta 9.0\) speaks protocol 99 to 99' greta-orch node check local
controller_ends
GRETA_AGENT=$dir/no-agent expect 3 'did not start \(exit 4\): not me' greta-orch node check local
controller_ends
GRETA_AGENT=$dir/missing expect 3 'greta-agent is not at .*missing' greta-orch node check local
controller_ends

# --- a node that was never checked does not pass for one that was
expect 3 "can't connect to 127.0.0.1 port 1" greta-orch node add nowhere --host 127.0.0.1 --port 1
expect 0 '^nowhere +ssh +up +- +- +- +- .*never checked' greta-orch node list

done_testing
