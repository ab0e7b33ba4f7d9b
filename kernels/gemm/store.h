/* store: how results of a product get to C. */
#ifndef KERNELS_GEMM_STORE_H
#define KERNELS_GEMM_STORE_H

#ifdef __CUDACC__
#include "kernels/dev/mma_hopper.h"
#else
#include "kernels/dev/mma_cdna.h"
#endif

struct gpu_f2 {
	float x, y;
} __attribute__((aligned(8)));

/* N neighbouring columns of one row, those that C has. */
template <class E, int N> GPU_FN void store_c(const gemm_args &a, int row, int col, const float (&x)[N])
{
	const int64_t at = row * a.ldc + col;
	const bool pairs = N % 2 == 0 && a.ldc % 2 == 0 && col + N <= a.n;

	if (row >= a.m)
		return;
	if (pairs) {
#pragma unroll
		for (int i = 0; i + 1 < N; i += 2) {
			if (a.out == GEMM_OUT_ELEMENT) {
				*(uint32_t *)((uint16_t *)a.c + at + i) = E::down2(x[i], x[i + 1]);
			} else {
				gpu_f2 *c = (gpu_f2 *)((float *)a.c + at + i), old = { 0, 0 };

				if (a.out == GEMM_OUT_ADD_F32)
					old = *c;
				*c = { old.x + x[i], old.y + x[i + 1] };
			}
		}
		return;
	}
#pragma unroll
	for (int i = 0; i < N; i++) {
		if (col + i >= a.n)
			continue;
		if (a.out == GEMM_OUT_ELEMENT)
			((uint16_t *)a.c)[at + i] = E::down(x[i]);
		else
			((float *)a.c)[at + i] = a.out == GEMM_OUT_F32 ? x[i] : ((float *)a.c)[at + i] + x[i];
	}
}

#endif
