#!/usr/bin/env python3
"""Loading weights onto a GPU: greta-infer beside what the machine can do.

usage: gpu_load.py GRETA_INFER MODEL.gguf

Warm (the file in the page cache): against the slower of a copy from pinned memory and a parallel read. Cold: against a
parallel read that goes round the cache (O_DIRECT). greta-infer's time is that of its regions `gpu memory` and `gpu load`, to
the last byte on the GPU; context and library are told apart. Medians of three; each cold run drops the file first.
"""
import concurrent.futures
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time

import torch

PIECE, THREADS = 8 << 20, min(16, os.cpu_count())


def median(values):
    return sorted(values)[len(values) // 2]


def pinned_rate():
    a = torch.empty(1 << 30, dtype=torch.uint8, pin_memory=True)
    b = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    times = []
    for _ in range(7):
        begun = time.perf_counter()
        b.copy_(a, non_blocking=True)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return (1 << 30) / median(times)


def read_rate(path, flags):
    size, fd = os.path.getsize(path), os.open(path, os.O_RDONLY | flags)
    buffers = [mmap.mmap(-1, PIECE) for _ in range(THREADS)]
    for b in buffers:
        b[:] = b"\1" * PIECE

    def read(i):
        for at in range(i * PIECE, size - PIECE, THREADS * PIECE):
            os.preadv(fd, [buffers[i]], at)

    begun = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(read, range(THREADS)))
    os.close(fd)
    return size / (time.perf_counter() - begun)


def drop(path):
    os.sync()
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def load(exe, model):
    with tempfile.TemporaryDirectory() as tmp:
        trace = os.path.join(tmp, "trace")
        run = subprocess.run([exe, "--model", model, "--ctx", "16", "--backend", "gpu", "--max-seq-len", "64"],
                             env=dict(os.environ, GRETA_TRACE=trace), capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(run.stderr)
        lines = [json.loads(line) for line in open(trace)]
    regions = {line["name"]: line["s"] for line in lines if line.get("name", "").startswith("gpu ")}
    return regions | {"weights": regions["gpu memory"] + regions["gpu load"]}


def main():
    exe, model = sys.argv[1:3]
    size = os.path.getsize(model)
    pinned = pinned_rate()
    torch.cuda.empty_cache()
    read_rate(model, 0)
    warm_read = max(read_rate(model, 0) for _ in range(2))
    limit = min(pinned, warm_read)
    runs = [load(exe, model) for _ in range(4)][1:]
    s = median([r["weights"] for r in runs])
    print(f"context {median([r['gpu context'] for r in runs]):.2f} s, library {median([r['gpu library'] for r in runs]):.2f} s")
    print(f"warm: {s:.3f} s, {size / s / 1e9:.1f} GB/s, {size / s / limit:.2f} of min(pinned copy {pinned / 1e9:.1f}, "
          f"parallel read {warm_read / 1e9:.1f} GB/s)", flush=True)
    rates, direct = [], []
    for _ in range(3):
        drop(model)
        direct.append(read_rate(model, os.O_DIRECT))
        drop(model)
        rates.append(size / load(exe, model)["weights"])
    print(f"cold: {size / median(rates):.3f} s, {median(rates) / 1e9:.2f} GB/s, {median(rates) / median(direct):.2f} of O_DIRECT "
          f"{median(direct) / 1e9:.2f} GB/s", flush=True)


main()
