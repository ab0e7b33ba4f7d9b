/* gemm_i16: products of quantised weights with activations rounded to 15-bit integers, by AVX-512 VNNI.
 *
 * Every quantised format is, per group of 32 values, x = scale * q + min with integer q of at most 13 bits: the small
 * integer scales of the K formats are multiplied into q, which stays exact. A row of X becomes integers xq = x / step of
 * at most 14 bits and sign, with one step for the row. So for each group
 *
 *	sum_k x[k] w[k] = step * (scale * sum_k xq[k] q[k]  +  min * sum_k xq[k])
 *
 * where the first sum is exact in 32 bits: 32 * 16383 * 4096 < 2^31. The rounding of X costs at most
 * sqrt(n_in / 12) / 16383 of a result's magnitude (1.3e-3 at n_in 5632, when one value holds all of X's weight), some
 * 1e-4 in practice; 8-bit activations per group of 32 cost forty times that. A vpdpwssd does 32 multiply-adds where a
 * vfmadd does 16, so 32 values take 16 + 2 instructions in place of 32.
 */
#include "engine/cpu/isa.h"

#if defined(__AVX512VNNI__)
#include <math.h>

enum { GROUP = GEMM_GROUP, ROWS = 7, WIDE = 2, OUTS = WIDE * VF_LANES, X_MAX = 16383 };

/* --- one group of a row ------------------------------------------------------------------------------------------- */

struct group {
	__m512i q; /* 32 x int16 */
	float scale, min;
};

INLINE float half_at(const void *p)
{
	uint16_t h;
	memcpy(&h, p, sizeof h);
	return _cvtsh_ss(h);
}

INLINE __m256i nibbles(const uint8_t *q) /* 16 bytes: low nibbles, then high ones */
{
	__m128i b = _mm_loadu_si128((const __m128i *)q), mask = _mm_set1_epi8(15);
	return _mm256_set_m128i(_mm_and_si128(_mm_srli_epi16(b, 4), mask), _mm_and_si128(b, mask));
}

INLINE __m256i nibble_plane(const uint8_t *q, int high) /* 32 bytes: one nibble of each */
{
	__m256i b = _mm256_loadu_si256((const __m256i *)q);
	return _mm256_and_si256(high ? _mm256_srli_epi16(b, 4) : b, _mm256_set1_epi8(15));
}

INLINE __m256i fifth_bits(const uint8_t high[4])
{
	uint32_t bits;
	memcpy(&bits, high, sizeof bits);
	return _mm256_maskz_set1_epi8(bits, 16);
}

INLINE struct group load_k(const uint16_t *d, const uint8_t scales[12], int j, __m256i q)
{
	uint8_t scale, min;

	quant_k_scale_min(scales, j, &scale, &min);
	return (struct group){_mm512_mullo_epi16(_mm512_cvtepu8_epi16(q), _mm512_set1_epi16(scale)), half_at(d),
			      -half_at(d + 1) * (float)min};
}

INLINE struct group load_q6_k(const struct quant_q6_k *b, int j)
{
	int half = j / 4, k = j % 4;
	__m256i low = nibble_plane(b->low + 64 * half + 32 * (k & 1), k / 2);
	__m256i high = _mm256_loadu_si256((const __m256i *)(b->high + 32 * half));
	__m256i bits = _mm256_and_si256(_mm256_srl_epi16(high, _mm_cvtsi32_si128(2 * k)), _mm256_set1_epi8(3));
	__m256i q = _mm256_or_si256(low, _mm256_slli_epi16(bits, 4));
	const int8_t *s = b->scales + 8 * half + 2 * k;
	__m512i scale = _mm512_inserti64x4(_mm512_set1_epi16(s[0]), _mm256_set1_epi16(s[1]), 1);

	return (struct group){_mm512_mullo_epi16(_mm512_sub_epi16(_mm512_cvtepu8_epi16(q), _mm512_set1_epi16(32)), scale),
			      half_at(&b->d), 0.0f};
}

INLINE __m512i widen(__m256i q, int minus)
{
	return _mm512_sub_epi16(_mm512_cvtepu8_epi16(q), _mm512_set1_epi16((short)minus));
}

