#!/usr/bin/env python3
"""The GGUF reference cases through greta-infer --backend gpu: prompt to logits against llama.cpp's.

usage: [JOBS=N] gguf_cases.py GRETA_INFER DATA_FOLDER [quick]      (N models at a time, 1 by default)

Limits are those of the data's README for 16-bit activations: 1e-2 of the row's standard deviation for F16, 4e-2 for BF16.
quick: half of the prompts, greedy continuations of a few models. Exits 77 (skipped) where the data is absent. Over the emulator this is the whole AMD path; on a GPU, that GPU's.
"""
import concurrent.futures
import glob
import json
import os
import struct
import subprocess
import sys
import tempfile

LIMIT, LIMIT_BF16 = 1e-2, 4e-2
# Models whose head_dim more than the baseline can do run once more by each of those kernels.
ALL_RUNGS = {"gqa-q4_0-pure-tied": 64, "mqa-q6_k-hd128-tied": 128}
GREEDY = ("stories260K-f32", "gqa-q8_0", "mqa-bf16")  # of the quick run
QUICK = "quick" in sys.argv[3:]
RUNGS = ["q_lds", "q_lds_v2", "flash_mma", "flash_mma_v2"]


def floats(path):
    data = open(path, "rb").read()
    return struct.unpack("<%df" % (len(data) // 4), data)


def infer(exe, model, tokens, tmp, *options):
    ids, logits = os.path.join(tmp, "ids.json"), os.path.join(tmp, "logits.bin")
    with open(ids, "w") as f:
        json.dump(tokens, f)
    run = subprocess.run([exe, "--model", model, "--tokens-file", ids, "--backend", "gpu", "--logits", logits,
                          "--max-seq-len", "4096", *options], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{model}: exit {run.returncode}: {run.stderr}")
    result = [line for line in run.stdout.splitlines() if line.startswith("[PERF_TIMING]")][-1]
    generated = [line for line in run.stdout.splitlines() if line.startswith("Generated ids: ")][-1]
    return floats(logits), json.loads(result.split(" ", 1)[1]), json.loads(generated.split(": ")[1])


def check(case, got, want, std, limit):
    worst = max(abs(a - b) for a, b in zip(got, want)) / std
    if not worst <= limit or len(got) != len(want):
        raise SystemExit(f"{case}: off by {worst:.1e} of the row's deviation, {limit} allowed")
    return worst


def check_greedy(exe, model, ref, tmp):
    g = ref["greedy"][0]
    _, _, ids = infer(exe, model, g["tokens"], tmp, "--max-tokens", "6")
    for got, want, margin in zip(ids, g["next"], g["margin"]):
        if margin < 0.05:
            break  # may differ rightly, and then all that follows
        if got != want:
            raise SystemExit(f"{ref['model']}: greedy {ids}, want {g['next'][:6]}")


def check_model(exe, data, ref):
    with tempfile.TemporaryDirectory() as tmp:
        check_model_in(tmp, exe, data, ref)


def check_model_in(tmp, exe, data, ref):
    name = os.path.basename(ref["model"])[:-5]
    model = os.path.join(data, "gguf", ref["model"])
    want = floats(os.path.join(data, "gguf", "ref", ref["logits_file"]))
    limit = LIMIT_BF16 if "BF16" in ref["matrix_types"] else LIMIT
    n, worst = ref["n_vocab"], 0.0
    for p in ref["prefill"][1::2] if QUICK else ref["prefill"]:
        row = want[p["row"] * n:(p["row"] + 1) * n]
        got, result, _ = infer(exe, model, p["tokens"], tmp)
        assert result["prompt_tokens"] == len(p["tokens"]) and result["backend"] == "gpu", result
        worst = max(worst, check(name, got, row, p["std"], limit))
        for rung in RUNGS if name in ALL_RUNGS and len(p["tokens"]) > 60 else []:
            got, result, _ = infer(exe, model, p["tokens"], tmp, "--attn", rung, "--batch", "50")
            assert result["attn_impl"] == rung, result
            worst = max(worst, check(f"{name} {rung}", got, row, p["std"], limit))
    if not QUICK or name in GREEDY:
        check_greedy(exe, model, ref, tmp)
    print(f"{name}: worst {worst:.1e} of {limit}", flush=True)


def check_slow(exe, data):
    """A slow processor is felt although a GPU could run ahead of it: --inject slow=8 is eight times the time, and the same logits."""
    model, tokens = os.path.join(data, "gguf", "models", "stories260K-f32.gguf"), list(range(3, 35))
    with tempfile.TemporaryDirectory() as tmp:
        # A first prefill also waits for the driver to load kernels.
        logits, at_ease, _ = infer(exe, model, tokens, tmp, "--warmup", "1")
        same, slowed, _ = infer(exe, model, tokens, tmp, "--warmup", "1", "--inject", "slow=8")
    if logits != same or slowed["prefill_s"] < 3 * at_ease["prefill_s"]:
        raise SystemExit(f"slow=8: {slowed['prefill_s']} s beside {at_ease['prefill_s']} s")


def main():
    exe, data = sys.argv[1], sys.argv[2]
    files = sorted(glob.glob(os.path.join(data, "gguf", "ref", "*.json")))
    if not files:
        print(f"skipped: no reference cases in {data}")
        return 77
    refs = [json.load(open(path)) for path in files]
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS", 1))) as pool:
        # long.json is a list, of prompts too long for an emulator
        for done in [pool.submit(check_model, exe, data, ref) for ref in refs if isinstance(ref, dict)]:
            done.result()
    check_slow(exe, data)
    return 0


sys.exit(main())
