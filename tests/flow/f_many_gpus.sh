#!/usr/bin/env bash
# On a machine with several NVIDIA GPUs: attempts run on all of them at once, each engine computes on the GPU that its attempt
# was given and on no other, a cell stays on its GPU, a slot may be two of them or all, and a kernel that never ends on one
# does the others no harm. With the limits that a user gets by default, so it takes minutes.
# usage: f_many_gpus.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
needs_gpus 2
cd "$dir" || exit 1

greta-gguf synth model.gguf --layers 8 --embd 4096 --heads 32 --kv-heads 32 --ffn 11008 --vocab 4096 --ctx 32768 --type f16 >/dev/null ||
	exit 1
model_bytes=$(stat -c %s model.gguf)

two_variants='{"name": "a"}, {"name": "b"}'
# on_gpus NAME SLOT REPEATS KEYS [VARIANTS]: variants a and b, or those given; KEYS: more of the campaign
on_gpus() {
	cat >"$1.json" <<-JSON
		{"name": "$1", "slot": $2, "contexts": [16384], "repeats": $3, "warmup": 0, "samples_per_attempt": 30, ${4-}
		 "telemetry_interval_s": 1, "model": "model.gguf",
		 "engine": {"command": ["greta-infer", "--model", "{model}", "--ctx", "{context}", "--backend", "gpu", "--warmup", "0",
		            "--repeat", "{samples}"], "adapter": "perf_timing"},
		 "variants": [${5:-$two_variants}]}
	JSON
}
of() { echo "FROM result r JOIN attempt a ON a.id = r.attempt_id JOIN campaign c ON c.name = '$1' AND c.id = r.campaign_id
	LEFT JOIN attempt_device t ON t.attempt_id = a.id"; }
# at_once NAME: the most attempts that ran at one time
at_once() {
	sql "SELECT max(n) FROM (SELECT (SELECT count(*) FROM attempt y JOIN result q ON q.attempt_id = y.id WHERE q.campaign_id = r.campaign_id
		AND y.started_ns <= a.started_ns AND y.ended_ns > a.started_ns) AS n $(of "$1"))"
}
# Telemetry reads the GPU that the attempt was given: had the engine computed elsewhere, its model would not be seen there.
holds_model="SELECT count(*) FROM telemetry_stat s JOIN result r USING (attempt_id) WHERE r.outcome = 'ok' AND s.name = 'gpu0.vram_bytes'
	AND s.max < $model_bytes"

on_gpus spread '"gpu"' $n_gpus '"placement": "spread",'
expect 0 "$((2 * n_gpus)) of $((2 * n_gpus))" greta-orch submit spread.json
equal "GPUs of each cell" "SELECT group_concat(n) FROM (SELECT count(DISTINCT t.device_id) AS n $(of spread) GROUP BY r.variant)" "$n_gpus,$n_gpus"
[ "$(at_once spread)" = "$n_gpus" ] || fail "at most $(at_once spread) of $n_gpus GPUs were busy at once"
equal "engines that were not on their GPU" "$holds_model" 0
equal "read" "SELECT count(DISTINCT attempt_id) >= $n_gpus FROM telemetry_stat WHERE name = 'gpu0.vram_bytes'" 1

on_gpus same '"gpu"' 4 '"placement": "same_gpu",'
expect 0 '8 of 8' greta-orch submit same.json
equal "GPUs of each cell" "SELECT group_concat(n) FROM (SELECT count(DISTINCT t.device_id) AS n $(of same) GROUP BY r.variant)" 1,1
equal "GPUs of both" "SELECT count(DISTINCT t.device_id) $(of same)" 2
equal "engines that were not on their GPU" "$holds_model" 0

last=$(sql "SELECT uuid FROM device ORDER BY id DESC LIMIT 1")
on_gpus named '"gpu"' 2 "" '{"name": "a", "devices": ["'$last'"]}'
expect 0 '2 of 2' greta-orch submit named.json
equal "the GPU by name" "SELECT DISTINCT d.uuid $(of named) JOIN device d ON d.id = t.device_id" "$last"

on_gpus pair '{"gpus": 2}' 1
expect 0 '2 of 2' greta-orch submit pair.json
equal "GPUs of each attempt" "SELECT group_concat(n) FROM (SELECT count(*) AS n $(of pair) GROUP BY a.id)" 2,2

on_gpus whole '"node"' 1
on_gpus beside '"gpu"' $n_gpus
greta-orch submit --detach beside.json >/dev/null
expect 0 '2 of 2' greta-orch submit whole.json
expect 0 "$((2 * n_gpus)) of $((2 * n_gpus))" greta-orch watch beside
equal "ran beside one that has the node" "SELECT count(*) FROM attempt x JOIN result r ON r.attempt_id = x.id JOIN campaign c ON c.id = r.campaign_id
	JOIN attempt y ON x.id <> y.id AND x.started_ns < y.ended_ns AND y.started_ns < x.ended_ns WHERE c.name = 'whole'" 0
greta-orch query "SELECT c.name, r.variant, r.outcome, round(r.prefill_s, 4) AS prefill_s, round(r.wall_s, 2) AS wall_s, t.device_id AS gpu $(of spread)
	UNION ALL SELECT c.name, r.variant, r.outcome, round(r.prefill_s, 4), round(r.wall_s, 2), t.device_id $(of same)"

# --- one GPU hangs, the others go on, and the one that hung is used again
on_gpus hang '"gpu"' 1 "" '{"name": "spins", "devices": ["'$last'"], "args": ["--inject", "gpu-spin@layer=2"]}'
n_beside=$((16 * (n_gpus - 1)))
on_gpus neighbours '"gpu"' $n_beside "" '{"name": "a"}'
greta-orch submit --detach hang.json >/dev/null
wait_for 30 is "SELECT count(*) FROM attempt WHERE state = 'running'" 1 || fail "nothing was started"
expect 0 "$n_beside of $n_beside" greta-orch submit neighbours.json
expect 1 hung greta-orch watch hang
equal "the endless kernel" "SELECT r.outcome, r.class, r.certainty $(of hang)" "hung|gpu_kernel|established"
beside="$(of neighbours) JOIN attempt h ON h.outcome = 'hung' AND a.started_ns < h.ended_ns AND a.ended_ns > h.started_ns"
[ "$(sql "SELECT count(*) $beside")" -ge 8 ] || fail "ran beside it: $(sql "SELECT count(*) $beside")"
equal "of those on its GPU" "SELECT count(*) $beside WHERE a.ended_ns < h.ended_ns AND t.device_id = (SELECT device_id FROM attempt_device WHERE attempt_id = h.id)" 0
equal "found sick" "SELECT count(*) FROM result WHERE reason LIKE '%quarantine%'" 0
greta-orch submit spread.json >/dev/null || fail "not all GPUs can be used after it"
greta-orch query "SELECT r.variant, r.outcome, r.class, count(*) AS n, round(min(r.wall_s), 1) AS least_s, round(max(r.wall_s), 1) AS most_s $(of hang) GROUP BY 1, 2, 3"
greta-orch query "SELECT r.variant, t.device_id AS gpu, count(*) AS n, round(min(r.prefill_s), 4) AS least_s, round(max(r.prefill_s), 4) AS most_s $(of neighbours) GROUP BY 1, 2"
done_testing
