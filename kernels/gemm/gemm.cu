/* gemm: the own matrix product, where no library is, and the check of the library's.
 *
 *   C[i,j] (+)= sum_k X[i,k] W[j,k]      X [m][k], W [n][k]
 *
 * The tiles are the machine's: gemm_hopper.h, gemm_cdna.h. gemv is for one row of X (decoding, the last token's logits): a
 * wave a column, bound by reading W once.
 */
#ifdef __CUDACC__
#include "kernels/gemm/gemm_hopper.h"
extern __shared__ __align__(1024) unsigned char gemm_dynamic[];
#define GEMM_LDS(name) gemm_lds &name = *(gemm_lds *)gemm_dynamic
#define GEMM_ARGS const __grid_constant__ gemm_tiled_args
#define GEMM_BLOCKS 1 /* a compute unit: setmaxnreg divides the registers of one */
#else
#include "kernels/gemm/gemm_cdna.h"
#define GEMM_LDS(name) GPU_LDS(gemm_lds, name)
#define GEMM_ARGS gemm_tiled_args
#define GEMM_BLOCKS 2
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
	GPU_KERNEL(THREADS, GEMM_BLOCKS) void gemm_##e(GEMM_ARGS a)                                                    \
	{                                                                                                              \
		GEMM_LDS(t);                                                                                           \
		gemm<E>(a, t);                                                                                         \
	}                                                                                                              \
	GPU_KERNEL(GEMV_THREADS, 2) void gemv_##e(gemm_args a) { gemv<E>(a); }

GEMM_KERNELS(f16, f16)
GEMM_KERNELS(bf16, bf16)
