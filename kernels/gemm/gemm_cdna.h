/* gemm on CDNA: a block computes 128 x 128 of C, four waves 64 x 64 each. Rows of both operands lie along k, so both are read
 * alike: 16-byte pieces of rows, swizzled as in attention. W is the first operand (D^T = W X^T), so that a lane holds four
 * neighbouring columns of C. Rows beyond m and n are read as zeros and not written. */
#ifndef KERNELS_GEMM_GEMM_CDNA_H
#define KERNELS_GEMM_GEMM_CDNA_H

#include "kernels/attn/swizzle.h"
#include "kernels/gemm/store.h"

static constexpr int TILE = 128, THREADS = 256, DEPTH = 32, PIECES = TILE * DEPTH / 8 / THREADS;

struct gemm_lds {
	uint16_t x[2][TILE * DEPTH], w[2][TILE * DEPTH];
};

GPU_FN void bring(gpu_u4 (&st)[PIECES], const uint16_t *src, int64_t ld, int n)
{
#pragma unroll
	for (int i = 0; i < PIECES; i++) {
		int piece = gpu_tid() + i * THREADS, row = piece / (DEPTH / 8);

		st[i] = { { 0, 0, 0, 0 } };
		if (row < n)
			st[i] = gpu_load16(src + row * ld + piece % (DEPTH / 8) * 8);
	}
}

GPU_FN void land(uint16_t *to, const gpu_u4 (&st)[PIECES])
{
#pragma unroll
	for (int i = 0; i < PIECES; i++) {
		int piece = gpu_tid() + i * THREADS, row = piece / (DEPTH / 8);

		*(gpu_u4 *)(to + row * DEPTH + 8 * swizzle_v(row, piece % (DEPTH / 8))) = st[i];
	}
}

template <class E> GPU_FN void multiply(gpu_f32x16 (&acc)[2][2], const uint16_t *x, const uint16_t *w)
{
	const int half = gpu_lane() / 32;
	const int x_row = gpu_wave() / 2 * 64 + gpu_lane() % 32, w_row = gpu_wave() % 2 * 64 + gpu_lane() % 32;

#pragma unroll
	for (int c = 0; c < DEPTH / 16; c++) {
		gpu_u4 a[2], b[2];

#pragma unroll
		for (int i = 0; i < 2; i++) {
			int wr = w_row + 32 * i, xr = x_row + 32 * i;

			a[i] = *(const gpu_u4 *)(w + wr * DEPTH + 8 * swizzle_v(wr, 2 * c + half));
			b[i] = *(const gpu_u4 *)(x + xr * DEPTH + 8 * swizzle_v(xr, 2 * c + half));
		}
#pragma unroll
		for (int i = 0; i < 2; i++)
#pragma unroll
			for (int j = 0; j < 2; j++) {
				acc[i][j] = gpu_mfma_32x32x8<E>(gpu_low8(a[i]), gpu_low8(b[j]), acc[i][j]);
				acc[i][j] = gpu_mfma_32x32x8<E>(gpu_high8(a[i]), gpu_high8(b[j]), acc[i][j]);
			}
	}
}

template <class E> GPU_FN void gemm(const gemm_tiled_args &args, gemm_lds &t)
{
	const gemm_args &a = args.a;
	const int row0 = gpu_block_x() * TILE, col0 = gpu_block_y() * TILE, steps = a.k / DEPTH;
	const uint16_t *x = a.x + row0 * a.ldx, *w = a.w + col0 * a.ldw;
	gpu_u4 stage_x[PIECES], stage_w[PIECES];
	gpu_f32x16 acc[2][2];

	gpu_crumb_enter(a.crumb, 0);
	acc[0][0] = acc[0][1] = acc[1][0] = acc[1][1] = 0;
	bring(stage_x, x, a.ldx, a.m - row0);
	bring(stage_w, w, a.ldw, a.n - col0);
#pragma unroll 1
	for (int s = 0; s < steps; s++) {
		land(t.x[s & 1], stage_x);
		land(t.w[s & 1], stage_w);
		gpu_sync();
		if (s + 1 < steps) {
			bring(stage_x, x + (s + 1) * DEPTH, a.ldx, a.m - row0);
			bring(stage_w, w + (s + 1) * DEPTH, a.ldw, a.n - col0);
		}
		multiply<E>(acc, t.x[s & 1], t.w[s & 1]);
	}
#pragma unroll
	for (int i = 0; i < 2; i++)
#pragma unroll
		for (int j = 0; j < 2; j++)
#pragma unroll
			for (int g = 0; g < 4; g++) {
				int row = row0 + gpu_wave() / 2 * 64 + 32 * j + gpu_lane() % 32;
				int col = col0 + gpu_wave() % 2 * 64 + 32 * i + 8 * g + 4 * (gpu_lane() / 32);
				float four[4] = { acc[i][j][4 * g], acc[i][j][4 * g + 1], acc[i][j][4 * g + 2],
						  acc[i][j][4 * g + 3] };

				store_c<E>(a, row, col, four);
			}
}

#endif
