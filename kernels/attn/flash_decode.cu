/* flash_decode: attention of one token, as decoding has it, whatever the rung that prefills.
 *
 * One query gives a block a head, too few to read a long cache at the memory's rate. So the keys of a head are split over
 * blocks, each of which leaves its largest score, its sum and its output, and a second kernel merges these (Flash-Decoding:
 * T. Dao, D. Haziza, F. Massa, G. Sizov, "Flash-Decoding for long-context inference", 2023; the merge is that of
 * M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867):
 *
 *   of split x:   m[x] = max_j s[j]   l[x] = sum_j 2^(s[j] - m[x])   o[x] = sum_j 2^(s[j] - m[x]) V[j]     s[j] = scale q.K[j]
 *   merged:       m = max_x m[x]      O = sum_x 2^(m[x] - m) o[x] / sum_x 2^(m[x] - m) l[x]
 *
 * The split is a function of the number of keys alone (decode_split.h) and every sum has a fixed order: the same bits
 * whatever the machine is doing, and no atomics.
 *
 * Within a block a group of lanes takes a key: 16 bytes of K's row and of V's a lane, so that a group reads whole rows and
 * 32 and 64 lanes are the same to it. Each group has an (m, l, o) of its own until the end.
 */
#include "kernels/attn/decode_split.h"
#include "kernels/attn/row8.h"
#include "kernels/attn/softmax.h"

static constexpr int THREADS = 128;
static constexpr int AHEAD = 4; /* keys of a group whose rows are on their way at once */

template <int HD> struct decode_shape {
	enum { LANES = HD / 8, GROUPS = THREADS / LANES };
};

/* What the groups of a block found. */
template <int HD> struct decode_lds {
	float o[decode_shape<HD>::GROUPS][HD];
	float m[decode_shape<HD>::GROUPS], l[decode_shape<HD>::GROUPS];
};
static_assert(sizeof(decode_lds<32>::o) == 4096 && sizeof(decode_lds<256>::o) == 4096, "1024 outputs whatever the width");

/* One lane's eight columns of what a group has seen. */
struct decode_state {
	float m, l, o[8];
};

/* AHEAD keys of the group, `stride` apart from j on; those from `end` on are masked, their rows read as the last key's. */
template <class E, int HD, bool EXACT>
GPU_FN void fold_keys(decode_state &st, const attn_args &a, gpu_u4 q, int64_t kv0, int d0, int j, int end)
{
	typedef decode_shape<HD> S;
	gpu_u4 k[AHEAD], v[AHEAD];
	float s[AHEAD], m = st.m, keep;

#pragma unroll
	for (int i = 0; i < AHEAD; i++) {
		const int key = j + i * S::GROUPS < end ? j + i * S::GROUPS : end - 1;
		const int64_t at = key * a.kv_stride + kv0;

		k[i] = load_row8<EXACT>(a.k + at, d0, a.head_dim);
		v[i] = load_row8<EXACT>(a.v + at, d0, a.head_dim);
	}
#pragma unroll
	for (int i = 0; i < AHEAD; i++) {
		s[i] = dot8<E>(q, k[i], 0);
#pragma unroll
		for (int mask = S::LANES / 2; mask; mask /= 2)
			s[i] += gpu_shfl_xor(s[i], mask);
		s[i] = j + i * S::GROUPS < end ? s[i] * a.scale_log2 : 3 * SOFTMAX_MASKED; /* below any m */
		m = gpu_max(m, s[i]);
	}
	keep = gpu_exp2(st.m - m);
	st.m = m;
	st.l *= keep;
#pragma unroll
	for (int i = 0; i < AHEAD; i++) {
		const float p = gpu_exp2(s[i] - m);

		st.l += p;
		fold8<E>(st.o, i == 0 ? keep : 1, p, v[i]);
	}
}

/* The block's groups as one: leaves m and l, and in o[0] the output, not yet divided by l. */
template <int HD> GPU_FN void merge_groups(decode_lds<HD> &t, const decode_state &st, int group, int d0, float &m, float &l)
{
	typedef decode_shape<HD> S;

#pragma unroll
	for (int i = 0; i < 8; i++)
		t.o[group][d0 + i] = st.o[i];
	if (d0 == 0) {
		t.m[group] = st.m;
		t.l[group] = st.l;
	}
	gpu_sync();
	m = t.m[0];
	for (int g = 1; g < S::GROUPS; g++)
		m = gpu_max(m, t.m[g]);
	l = 0;
	for (int g = 0; g < S::GROUPS; g++)
		l += t.l[g] * gpu_exp2(t.m[g] - m);
	for (int d = gpu_tid(); d < HD; d += THREADS) {
		float o = 0;

		for (int g = 0; g < S::GROUPS; g++)
			o = gpu_fma(t.o[g][d], gpu_exp2(t.m[g] - m), o);
		t.o[0][d] = o; /* read again by this thread alone */
	}
}

