#!/usr/bin/env python3
"""Holds what greta-infer really says against the contracts: its progress lines, its results, and how both are read.

usage: check_engine.py SOURCE_FOLDER PROBE GRETA_GGUF GRETA_INFER
"""
import json
import os
import subprocess
import sys
import tempfile

try:
    import jsonschema
    Validator = jsonschema.Draft202012Validator
except (ImportError, AttributeError):
    print("SKIP: python3-jsonschema with draft 2020-12 is not installed")
    sys.exit(77)

source, probe, gguf, infer = sys.argv[1:5]


def schema_of(name):
    with open(os.path.join(source, "schemas", name + ".schema.json"), encoding="utf-8") as f:
        return Validator(json.load(f))


def run_engine(folder):
    model = os.path.join(folder, "model.gguf")
    subprocess.run([gguf, "synth", model, "--layers", "2", "--embd", "32", "--heads", "2", "--kv-heads", "2", "--ffn", "64",
                    "--vocab", "300", "--ctx", "128", "--type", "f32", "--seed", "1"], check=True, capture_output=True)
    told = os.path.join(folder, "progress")
    with open(told, "w") as f:
        env = dict(os.environ, GRETA_PROGRESS_FD=str(f.fileno()))
        # The command of "engine": "greta-infer", as schemas/campaign.c has it.
        done = subprocess.run([infer, "--model", model, "--ctx", "64", "--max-tokens", "1", "--greedy", "--warmup", "1",
                               "--repeat", "2", "--attn", "q_lds"], env=env, pass_fds=[f.fileno()], check=True,
                              capture_output=True, text=True)
    return done.stdout, open(told).read()


with tempfile.TemporaryDirectory() as scratch:
    output, told = run_engine(scratch)

lines = told.splitlines()
answers = subprocess.run([probe, "progress"], input=told, capture_output=True, text=True, check=True).stdout.split()
refused = [line for line, answer in zip(lines, answers) if answer != "ok"]
assert lines and not refused, f"progress lines that a supervisor refuses: {refused[:3]}"
progress = schema_of("progress")
for line in lines:
    progress.validate(json.loads(line))
phases = [json.loads(line)["phase"] for line in lines]
for phase in ("load", "tokenize", "warmup", "prefill", "finish"):
    assert phase in phases, f"no progress in phase {phase}: {sorted(set(phases))}"
assert phases.index("warmup") < phases.index("prefill"), "the warm-up comes first"

result = schema_of("result")
results = [json.loads(line.split("[PERF_TIMING] ")[1]) for line in output.splitlines() if "[PERF_TIMING]" in line]
for r in results:
    result.validate(r)
assert [r["sample"] for r in results] == [0, 1, 2], results

for expected, context, samples, field, value in (("ok 1", 64, 2, "attn_impl", "q_lds"), ("invalid", 65, 2, "attn_impl", "q_lds"),
                                                 ("invalid", 64, 3, "attn_impl", "q_lds"), ("invalid", 64, 2, "attn_impl", "x")):
    judged = subprocess.run([probe, "judge", str(context), str(samples), field, value], input=output, capture_output=True,
                            text=True, check=True).stdout.strip()
    assert judged.startswith(expected), f"context {context}, {samples} samples, {field} {value}: {judged}"

print(f"{len(lines)} progress lines and {len(results)} results of greta-infer: as agreed")

# What it says of its kernels, of which there are none in a build without a GPU compiler.
schema_of("kernels").validate(json.loads(subprocess.run([infer, "--kernel-resources", "--json"], check=True,
                                                        capture_output=True, text=True).stdout))
