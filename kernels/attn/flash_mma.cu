/* flash_mma (v5): FlashAttention-2's tiling on matrix cores.
 *
 * A block owns a tile of queries and walks over tiles of keys, K and V of the next tile coming in while the matrix cores
 * work on this one (two buffers, one barrier a tile). f16 or bf16 in, float32 scores, softmax and output; P is rounded
 * to the element type for the second product and never leaves the registers. Orientation, fragments, swizzles and V's
 * transpose are the tile's business (tile_cdna.h, tile_hopper.h).
 */
#ifdef __CUDACC__
#include "kernels/attn/tile_hopper.h"
#else
#include "kernels/attn/tile_cdna.h"
#endif
#include "kernels/attn/softmax.h"

template <class E, int HD> GPU_FN void flash_mma(const attn_args &a, typename attn_tile<E, HD>::lds &t)
{
	typedef attn_tile<E, HD> T;
	const int n_tiles = (a.n + T::QUERIES - 1) / T::QUERIES;
	const int row0 = (n_tiles - 1 - gpu_block_x()) * T::QUERIES; /* the longest first: they end together */
	const int head = gpu_block_y(), rows = a.n - row0;
	const int keys = a.pos0 + row0 + (rows < T::QUERIES ? rows : T::QUERIES);
	const int64_t kv0 = (int64_t)(head / (a.n_heads / a.n_kv_heads)) * HD;
	const uint16_t *k = a.k + kv0, *v = a.v + kv0;
	const int64_t o0 = row0 * a.o_stride + (int64_t)head * HD;
	typename T::stage stage;
	typename T::q_frag q;
	typename T::o_frag o;
	softmax_rows<T> rows_state;
	float s[T::NS], inv[T::ROWS];

	gpu_crumb_enter(a.crumb, (uint32_t)(n_tiles * a.n_heads));
	T::load_q(q, t, a.q + row0 * a.q_stride + (int64_t)head * HD, a.q_stride, rows);
	T::issue(stage, t, 0, k, v, a.kv_stride, keys);
	T::zero_o(o);
	rows_state.start();
#pragma unroll 1
	for (int j0 = 0, buf = 0; j0 < keys; j0 += T::KEYS, buf ^= 1) {
		T::land(stage, t, buf);
		gpu_sync(); /* this tile is whole, and all have left the one before */
		if (j0 + T::KEYS < keys)
			T::issue(stage, t, buf ^ 1, k + (j0 + T::KEYS) * a.kv_stride, v + (j0 + T::KEYS) * a.kv_stride, a.kv_stride,
				 keys - j0 - T::KEYS);
#pragma unroll 1 /* unrolled, ptxas overlaps the steps beyond its registers */
		for (int step = 0; step < T::KEYS; step += T::STEP) {
			T::qk(s, q, t, buf, step);
			if (j0 + step + T::STEP > a.pos0 + row0 + T::query(0) / 32 * 32 + 1)
				mask_causal<T>(s, a.pos0 + row0 - j0 - step);
			rows_state.fold(s, a.scale_log2);
			T::scale_o(o, rows_state.keep);
			T::pv(o, s, t, buf, step);
		}
	}
	rows_state.finish(inv);
	if (a.o_f32)
		T::store_o(o, inv, (float *)a.o + o0, a.o_stride, rows, true);
	else
		T::store_o(o, inv, (uint16_t *)a.o + o0, a.o_stride, rows, false);
	gpu_crumb_leave(a.crumb, (uint32_t)(n_tiles * a.n_heads));
}

#ifdef GPU_NVIDIA
extern __shared__ __align__(128) unsigned char flash_mma_lds[];
#define TILE_LDS(type, name) type &name = *(type *)flash_mma_lds
#else
#define TILE_LDS(type, name) GPU_LDS(type, name)
#endif
#define FLASH_MMA(name, E, HD)                                                                                         \
	GPU_KERNEL((attn_tile<E, HD>::THREADS), 2) void name(attn_args a)                                              \
	{                                                                                                              \
		typedef attn_tile<E, HD>::lds lds;                                                                     \
		TILE_LDS(lds, t);                                                                                      \
		flash_mma<E, HD>(a, t);                                                                                \
	}

FLASH_MMA(flash_mma_f16_d64, f16, 64)
FLASH_MMA(flash_mma_f16_d128, f16, 128)
FLASH_MMA(flash_mma_bf16_d64, bf16, 64)
FLASH_MMA(flash_mma_bf16_d128, bf16, 128)
