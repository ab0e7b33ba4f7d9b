/* q_lds (v3) and q_lds_v2 (v4): Q in LDS, as first thought of.
 *
 * A block of 32 threads, half a wave64, owns a tile of 32 queries of one head. Q and K tiles of 32 x head_dim floats
 * lie in LDS; V is brought in segments of SEG columns, and for each segment of the output the whole row of scores is
 * computed again: head_dim / SEG times the arithmetic of S. v3 has 16-column segments (8 passes at head_dim 128, 34,816
 * bytes of LDS), v4 32-column ones (4 passes, 36,864 bytes).
 *
 * Each lane reads its own row of Q at the same column: rows are head_dim floats apart, so 32 lanes meet in one bank.
 * That is the kernel that campaigns measured; a padded or swizzled one would be another rung.
 */
#include "kernels/dev/device.h"

static constexpr int TILE = 32; /* queries a block, keys a step, threads a block */

template <int HD, int SEG> struct q_lds_tiles {
	float q[TILE][HD];
	float k[TILE][HD];
	float v[TILE][SEG];
};
static_assert(sizeof(q_lds_tiles<128, 16>) == 34816, "v3 as it was measured");
static_assert(sizeof(q_lds_tiles<128, 32>) == 36864, "v4 as it was measured");

/* Columns [0, W) of up to TILE rows, as floats; rows from n on become zeros, so that they add nothing. Eight lanes or
 * fewer take a row together, each 16 bytes of it. */
template <class E, int W> GPU_FN void load_tile(float (&t)[TILE][W], const uint16_t *src, int64_t stride, int n)
{
#pragma unroll 4
	for (int i = gpu_tid(); i < TILE * W / 8; i += TILE) {
		int row = i / (W / 8), d = i % (W / 8) * 8;
		gpu_u4 x = {{0, 0, 0, 0}};

		if (row < n)
			x = gpu_load16(src + row * stride + d);
#pragma unroll
		for (int w = 0; w < 4; w++) {
			t[row][d + 2 * w] = gpu_lo<E>(x.w[w]);
			t[row][d + 2 * w + 1] = gpu_hi<E>(x.w[w]);
		}
	}
}

/* s[j] = Q[own row] . K[j] for the tile's keys */
template <int HD> GPU_FN void scores(const float (&q)[TILE][HD], const float (&k)[TILE][HD], float (&s)[TILE])
{
	const int row = gpu_tid();

#pragma unroll
	for (int j = 0; j < TILE; j++)
		s[j] = 0;
#pragma unroll 1
	for (int d = 0; d < HD; d++) {
		float x = q[row][d];

#pragma unroll
		for (int j = 0; j < TILE; j++)
			s[j] = gpu_fma(x, k[j][d], s[j]);
	}
}

/* Folds the tile's scores into (m, l, o): s becomes p. Keys from `seen` on are masked. */
template <int SEG>
GPU_FN void fold(float (&s)[TILE], int seen, float scale_log2, const float (&v)[TILE][SEG], float &m, float &l,
		 float (&o)[SEG])
{
	float m_new = m, keep;

#pragma unroll
	for (int j = 0; j < TILE; j++) {
		s[j] = j < seen ? s[j] * scale_log2 : -3.0e38f;
		m_new = gpu_max(m_new, s[j]);
	}
	keep = gpu_exp2(m - m_new);
	m = m_new;
	l *= keep;
#pragma unroll
	for (int d = 0; d < SEG; d++)
		o[d] *= keep;
#pragma unroll
	for (int j = 0; j < TILE; j++) {
		float p = gpu_exp2(s[j] - m); /* 0 where masked: key 0 is seen by all, so m is real */

		l += p;
#pragma unroll
		for (int d = 0; d < SEG; d++)
			o[d] = gpu_fma(p, v[j][d], o[d]);
	}
}

template <class E, int HD, int SEG>
GPU_FN void segment(const attn_args &a, q_lds_tiles<HD, SEG> &t, int row0, int head, int seg0)
{
	const int row = row0 + gpu_tid(), my_row = row < a.n ? row : a.n - 1;
	const int last = row0 + TILE < a.n ? row0 + TILE : a.n, keys = a.pos0 + last;
	const int64_t kv0 = (int64_t)(head / (a.n_heads / a.n_kv_heads)) * HD;
	float o[SEG], m = -3.0e38f, l = 0, inv;

#pragma unroll
	for (int d = 0; d < SEG; d++)
		o[d] = 0;
#pragma unroll 1
	for (int j0 = 0; j0 < keys; j0 += TILE) {
		const int64_t at = (int64_t)j0 * a.kv_stride + kv0;
		float s[TILE];

		gpu_sync(); /* the step before has read its tiles */
		load_tile<E>(t.k, a.k + at, a.kv_stride, keys - j0);
		load_tile<E>(t.v, a.v + at + seg0, a.kv_stride, keys - j0);
		gpu_sync();
		scores<HD>(t.q, t.k, s);
		fold<SEG>(s, a.pos0 + my_row + 1 - j0, a.scale_log2, t.v, m, l, o);
	}
	if (row >= a.n)
		return;
	inv = gpu_rcp(l);
#pragma unroll
	for (int d = 0; d < SEG; d++) {
		int64_t at = (int64_t)row * a.o_stride + (int64_t)head * HD + seg0 + d;

		if (a.o_f32)
			((float *)a.o)[at] = o[d] * inv;
		else
			((uint16_t *)a.o)[at] = E::down(o[d] * inv);
	}
}

template <class E, int HD, int SEG> GPU_FN void q_lds(const attn_args &a, q_lds_tiles<HD, SEG> &t)
{
	const int row0 = gpu_block_x() * TILE, head = gpu_block_y();
	const uint32_t blocks = (uint32_t)((a.n + TILE - 1) / TILE * a.n_heads);

	gpu_crumb_enter(a.crumb, blocks);
	load_tile<E>(t.q, a.q + (int64_t)row0 * a.q_stride + (int64_t)head * HD, a.q_stride, a.n - row0);
#pragma unroll 1
	for (int seg0 = 0; seg0 < HD; seg0 += SEG)
		segment<E, HD, SEG>(a, t, row0, head, seg0);
	gpu_crumb_leave(a.crumb, blocks);
}

#define Q_LDS(name, E, HD, SEG)                                                                                        \
	GPU_KERNEL(TILE, 1) void name(attn_args a)                                                                     \
	{                                                                                                              \
		typedef q_lds_tiles<HD, SEG> tiles;                                                                    \
		GPU_LDS(tiles, t);                                                                                     \
		q_lds<E, HD, SEG>(a, t);                                                                               \
	}
#define Q_LDS_ALL(e, E)                                                                                                \
	Q_LDS(q_lds_##e##_d64, E, 64, 16)                                                                              \
	Q_LDS(q_lds_##e##_d128, E, 128, 16)                                                                            \
	Q_LDS(q_lds_v2_##e##_d64, E, 64, 32)                                                                           \
	Q_LDS(q_lds_v2_##e##_d128, E, 128, 32)

Q_LDS_ALL(f16, f16)
Q_LDS_ALL(bf16, bf16)