/* Group g of a row; `type` is a constant wherever this is inlined. */
INLINE struct group load_group(enum quant_type type, const char *row, size_t g)
{
	switch (type) {
	case QUANT_Q8_0: {
		const struct quant_q8_0 *b = (const struct quant_q8_0 *)(const void *)row + g;
		return (struct group){_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)b->q)), half_at(&b->d), 0.0f};
	}
	case QUANT_Q4_0: {
		const struct quant_q4_0 *b = (const struct quant_q4_0 *)(const void *)row + g;
		return (struct group){widen(nibbles(b->q), 8), half_at(&b->d), 0.0f};
	}
	case QUANT_Q4_1: {
		const struct quant_q4_1 *b = (const struct quant_q4_1 *)(const void *)row + g;
		return (struct group){widen(nibbles(b->q), 0), half_at(&b->d), half_at(&b->m)};
	}
	case QUANT_Q5_0: {
		const struct quant_q5_0 *b = (const struct quant_q5_0 *)(const void *)row + g;
		return (struct group){widen(_mm256_or_si256(nibbles(b->q), fifth_bits(b->high)), 16), half_at(&b->d), 0.0f};
	}
	case QUANT_Q5_1: {
		const struct quant_q5_1 *b = (const struct quant_q5_1 *)(const void *)row + g;
		return (struct group){widen(_mm256_or_si256(nibbles(b->q), fifth_bits(b->high)), 0), half_at(&b->d),
				      half_at(&b->m)};
	}
	case QUANT_Q4_K: {
		const struct quant_q4_k *b = (const struct quant_q4_k *)(const void *)row + g / 8;
		int j = (int)(g % 8);
		return load_k(&b->d, b->scales, j, nibble_plane(b->q + j / 2 * 32, j & 1));
	}
	case QUANT_Q5_K: {
		const struct quant_q5_k *b = (const struct quant_q5_k *)(const void *)row + g / 8;
		int j = (int)(g % 8);
		__m256i high = _mm256_loadu_si256((const __m256i *)b->high);
		__m256i bit = _mm256_and_si256(_mm256_srl_epi16(high, _mm_cvtsi32_si128(j)), _mm256_set1_epi8(1));
		__m256i low = nibble_plane(b->q + j / 2 * 32, j & 1);
		return load_k(&b->d, b->scales, j, _mm256_or_si256(low, _mm256_slli_epi16(bit, 4)));
	}
	default:
		return load_q6_k((const struct quant_q6_k *)(const void *)row + g / 8, (int)(g % 8));
	}
}

INLINE bool has_min(enum quant_type type)
{
	return type == QUANT_Q4_1 || type == QUANT_Q5_1 || type == QUANT_Q4_K || type == QUANT_Q5_K;
}

#define TYPES(X) X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q4_K) X(Q5_K) X(Q6_K)

bool CPU_SYM(takes_i16)(enum quant_type type)
{
	switch (type) {
#define X(name) case QUANT_##name:
	TYPES(X)
#undef X
		return true;
	default:
		return false;
	}
}

/* --- packing ------------------------------------------------------------------------------------------------------ */

/* Group g of n_rows <= 16 rows: pairs of k, transposed. */
INLINE void pack_group(enum quant_type type, const char *w, size_t row_bytes, int n_rows, size_t g, int16_t *q, float *scale,
		       float *min)
{
	vf r[VF_LANES];

	for (int i = 0; i < VF_LANES; i++) {
		r[i] = vf_zero();
		scale[i] = min[i] = 0.0f;
		if (i < n_rows) {
			struct group x = load_group(type, w + (size_t)i * row_bytes, g);
			r[i] = (vf)x.q;
			scale[i] = x.scale;
			min[i] = x.min;
		}
	}
	vf_transpose(r);
#pragma GCC unroll 16
	for (int k = 0; k < VF_LANES; k++)
		vf_store((float *)(void *)(q + (size_t)k * 2 * OUTS), r[k]);
}

INLINE void pack_rows(enum quant_type type, const char *w, size_t row_bytes, int n_rows, size_t g0, size_t n_groups,
		      int16_t *q, float *scale, float *min)
{
	for (size_t g = 0; g < n_groups; g++) {
		for (int i = 0; i < OUTS; i += VF_LANES) {
			int n = n_rows - i < 0 ? 0 : n_rows - i < VF_LANES ? n_rows - i : VF_LANES;
			pack_group(type, w + (size_t)i * row_bytes, row_bytes, n, g0 + g, q + g * GROUP * OUTS + 2 * i,
				   scale + g * OUTS + i, min + g * OUTS + i);
		}
	}
}

