#!/usr/bin/env python3
"""What PyTorch reaches on this GPU at the same shapes as gpu_bench: its attention backends, a large matrix product, a
copy. Run beside gpu_bench, in one go: clocks move from minute to minute."""
import sys
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def median_s(fn, least_s=0.5):
    fn()
    torch.cuda.synchronize()
    times, total = [], 0.0
    while total < least_s or len(times) < 3:
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        fn()
        b.record()
        b.synchronize()
        times.append(a.elapsed_time(b) / 1e3)
        total += times[-1]
    return sorted(times)[len(times) // 2]


def main():
    torch.manual_seed(1)
    x = torch.randn(1 << 30, device="cuda", dtype=torch.float16)
    y = torch.empty_like(x)
    s = median_s(lambda: y.copy_(x))
    print(f"torch copy {2 * x.numel() * 2 / s / 1e9:.0f} GB/s")
    del x, y
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.float16) for _ in range(2))
    s = median_s(lambda: a @ b)
    print(f"torch matmul 8192^3 {2 * 8192**3 / s / 1e12:.1f} TFLOP/s")
    for n in [int(v) for v in sys.argv[1:]] or [4096, 8192, 16384]:
        q, k, v = (torch.randn(1, 32, n, 128, device="cuda", dtype=torch.float16) for _ in range(3))
        for name, backend in (("FA2", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION)):
            with sdpa_kernel(backend):
                s = median_s(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))
            print(f"torch attn {name:6} n={n:<6} {s * 1e3:9.3f} ms {2 * n * n * 4096 / s / 1e12:8.1f} TFLOP/s", flush=True)


main()
