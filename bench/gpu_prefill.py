#!/usr/bin/env python3
"""Prefill of a Llama-2-7B shape: greta-infer beside PyTorch and the GPU's sustained rate, interleaved in one call.

usage: gpu_prefill.py GRETA_INFER MODEL.gguf [SECONDS [CONTEXT...]]      (3 s a loop; 4096 8192 16384 32768)

MODEL: greta-gguf synth --like llama2-7b --ctx 32768 MODEL.gguf. Batch 1, causal, last-token logits, F16 throughout.
The ceiling is an 8192^3 product on normal random values, before and after each context. PyTorch's layers are compiled
(torch.compile, one layer reused), with cuDNN's and with FlashAttention-2's attention. Each figure is a median.
"""
import json
import subprocess
import sys
import time

import torch
import torch._functorch.config
import torch._inductor.config
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

# Cached graphs would bring back the attention that an earlier one was traced with.
torch._inductor.config.force_disable_caches = True
torch._functorch.config.enable_autograd_cache = False

EMBD, HEADS, DIM, FF, LAYERS, VOCAB = 4096, 32, 128, 11008, 32, 32000


def flops(n):
    weights = LAYERS * (4 * EMBD * EMBD + 3 * EMBD * FF)
    return 2.0 * n * weights + 2.0 * EMBD * VOCAB + LAYERS * 2.0 * n * n * EMBD


def median_s(fn, least_s):
    fn()
    torch.cuda.synchronize()
    times, total = [], 0.0
    while total < least_s or len(times) < 3:
        begun = time.perf_counter()
        fn()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
        total += times[-1]
    return sorted(times)[len(times) // 2]


def rand(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.float16) * 0.02


def rms(x, w):
    return (x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-5)).half() * w


def turn(x, cos, sin):
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).half()


def layer(x, w, cos, sin):
    n = x.shape[0]
    q, k, v = (rms(x, w["n1"]) @ w["qkv"].T).view(n, 3, HEADS, DIM).permute(1, 2, 0, 3).unsqueeze(1)
    a = F.scaled_dot_product_attention(turn(q, cos, sin), turn(k, cos, sin), v, is_causal=True)
    x = x + a[0].transpose(0, 1).reshape(n, EMBD) @ w["o"].T
    gate, up = (rms(x, w["n2"]) @ w["gu"].T).chunk(2, -1)
    return x + (F.silu(gate) * up) @ w["down"].T


class Torch:
    def __init__(self):
        one = torch.ones(EMBD, device="cuda", dtype=torch.float16)
        self.embd, self.out = rand(VOCAB, EMBD), rand(VOCAB, EMBD)
        self.one = one
        self.layers = [dict(qkv=rand(3 * EMBD, EMBD), o=rand(EMBD, EMBD), gu=rand(2 * FF, EMBD), down=rand(EMBD, FF),
                            n1=one, n2=one) for _ in range(LAYERS)]

    def prepare(self, n):
        torch._dynamo.reset()
        self.layer = torch.compile(layer, dynamic=False)
        angle = torch.outer(torch.arange(n, device="cuda").float(),
                            10000.0 ** (-torch.arange(0, DIM, 2, device="cuda").float() / DIM))
        self.cos, self.sin = angle.cos(), angle.sin()
        self.ids = torch.randint(0, VOCAB, (n,), device="cuda")

    @torch.no_grad()
    def prefill(self):
        x = self.embd[self.ids]
        for w in self.layers:
            x = self.layer(x, w, self.cos, self.sin)
        return rms(x[-1:], self.one) @ self.out.T


def greta(exe, model, n, attn, least_s, guess_s):
    repeat = max(3, int(least_s / guess_s) + 1)
    run = subprocess.run([exe, "--model", model, "--ctx", str(n), "--backend", "gpu", "--attn", attn, "--warmup", "2",
                          "--repeat", str(repeat), "--max-seq-len", str(n + 1)], capture_output=True, text=True)
    if run.returncode:
        return None, run.stderr.strip()
    results = [json.loads(line.split(" ", 1)[1]) for line in run.stdout.splitlines() if line.startswith("[PERF_TIMING]")]
    times = sorted(r["prefill_s"] for r in results if r["sample"] > 0)
    shas = {r["logits_sha256"] for r in results}
    return times[len(times) // 2], "" if len(shas) == 1 else "logits differ from sample to sample"


def main():
    exe, model = sys.argv[1:3]
    least_s = float(sys.argv[3]) if len(sys.argv) > 3 else 3.0
    contexts = [int(v) for v in sys.argv[4:]] or [4096, 8192, 16384, 32768]
    torch.manual_seed(1)
    a, b = rand(8192, 8192), rand(8192, 8192)
    ceiling_of = lambda: 2 * 8192**3 / median_s(lambda: a @ b, least_s / 2)
    net = Torch()
    for n in contexts:
        rows, before = [], ceiling_of()
        for name, backend in (("torch compile + cuDNN", SDPBackend.CUDNN_ATTENTION),
                              ("torch compile + FA2", SDPBackend.FLASH_ATTENTION)):
            net.prepare(n)  # compiled code remembers the attention it was traced with
            with sdpa_kernel(backend):
                rows.append((name, median_s(net.prefill, least_s), ""))
        torch.cuda.empty_cache()
        for attn in ("flash_mma", "flash_mma_v2"):
            s, note = greta(exe, model, n, attn, least_s, rows[0][1])
            rows.append((f"greta-infer {attn}", s, note))
        ceiling = (before + ceiling_of()) / 2
        print(f"n={n}: {flops(n) / 1e12:.2f} TFLOP, sustained {ceiling / 1e12:.0f} TFLOP/s")
        for name, s, note in rows:
            if s:
                note = f"{s:8.4f} s {flops(n) / s / 1e12:7.1f} TFLOP/s  {flops(n) / s / ceiling:.3f} of sustained  {note}"
            print(f"  {name:26} {note}", flush=True)


main()