bool CPU_SYM(pack_w_i16)(const struct quant_traits *t, const void *w, size_t row_bytes, int n_rows, size_t k0, size_t kc,
			 int16_t *q, float *scale, float *min)
{
	switch (t->type) {
#define X(name)                                                                                                        \
	case QUANT_##name:                                                                                             \
		pack_rows(QUANT_##name, w, row_bytes, n_rows, k0 / GROUP, kc / GROUP, q, scale, min);                  \
		return has_min(QUANT_##name);
		TYPES(X)
#undef X
	default:
		return false;
	}
}

/* Largest magnitude, or NaN where a value is not finite. */
static float row_range(const float *x, size_t k)
{
	vf top = vf_zero(), bad = vf_zero();

	for (size_t i = 0; i < k; i += VF_LANES) {
		vf v = vf_load(x + i);
		top = vf_max(top, vf_max(v, -v));
		bad += v * 0.0f;
	}
	return vf_max_lane(top) + vf_sum(bad);
}

void CPU_SYM(pack_x_i16)(const float *x, size_t ldx, int rows, size_t k, int16_t *q, float *sums, float *step)
{
	for (int r = 0; r < rows; r++) {
		const float *row = x + (size_t)r * ldx;
		float range = row_range(row, k), scale = range > 0.0f ? X_MAX / range : 0.0f;
		step[r] = range / X_MAX;
		for (size_t g = 0; g < k / GROUP; g++) {
			__m512i a = _mm512_cvtps_epi32((__m512)(vf_load(row + g * GROUP) * scale));
			__m512i b = _mm512_cvtps_epi32((__m512)(vf_load(row + g * GROUP + VF_LANES) * scale));
			int16_t v[GROUP];
			_mm256_storeu_si256((__m256i *)v, _mm512_cvtepi32_epi16(a));
			_mm256_storeu_si256((__m256i *)(v + VF_LANES), _mm512_cvtepi32_epi16(b));
			sums[g * (size_t)rows + (size_t)r] = (float)_mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
			for (size_t p = 0; p < GROUP / 2; p++)
				memcpy(q + ((g * GROUP / 2 + p) * (size_t)rows + (size_t)r) * 2, v + 2 * p, 4);
		}
	}
}

/* --- products ----------------------------------------------------------------------------------------------------- */

INLINE __m512i pair_at(const int16_t *x) /* two values of k, in every lane */
{
	int32_t pair;
	memcpy(&pair, x, sizeof pair);
	return _mm512_set1_epi32(pair);
}

/* acc += pairs of w times pairs of x. By hand, because GCC 12 copies the accumulator of the intrinsic twice, and with
 * that the 28 accumulators of a tile no longer fit into the registers. */
INLINE __m512i dot_pairs(__m512i acc, __m512i w, __m512i x)
{
	__asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x));
	return acc;
}

INLINE void tile_group(int rows, const int16_t *x, const int16_t *w, const float *scale, vf y[ROWS][WIDE])
{
	__m512i acc[ROWS][WIDE];

#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
		for (int v = 0; v < WIDE; v++)
			acc[r][v] = _mm512_setzero_si512();
	for (int k = 0; k < GROUP / 2; k++, x += 2 * rows, w += 2 * OUTS) {
		__m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 2 * VF_LANES);
#pragma GCC unroll 8
		for (int r = 0; r < rows; r++) {
			__m512i pair = pair_at(x + 2 * r);
			acc[r][0] = dot_pairs(acc[r][0], w0, pair);
			acc[r][1] = dot_pairs(acc[r][1], w1, pair);
		}
	}
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
		for (int v = 0; v < WIDE; v++)
			y[r][v] = vf_fma((vf)_mm512_cvtepi32_ps(acc[r][v]), vf_load(scale + v * VF_LANES), y[r][v]);
}

INLINE void tile(int rows, const struct gemm_i16 *j, vf y[ROWS][WIDE])
{
	for (int r = 0; r < rows; r++)
		for (int v = 0; v < WIDE; v++)
			y[r][v] = vf_zero();
	for (size_t g = 0; g < j->n_groups; g++) {
		tile_group(rows, j->x + g * GROUP * (size_t)rows, j->w + g * GROUP * OUTS, j->scale + g * OUTS, y);
		if (!j->min)
			continue;
#pragma GCC unroll 8
		for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
			for (int v = 0; v < WIDE; v++)
				y[r][v] = vf_fma(vf_load(j->min + g * OUTS + v * VF_LANES),
						 vf_set(j->sums[g * (size_t)rows + (size_t)r]), y[r][v]);
	}
}

