#!/usr/bin/env python3
"""b389_tree.py DIR SEED FACTOR: a B3.89 artifact tree of two variants over six contexts, five runs each, whose curves
are known: baseline 0.5 + 1e-3 n + 1.2e-7 n^2 (and a break at 32768), v4 2.5 + 4e-4 n + 8e-8 n^2, times FACTOR, with 1 %
noise; one run of v4 that failed."""
import json
import os
import random
import sys

top, seed, factor = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
random.seed(seed)
for variant, (a, b, c) in {"baseline": (0.5, 1e-3, 1.2e-7), "v4": (2.5, 4e-4, 8e-8)}.items():
    for n in (1024, 2048, 4096, 8192, 16384, 32768):
        for run in range(5):
            t = (a + b * n + c * n * n) * random.gauss(1, 0.01) * factor
            if (variant, n) == ("baseline", 32768):
                t *= 1.35
            bad = (variant, n, run) == ("v4", 32768, 4)
            timings = {} if bad else {"model_load_s": 1.2, "prefill_s": t, "decode_s": 0.1, "attn_impl": "q_lds"}
            where = f"{top}/{variant}/ctx_{n}_run{run}"
            os.makedirs(where)
            with open(f"{where}/perf.json", "w") as f:
                json.dump({"ticket": os.path.basename(top), "variant": variant, "mode": "perf", "repetition": run,
                           "context_len": n, "wall_time_sec": t + 2, "exit_status": "FAIL" if bad else "OK",
                           "timings": timings}, f)
            with open(f"{where}/run.log", "w") as f:
                f.write(f"Prompt tokens: {n}\n[PERF_TIMING] {json.dumps(timings)}\nSTATUS={'FAIL' if bad else 'OK'}\n")