template <class E> GPU_FN void store_output(const attn_args &a, int head, int d, float x)
{
	if (a.o_f32)
		((float *)a.o)[(int64_t)head * a.head_dim + d] = x;
	else
		((uint16_t *)a.o)[(int64_t)head * a.head_dim + d] = E::down(x);
}

template <class E, int HD, bool EXACT> GPU_FN void decode(const attn_decode_args &x, decode_lds<HD> &t)
{
	typedef decode_shape<HD> S;
	const attn_args &a = x.a;
	const int head = gpu_block_y(), group = gpu_tid() / S::LANES, d0 = gpu_tid() % S::LANES * 8;
	const int first = gpu_block_x() * x.split_keys, keys = a.pos0 + 1;
	const int end = first + x.split_keys < keys ? first + x.split_keys : keys;
	const int64_t kv0 = (int64_t)(head / (a.n_heads / a.n_kv_heads)) * a.head_dim;
	const gpu_u4 q = load_row8<EXACT>(a.q + (int64_t)head * a.head_dim, d0, a.head_dim);
	decode_state st = {SOFTMAX_MASKED, 0, {0, 0, 0, 0, 0, 0, 0, 0}};
	float m, l;

	gpu_crumb_enter(a.crumb, 0);
#pragma unroll 1
	for (int j = first; j < end; j += S::GROUPS * AHEAD)
		fold_keys<E, HD, EXACT>(st, a, q, kv0, d0, j + group, end);
	merge_groups<HD>(t, st, group, d0, m, l);
	if (x.n_splits == 1) {
		for (int d = gpu_tid(); d < a.head_dim; d += THREADS)
			store_output<E>(a, head, d, t.o[0][d] * gpu_rcp(l));
		return;
	}
	float *part = decode_part(x.parts, head, gpu_block_x(), x.n_splits, a.head_dim);

	for (int d = gpu_tid(); d < a.head_dim; d += THREADS)
		part[2 + d] = t.o[0][d];
	if (gpu_tid() == 0) {
		part[0] = m;
		part[1] = l;
	}
}

/* --- the splits of a head as one ---------------------------------------------------------------------------------- */

struct merge_lds {
	float share[DECODE_MAX_SPLITS]; /* 2^(m[x] - m) */
};

template <class E> GPU_FN void merge(const attn_decode_args &x, merge_lds &t)
{
	const attn_args &a = x.a;
	const int head = gpu_block_x(), width = 2 + a.head_dim;
	const float *parts = decode_part(x.parts, head, 0, x.n_splits, a.head_dim);
	float m = SOFTMAX_MASKED, l = 0;

	for (int i = 0; i < x.n_splits; i++)
		m = gpu_max(m, parts[i * width]);
	for (int i = gpu_tid(); i < x.n_splits; i += THREADS)
		t.share[i] = gpu_exp2(parts[i * width] - m);
	gpu_sync();
	for (int i = 0; i < x.n_splits; i++)
		l = gpu_fma(parts[i * width + 1], t.share[i], l);
	for (int d = gpu_tid(); d < a.head_dim; d += THREADS) {
		float o = 0;

#pragma unroll 8
		for (int i = 0; i < x.n_splits; i++)
			o = gpu_fma(parts[i * width + 2 + d], t.share[i], o);
		store_output<E>(a, head, d, o * gpu_rcp(l));
	}
}

#define DECODE(name, E, HD, EXACT)                                                                                     \
	GPU_KERNEL(THREADS, 6) void flash_decode_##name(attn_decode_args a)                                            \
	{                                                                                                              \
		GPU_LDS(decode_lds<HD>, t);                                                                            \
		decode<E, HD, EXACT>(a, t);                                                                            \
	}
#define DECODE_ALL(e, E)                                                                                               \
	DECODE(e##_to32, E, 32, false)                                                                                 \
	DECODE(e##_d64, E, 64, true)                                                                                   \
	DECODE(e##_to64, E, 64, false)                                                                                 \
	DECODE(e##_d128, E, 128, true)                                                                                 \
	DECODE(e##_to128, E, 128, false)                                                                               \
	DECODE(e##_to256, E, 256, false)                                                                               \
	GPU_KERNEL(THREADS, 6) void flash_decode_merge_##e(attn_decode_args a)                                         \
	{                                                                                                              \
		GPU_LDS(merge_lds, t);                                                                                 \
		merge<E>(a, t);                                                                                        \
	}

DECODE_ALL(f16, f16)
DECODE_ALL(bf16, bf16)