INLINE void tile_store(int rows, const struct gemm_i16 *j, vf y[ROWS][WIDE])
{
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++) {
		float *to = j->y + (size_t)r * j->ldy;
		for (int v = 0; v < WIDE; v++) {
			int n = j->n_out - v * VF_LANES;
			__mmask16 in = n >= VF_LANES ? 0xffff : n > 0 ? (__mmask16)((1u << n) - 1) : 0;
			__mmask16 read = j->add ? in : 0;
			__m512 before = _mm512_maskz_loadu_ps(read, to + v * VF_LANES);
			_mm512_mask_storeu_ps(to + v * VF_LANES, in,
					      (__m512)vf_fma(y[r][v], vf_set(j->step[r]), (vf)before));
		}
	}
}

#define TILE(n)                                                                                                        \
	static void tile_##n(const struct gemm_i16 *j)                                                                 \
	{                                                                                                              \
		vf y[ROWS][WIDE];                                                                                      \
		tile(n, j, y);                                                                                         \
		tile_store(n, j, y);                                                                                   \
	}
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
TILE(7)

void CPU_SYM(gemm_i16)(int rows, const struct gemm_i16 *j)
{
	static void (*const tiles[ROWS])(const struct gemm_i16 *) = {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6, tile_7};
	tiles[rows - 1](j);
}

/* --- one token ---------------------------------------------------------------------------------------------------- */

enum { DOT_ROWS = 4 }; /* that share the loads of x, and whose chains run side by side */

INLINE void dot_rows(enum quant_type type, int rows, const char *w, size_t row_bytes, size_t n_groups, const int16_t *x,
		     const float *sums, float out[DOT_ROWS])
{
	vf acc[DOT_ROWS];
	float least[DOT_ROWS] = {0};
	size_t ahead = gemv_ahead(row_bytes, DOT_ROWS), group_bytes = row_bytes / n_groups;

#pragma GCC unroll 4
	for (int r = 0; r < rows; r++)
		acc[r] = vf_zero();
	for (size_t g = 0; g < n_groups; g++) {
		__m512i xg = _mm512_loadu_si512(x + g * GROUP);
#pragma GCC unroll 4
		for (int r = 0; r < rows; r++) {
			const char *row = w + (size_t)r * row_bytes;
			struct group group = load_group(type, row, g);
			__builtin_prefetch(row + g * group_bytes + ahead);
			__m512i dot = dot_pairs(_mm512_setzero_si512(), group.q, xg);
			acc[r] = vf_fma((vf)_mm512_cvtepi32_ps(dot), vf_set(group.scale), acc[r]);
			if (has_min(type))
				least[r] += group.min * sums[g];
		}
	}
	for (int r = 0; r < rows; r++)
		out[r] = vf_sum(acc[r]) + least[r];
}

INLINE void gemv_rows(enum quant_type type, const char *w, size_t row_bytes, size_t n_out, size_t n_groups, const int16_t *x,
		      const float *sums, float step, float *y, bool add)
{
	float out[DOT_ROWS];

	for (size_t i = 0; i < n_out;) {
		int rows = n_out - i >= DOT_ROWS ? DOT_ROWS : 1;
		if (rows == DOT_ROWS)
			dot_rows(type, DOT_ROWS, w + i * row_bytes, row_bytes, n_groups, x, sums, out);
		else
			dot_rows(type, 1, w + i * row_bytes, row_bytes, n_groups, x, sums, out);
		for (int r = 0; r < rows; r++, i++)
			y[i] = out[r] * step + (add ? y[i] : 0.0f);
	}
}

void CPU_SYM(gemv_i16)(const struct quant_traits *t, const void *w, size_t row_bytes, size_t n_out, size_t k, const int16_t *x,
		       const float *sums, float step, float *y, bool add)
{
	switch (t->type) {
#define X(name)                                                                                                        \
	case QUANT_##name:                                                                                             \
		gemv_rows(QUANT_##name, w, row_bytes, n_out, k / GROUP, x, sums, step, y, add);                        \
		break;
		TYPES(X)
#undef X
	default:
		break;
	}
}

#endif
