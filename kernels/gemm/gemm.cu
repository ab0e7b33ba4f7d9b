/* gemm: the own matrix product, where no library is, and the check of the library's.
 *
 *   C[i,j] (+)= sum_k X[i,k] W[j,k]      X [m][k], W [n][k]
 *
 * A block computes 128 x 128 of C, four waves 64 x 64 each. Rows of both operands lie along k, so both are read alike:
 * 16-byte pieces of rows, swizzled as in attention. On CDNA W is the first operand (D^T = W X^T), so that a lane holds
 * four neighbouring columns of C. Rows beyond m and n are read as zeros and not written.
 *
 * gemv is for one row of X (decoding, the last token's logits): a wave a column, bound by reading W once.
 */
#ifdef __CUDACC__
#include "kernels/dev/mma_hopper.h"
#else
#include "kernels/dev/mma_cdna.h"
#endif
#include "kernels/attn/swizzle.h"

static constexpr int TILE = 128;

/* N neighbouring columns of one row, those that C has. */
template <class E, int N> GPU_FN void store_c(const gemm_args &a, int row, int col, const float (&x)[N])
{
	const int64_t at = row * a.ldc + col;

	if (row >= a.m)
		return;
	if (a.out == GEMM_OUT_ELEMENT && N % 2 == 0 && a.ldc % 2 == 0 && col + N <= a.n) {
#pragma unroll
		for (int i = 0; i + 1 < N; i += 2)
			*(uint32_t *)((uint16_t *)a.c + at + i) = E::down2(x[i], x[i + 1]);
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

#ifdef GPU_NVIDIA

static constexpr int THREADS = 128, DEPTH = 64, STAGES = 3;

struct gemm_lds {
	uint16_t x[STAGES][TILE * DEPTH], w[STAGES][TILE * DEPTH];
};

GPU_FN void bring(uint16_t *to, const uint16_t *src, int64_t ld, int n)
{
	constexpr int HOP = THREADS / (DEPTH / 8);
	const int row0 = gpu_tid() / (DEPTH / 8), c = gpu_tid() % (DEPTH / 8);
	const uint16_t *from = src + row0 * ld + 8 * c;
	uint32_t at = gpu_smem(to + row0 * DEPTH + 8 * swizzle_k(row0, c));

#pragma unroll
	for (int i = 0; i < TILE / HOP; i++)
		gpu_copy16(at + i * HOP * DEPTH * 2, from + i * HOP * ld, row0 + i * HOP < n);
}

template <class E> GPU_FN void multiply(float (&acc)[4][8][4], const uint16_t *x, const uint16_t *w)
{
	const int lane = gpu_lane(), wave = gpu_wave();
	const int x_row = wave / 2 * 64 + lane % 16, w_row = wave % 2 * 64 + lane % 8 + lane / 16 * 8;
	const uint32_t x0 = gpu_smem(x + x_row * DEPTH + 8 * swizzle_k(x_row, lane / 16));
	const uint32_t w0 = gpu_smem(w + w_row * DEPTH + 8 * swizzle_k(w_row, lane / 8 % 2));

#pragma unroll
	for (int c = 0; c < DEPTH / 16; c++) {
		uint32_t a[4][4], b[4][4];

#pragma unroll
		for (int m = 0; m < 4; m++)
			gpu_ldmatrix(a[m], (x0 ^ 32 * c) + 16 * m * DEPTH * 2);
#pragma unroll
		for (int n = 0; n < 4; n++)
			gpu_ldmatrix(b[n], (w0 ^ 32 * c) + 16 * n * DEPTH * 2);
#pragma unroll
		for (int m = 0; m < 4; m++)
#pragma unroll
			for (int n = 0; n < 4; n++) {
				gpu_mma<E>(acc[m][2 * n], a[m], b[n][0], b[n][1]);
				gpu_mma<E>(acc[m][2 * n + 1], a[m], b[n][2], b[n][3]);
			}
	}
}

template <class E> GPU_FN void gemm(const gemm_args &a, gemm_lds &t)
{
	const int row0 = gpu_block_x() * TILE, col0 = gpu_block_y() * TILE, steps = a.k / DEPTH;
	const uint16_t *x = a.x + row0 * a.ldx, *w = a.w + col0 * a.ldw;
	float acc[4][8][4];

	gpu_crumb_enter(a.crumb, 0);
#pragma unroll
	for (int i = 0; i < 128; i++)
		acc[i / 32][i / 4 % 8][i % 4] = 0;
#pragma unroll
	for (int s = 0; s < STAGES - 1; s++) {
		if (s < steps) {
			bring(t.x[s], x + s * DEPTH, a.ldx, a.m - row0);
			bring(t.w[s], w + s * DEPTH, a.ldw, a.n - col0);
		}
		asm volatile("cp.async.commit_group;");
	}
	for (int s = 0; s < steps; s++) {
		const int ahead = s + STAGES - 1, buf = s % STAGES;

		asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
		gpu_sync();
		if (ahead < steps) {
			bring(t.x[ahead % STAGES], x + ahead * DEPTH, a.ldx, a.m - row0);
			bring(t.w[ahead % STAGES], w + ahead * DEPTH, a.ldw, a.n - col0);
		}
		asm volatile("cp.async.commit_group;");
		multiply<E>(acc, t.x[buf], t.w[buf]);
	}
#pragma unroll
	for (int m = 0; m < 4; m++)
#pragma unroll
		for (int n = 0; n < 8; n++)
#pragma unroll
			for (int half = 0; half < 2; half++) {
				int row = row0 + gpu_wave() / 2 * 64 + 16 * m + 8 * half + gpu_lane() / 4;
				int col = col0 + gpu_wave() % 2 * 64 + 8 * n + gpu_lane() % 4 * 2;
				float pair[2] = { acc[m][n][2 * half], acc[m][n][2 * half + 1] };

				store_c<E>(a, row, col, pair);
			}
}

extern __shared__ __align__(128) unsigned char gemm_dynamic[];
#define GEMM_LDS(name) gemm_lds &name = *(gemm_lds *)gemm_dynamic

#else

static constexpr int THREADS = 256, DEPTH = 32, PIECES = TILE * DEPTH / 8 / THREADS;

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

template <class E> GPU_FN void gemm(const gemm_args &a, gemm_lds &t)
{
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

#define GEMM_LDS(name) GPU_LDS(gemm_lds, name)

#endif

/* --- one row ------------------------------------------------------------------------------------------------------ */

static constexpr int GEMV_THREADS = 256, GEMV_COLS = GEMV_THREADS / GPU_WAVE;

template <class E> GPU_FN void gemv(const gemm_args &a)
{
	const int col = gpu_block_x() * GEMV_COLS + gpu_wave();
	const uint16_t *w = a.w + (int64_t)(col < a.n ? col : a.n - 1) * a.ldw;
	float sum = 0;

	gpu_crumb_enter(a.crumb, 0);
#pragma unroll 4
	for (int k = gpu_lane() * 8; k < a.k; k += GPU_WAVE * 8) {
		gpu_u4 x = gpu_load16(a.x + k), y = gpu_load16(w + k);

#pragma unroll
		for (int i = 0; i < 4; i++) {
			sum = gpu_fma(gpu_lo<E>(x.w[i]), gpu_lo<E>(y.w[i]), sum);
			sum = gpu_fma(gpu_hi<E>(x.w[i]), gpu_hi<E>(y.w[i]), sum);
		}
	}
	for (int m = GPU_WAVE / 2; m; m /= 2)
		sum += gpu_shfl_xor(sum, m);
	if (gpu_lane() == 0) {
		float one[1] = { sum };

		store_c<E>(a, 0, col, one);
	}
}

#define GEMM_KERNELS(e, E)                                                                                             \
	GPU_KERNEL(THREADS, 2) void gemm_##e(gemm_args a)                                                              \
	{                                                                                                              \
		GEMM_LDS(t);                                                                                           \
		gemm<E>(a, t);                                                                                         \
	}                                                                                                              \
	GPU_KERNEL(GEMV_THREADS, 2) void gemv_##e(gemm_args a) { gemv<E>(a); }

GEMM_KERNELS(f16, f16)
GEMM_KERNELS(bf16, bf16)
