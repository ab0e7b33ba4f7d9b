/* gemm on Hopper: a block computes 256 x 128 of C. A producer warpgroup keeps STAGES pieces of both operands full by TMA (64
 * columns, 128 bytes a row, swizzled; zeros beyond the end), two consumer warpgroups multiply 128 x 128 each by wgmma, the
 * products of one piece in flight while those of the next are queued. Accumulators live in registers, which the producer
 * gives up (setmaxnreg).
 */
#ifndef KERNELS_GEMM_GEMM_HOPPER_H
#define KERNELS_GEMM_GEMM_HOPPER_H

#include "kernels/dev/wgmma.h"
#include "kernels/gemm/store.h"

static constexpr int THREADS = 384, DEPTH = 64, STAGES = 4;
static constexpr int BOX_BYTES = 128 * DEPTH * 2; /* 128 rows of an operand */

struct gemm_lds {
	unsigned char x[STAGES][2 * BOX_BYTES], w[STAGES][BOX_BYTES];
	uint64_t full[STAGES], empty[STAGES];
};

/* One thread. A stage is refilled when both consumers have left it. */
GPU_FN void produce(const gemm_tiled_args &a, gemm_lds &t, int row0, int col0, int steps)
{
#pragma unroll 1
	for (int s = 0; s < steps; s++) {
		const int stage = s % STAGES, turn = s / STAGES;
		const uint32_t full = gpu_smem(&t.full[stage]);

		if (turn)
			mbar_wait(gpu_smem(&t.empty[stage]), (turn - 1) & 1);
		mbar_expect(full, 3 * BOX_BYTES);
		tma_load(gpu_smem(t.x[stage]), a.map_x, s * DEPTH, 0, row0, full);
		tma_load(gpu_smem(t.x[stage]) + BOX_BYTES, a.map_x, s * DEPTH, 0, row0 + 128, full);
		tma_load(gpu_smem(t.w[stage]), a.map_w, s * DEPTH, 0, col0, full);
	}
}

/* Products of one piece, queued: two blocks of 64 rows. */
template <class E> GPU_FN void queue_products(float (&low)[64], float (&high)[64], const gemm_lds &t, int consumer, int stage, bool keep)
{
	const uint64_t x = wgmma_rows_along_k(gpu_smem(t.x[stage]) + consumer * BOX_BYTES);
	const uint64_t w = wgmma_rows_along_k(gpu_smem(t.w[stage]));

	wgmma_fence();
#pragma unroll
	for (int c = 0; c < DEPTH / 16; c++) {
		const uint64_t at = 32 * c >> 4;

		wgmma_ss_n128<E>(low, x + at, w + at, keep || c);
		wgmma_ss_n128<E>(high, x + (BOX_BYTES / 2 >> 4) + at, w + at, keep || c);
	}
	wgmma_commit();
}

template <class E> GPU_FN void store_rows(const gemm_args &a, const float (&acc)[64], int row0, int col0)
{
#pragma unroll
	for (int c = 0; c < 16; c++)
#pragma unroll
		for (int half = 0; half < 2; half++) {
			const float pair[2] = { acc[4 * c + 2 * half], acc[4 * c + 2 * half + 1] };

			store_c<E>(a, row0 + gpu_wave() % 4 * 16 + 8 * half + gpu_lane() / 4, col0 + 8 * c + gpu_lane() % 4 * 2, pair);
		}
}

template <class E> GPU_FN void consume(const gemm_args &a, gemm_lds &t, int row0, int col0, int steps)
{
	const int consumer = gpu_tid() / 128 - 1;
	const bool signals = gpu_tid() % 128 == 0;
	float low[64], high[64];

#pragma unroll 1
	for (int s = 0; s < steps; s++) {
		mbar_wait(gpu_smem(&t.full[s % STAGES]), s / STAGES & 1);
		queue_products<E>(low, high, t, consumer, s % STAGES, s != 0);
		wgmma_wait<1>();
		if (signals && s)
			mbar_arrive(gpu_smem(&t.empty[(s - 1) % STAGES]));
	}
	wgmma_wait<0>();
	wgmma_hold(low);
	wgmma_hold(high);
	store_rows<E>(a, low, row0 + consumer * 128, col0);
	store_rows<E>(a, high, row0 + consumer * 128 + 64, col0);
}

/* Blocks in the order in which they run: bands of `band` row tiles, whose X stays in the cache while W passes. */
GPU_FN void tile_of(int i, int n_rows, int n_cols, int band, int *row, int *col)
{
	const int first = i / (band * n_cols) * band, rows = n_rows - first < band ? n_rows - first : band;

	i -= first * n_cols;
	*row = first + i % rows;
	*col = i / rows;
}

template <class E> GPU_FN void gemm(const gemm_tiled_args &args, gemm_lds &t)
{
	const gemm_args &a = args.a;
	const int steps = a.k / DEPTH;
	int row, col;

	tile_of(gpu_block_x(), (a.m + 255) / 256, (a.n + 127) / 128, args.band, &row, &col);
	gpu_crumb_enter(a.crumb, 0);
	if (gpu_tid() == 0) {
		for (int i = 0; i < STAGES; i++) {
			mbar_init(gpu_smem(&t.full[i]), 1);
			mbar_init(gpu_smem(&t.empty[i]), 2);
		}
		asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
	}
	gpu_sync();
	if (gpu_tid() < 128) {
		regs_fewer<24>();
		if (gpu_tid() == 0)
			produce(args, t, row * 256, col * 128, steps);
	} else {
		regs_more<240>();
		consume<E>(a, t, row * 256, col * 128, steps);
	}
}

#endif
