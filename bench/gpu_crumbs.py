#!/usr/bin/env python3
"""What breadcrumbs cost: prefills in one process, every second one without them, pair by pair.

usage: gpu_crumbs.py GRETA_INFER MODEL.gguf [CONTEXT [PAIRS]]      (4096, 50)

Prints the median of the pairs' ratios with its 95 % interval (by order statistics), and each side's median.
"""
import json
import os
import subprocess
import sys


def main():
    exe, model = sys.argv[1:3]
    n, pairs = (int(v) for v in (sys.argv[3:] + ["4096", "50"][len(sys.argv) - 3:]))
    run = subprocess.run([exe, "--model", model, "--ctx", str(n), "--backend", "gpu", "--warmup", "2", "--max-seq-len", str(n + 1),
                          "--repeat", str(2 * pairs)], env=dict(os.environ, GRETA_GPU_NO_CRUMBS="alternate"),
                         capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stderr)
    results = [json.loads(line.split(" ", 1)[1]) for line in run.stdout.splitlines() if line.startswith("[PERF_TIMING]")]
    times = [r["prefill_s"] for r in results if r["sample"] > 0]
    with_crumbs, without = times[0::2], times[1::2]  # the third call of the process is the first that is timed
    ratios = sorted(a / b for a, b in zip(with_crumbs, without))
    half = int(0.98 * len(ratios) ** 0.5)  # 1.96 sqrt(n) / 2 ranks beside the median
    middle = len(ratios) // 2
    print(f"n={n}, {len(ratios)} pairs: with breadcrumbs {100 * (ratios[middle] - 1):+.3f} % "
          f"[{100 * (ratios[max(0, middle - half)] - 1):+.3f}, {100 * (ratios[min(len(ratios) - 1, middle + half)] - 1):+.3f}]; "
          f"medians {sorted(with_crumbs)[middle]:.5f} s with, {sorted(without)[middle]:.5f} s without")


main()
