#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: an endless kernel and an endless loop on the host are judged and killed, a slow kernel is
# not, the GPU is probed, and the campaign goes on. With the limits that a user gets by default, so it takes minutes.
# usage: f_gpu_faults.sh FOLDER-OF-PROGRAMS
. "$(dirname "$0")/lib.sh"
needs_gpus 1
cd "$dir" || exit 1

greta-gguf synth model.gguf --layers 4 --embd 2048 --heads 16 --kv-heads 16 --ffn 5632 --vocab 4096 --ctx 32768 --type f16 >/dev/null ||
	exit 1
cat >faults.json <<'JSON'
{"name": "faults", "slot": "gpu", "contexts": [32768], "repeats": 1, "order": "sequential", "warmup": 0, "model": "model.gguf",
 "engine": {"command": ["greta-infer", "--model", "{model}", "--ctx", "{context}", "--backend", "gpu"], "adapter": "perf_timing"},
 "variants": [
   {"name": "healthy", "args": ["--attn", "flash_mma"]},
   {"name": "gpu-spin", "args": ["--attn", "flash_mma", "--inject", "gpu-spin@layer=2"]},
   {"name": "after", "args": ["--attn", "flash_mma"]},
   {"name": "host-spin", "args": ["--attn", "flash_mma", "--inject", "host-spin@layer=2"]},
   {"name": "slow-kernel", "args": ["--attn", "q_lds"]}]}
JSON
greta-orch submit faults.json
[ $? = 1 ] || fail "exit code of a campaign in which two of five jobs hung"
greta-orch query "SELECT variant, outcome, class, certainty, round(wall_s, 1) AS wall_s, blind, verdict FROM result ORDER BY attempt_id"

equal "who came through" "SELECT group_concat(variant) FROM (SELECT variant FROM result WHERE outcome = 'ok' ORDER BY attempt_id)" \
	"healthy,after,slow-kernel"
equal "the endless kernel" "SELECT outcome, class, certainty, blamed FROM result WHERE variant = 'gpu-spin'" "hung|gpu_kernel|established|kernel"
equal "the endless loop" "SELECT outcome, class FROM result WHERE variant = 'host-spin'" "hung|host_spin"
equal "where the kernel was" "SELECT count(*) FROM result WHERE variant = 'gpu-spin' AND verdict LIKE '%layer 2 attn flash_mma%'" 1
equal "judged within 60 s of the last progress" "SELECT count(*) FROM result WHERE outcome = 'hung' AND wall_s < 75" 2
equal "could not probe the GPU" "SELECT count(*) FROM result WHERE blind LIKE '%health of the GPU%'" 0
equal "found it sick" "SELECT count(*) FROM result WHERE reason LIKE '%quarantine%'" 0
equal "evidence" "SELECT count(DISTINCT name) >= 5 FROM evidence_part WHERE attempt_id = (SELECT attempt_id FROM result WHERE variant = 'gpu-spin')" 1
done_testing
