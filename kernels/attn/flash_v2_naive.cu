/* flash_v2_naive: the ladder's baseline. A thread owns a query row: its output in registers, online softmax, K and V
 * streamed from global memory a key at a time.
 *
 *   S[i,j] = scale * sum_d Q[i,d] K[j,d]     O[i,d] = sum_j exp(S[i,j] - m[i]) V[j,d] / l[i]     j <= pos0 + i
 *
 * One wave is a block. Where a row and its output do not fit the registers (NVIDIA has 255 a thread) the output is done in
 * segments of columns (blockIdx.z), the scores recomputed for each, so that nothing goes to scratch.
 * All lanes of a wave walk to the last key that any of them sees, so K and V loads are the same for the whole wave.
 */
#include "kernels/attn/row8.h"

template <class E, int SEG, bool EXACT>
GPU_FN void store_row(const attn_args &a, int row, int head, int seg0, const float (&o)[SEG], float inv)
{
	int64_t base = (int64_t)row * a.o_stride + (int64_t)head * a.head_dim + seg0;

#pragma unroll
	for (int d = 0; d < SEG; d++) {
		if (!EXACT && seg0 + d >= a.head_dim)
			continue;
		if (a.o_f32)
			((float *)a.o)[base + d] = o[d] * inv;
		else
			((uint16_t *)a.o)[base + d] = E::down(o[d] * inv);
	}
}

template <class E, int HD, int SEG, bool EXACT> GPU_FN void naive(const attn_args &a)
{
	const int head = gpu_block_y(), seg0 = gpu_block_z() * SEG, n_blocks = (a.n + GPU_WAVE - 1) / GPU_WAVE;
	const int row = gpu_block_x() * GPU_WAVE + gpu_tid();
	const int my_row = row < a.n ? row : a.n - 1;
	const int last_row = (gpu_block_x() + 1) * GPU_WAVE < a.n ? (gpu_block_x() + 1) * GPU_WAVE : a.n;
	const int my_keys = a.pos0 + my_row + 1, keys = a.pos0 + last_row;
	const int64_t kv0 = (int64_t)(head / (a.n_heads / a.n_kv_heads)) * a.head_dim;
	const uint16_t *qp = a.q + (int64_t)my_row * a.q_stride + (int64_t)head * a.head_dim;
	gpu_u4 q[HD / 8];
	float o[SEG], m = -3.0e38f, l = 0;

	gpu_crumb_enter(a.crumb, (uint32_t)(n_blocks * a.n_heads));
#pragma unroll
	for (int c = 0; c < HD / 8; c++)
		q[c] = load_row8<EXACT>(qp, c * 8, a.head_dim);
#pragma unroll
	for (int d = 0; d < SEG; d++)
		o[d] = 0;

	for (int j = 0; j < keys; j++) {
		const uint16_t *kp = a.k + (int64_t)j * a.kv_stride + kv0, *vp = a.v + (int64_t)j * a.kv_stride + kv0;
		float s = 0, m_new, p, keep;
		int head_dim = a.head_dim;

		if (!EXACT)
			gpu_opaque(head_dim);
#pragma unroll
		for (int c = 0; c < HD / 8; c++) {
			if (SEG == 128 && c % 2 == 0)
				gpu_load_fence();
#pragma unroll
			for (int i = 0; HD > 64 && i < 4; i++) /* stays packed: as floats, Q would not fit beside O */
				gpu_opaque(q[c].w[i]);
			s = dot8<E>(q[c], load_row8<EXACT>(kp, c * 8, head_dim), s);
		}
		s = j < my_keys ? s * a.scale_log2 : -3.0e38f; /* key 0 is seen by all, so m is real from there on */
		m_new = gpu_max(m, s);
		keep = gpu_exp2(m - m_new);
		p = gpu_exp2(s - m_new);
		m = m_new;
		l = gpu_fma(l, keep, p);
#pragma unroll
		for (int c = 0; c < SEG / 8; c++) {
			if (SEG == 128 && c % 2 == 0)
				gpu_load_fence();
			fold8<E>(o + c * 8, keep, p, load_row8<EXACT>(vp, seg0 + c * 8, head_dim));
		}
	}
	if (row < a.n)
		store_row<E, SEG, EXACT>(a, row, head, seg0, o, gpu_rcp(l));
	if (gpu_block_z() == 0)
		gpu_crumb_leave(a.crumb, (uint32_t)(n_blocks * a.n_heads));
}

#define NAIVE(name, E, HD, SEG, EXACT)                                                                                 \
	GPU_KERNEL(GPU_WAVE, 1) void flash_v2_naive_##name(attn_args a) { naive<E, HD, SEG, EXACT>(a); }
#define NAIVE_ALL(e, E)                                                                                                \
	NAIVE(e##_to32, E, 32, 32, false)                                                                              \
	NAIVE(e##_d64, E, 64, 64, true)                                                                                \
	NAIVE(e##_to64, E, 64, 32, false)                                                                              \
	NAIVE(e##_d128, E, 128, 128, true)                                                                             \
	NAIVE(e##_to128, E, 128, 64, false)                                                                           \
	NAIVE(e##_to256, E, 256, 32, false)

NAIVE_ALL(f16, f16)
NAIVE_ALL(bf16, bf16)
