/* attn_ref: what each rung computes, on the CPU, in its own order of keys and with its own rounding.
 *
 *   for each tile of `keys` keys: s = scale q.k; m' = max(m, s); p = 2^(s - m'); l = l 2^(m - m') + sum p;
 *   o = o 2^(m - m') + p v
 *
 * The rungs differ in how many keys a tile has and in whether p is rounded to the element type before it meets v.
 */
#include "base/mem.h"
#include "kernels/attn/decode_split.h"
#include "kernels/gpu.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct tiling {
	int keys;
	bool p_rounded;
	bool by_lanes; /* a score is the sum of what lanes of eight columns found, not column by column */
};

static const struct tiling tilings[GRETA_ATTN_N_RUNGS] = {
	[GRETA_ATTN_FLASH_V2_NAIVE] = { .keys = 1 },
	[GRETA_ATTN_Q_LDS] = { .keys = 32 },
	[GRETA_ATTN_Q_LDS_V2] = { .keys = 32 },
	[GRETA_ATTN_FLASH_MMA] = { .keys = 32, .p_rounded = true },
	[GRETA_ATTN_FLASH_MMA_V2] = { .keys = 32, .p_rounded = true },
};

static const struct tiling v2_hopper = { .keys = 128, .p_rounded = true };

static float up(enum greta_gpu_dtype t, uint16_t x)
{
	uint32_t bits = (uint32_t)x << 16;
	float f;

	if (t == GRETA_GPU_BF16) {
		memcpy(&f, &bits, sizeof f);
		return f;
	}
	f = ldexpf((float)(x & 0x3ff) + ((x & 0x7c00) ? 1024.0f : 0.0f), ((x & 0x7c00) ? (x >> 10 & 31) : 1) - 25);
	return x & 0x8000 ? -f : f;
}

/* p lies in [0, 1]: rounding to so many bits below its leading one, f16's subnormals below 2^-14 */
static float round_p(enum greta_gpu_dtype t, float p)
{
	int exponent;
	float ulp;

	if (p == 0)
		return 0;
	frexpf(p, &exponent);
	if (t == GRETA_GPU_F16 && exponent < -13)
		exponent = -13;
	ulp = ldexpf(1.0f, exponent - (t == GRETA_GPU_F16 ? 11 : 8));
	return rintf(p / ulp) * ulp;
}

struct row {
	float m, l;
	float *o;
};

static float dot(enum greta_gpu_dtype t, const float *q, const uint16_t *k, int n)
{
	float s = 0;

	for (int d = 0; d < n; d++)
		s += q[d] * up(t, k[d]);
	return s;
}

/* Lanes that head_dim leaves idle add 0, so that 32 of them stand for any number. */
static float dot_by_lanes(enum greta_gpu_dtype t, const float *q, const uint16_t *k, int n)
{
	float s[32] = { 0 };

	for (int lane = 0; lane * 8 < n; lane++)
		s[lane] = dot(t, q + lane * 8, k + lane * 8, n - lane * 8 < 8 ? n - lane * 8 : 8);
	for (int half = 16; half; half /= 2)
		for (int lane = 0; lane < half; lane++)
			s[lane] += s[lane + half];
	return s[0];
}

/* n keys, `step` apart from j0 on. s: room for n scores. */
static void fold_tile(struct row *r, const struct attn_args *a, enum greta_gpu_dtype t, const struct tiling *tiling,
		      const float *q, int64_t kv0, int j0, int step, int n, float *s)
{
	float m = r->m, keep;

	for (int j = 0; j < n; j++) {
		const uint16_t *k = a->k + (j0 + j * step) * a->kv_stride + kv0;

		s[j] = a->scale_log2 * (tiling->by_lanes ? dot_by_lanes : dot)(t, q, k, a->head_dim);
		m = fmaxf(m, s[j]);
	}
	keep = exp2f(r->m - m);
	r->m = m;
	r->l *= keep;
	for (int d = 0; d < a->head_dim; d++)
		r->o[d] *= keep;
	for (int j = 0; j < n; j++) {
		const uint16_t *v = a->v + (j0 + j * step) * a->kv_stride + kv0;
		float p = exp2f(s[j] - m);

		r->l += p;
		if (tiling->p_rounded)
			p = round_p(t, p);
		for (int d = 0; d < a->head_dim; d++)
			r->o[d] += p * up(t, v[d]);
	}
}

/* Query i of head h, as floats. */
static void load_query(float *q, const struct attn_args *a, enum greta_gpu_dtype t, int i, int h)
{
	for (int d = 0; d < a->head_dim; d++)
		q[d] = up(t, a->q[i * a->q_stride + (int64_t)h * a->head_dim + d]);
}

static int64_t kv_column(const struct attn_args *a, int h)
{
	return (int64_t)(h / (a->n_heads / a->n_kv_heads)) * a->head_dim;
}

void greta_attn_reference(enum greta_attn_rung rung, enum greta_gpu_dtype t, int wave, const struct attn_args *a)
{
	const struct tiling *tiling = rung == GRETA_ATTN_FLASH_MMA_V2 && wave == 32 ? &v2_hopper : &tilings[rung];
	float *q = greta_alloc((size_t)a->head_dim * sizeof *q);
	float *s = greta_alloc((size_t)tiling->keys * sizeof *s);

	for (int i = 0; i < a->n; i++) {
		for (int h = 0; h < a->n_heads; h++) {
			int64_t kv0 = kv_column(a, h);
			struct row r = { .m = -3.0e38f, .o = (float *)a->o + i * a->o_stride + (int64_t)h * a->head_dim };
			int keys = a->pos0 + i + 1;

			memset(r.o, 0, (size_t)a->head_dim * sizeof *r.o);
			load_query(q, a, t, i, h);
			for (int j0 = 0; j0 < keys; j0 += tiling->keys)
				fold_tile(&r, a, t, tiling, q, kv0, j0, 1, keys - j0 < tiling->keys ? keys - j0 : tiling->keys, s);
			for (int d = 0; d < a->head_dim; d++)
				r.o[d] /= r.l;
		}
	}
	free(q);
	free(s);
}

/* r and one more part of its keys. */
static void merge_part(struct row *r, const struct row *part, int head_dim)
{
	float m = fmaxf(r->m, part->m), keep = exp2f(r->m - m), share = exp2f(part->m - m);

	r->m = m;
	r->l = r->l * keep + part->l * share;
	for (int d = 0; d < head_dim; d++)
		r->o[d] = r->o[d] * keep + part->o[d] * share;
}

/* A block has 128 threads; as many lanes as hold a row, eight columns each, are a group, and groups take keys in turn. */
static const struct tiling decode = { .keys = 4, .by_lanes = true };

static int decode_groups(int head_dim)
{
	int columns = 32;

	while (columns < head_dim)
		columns *= 2;
	return 128 / (columns / 8);
}

/* The keys of a split: each group of lanes by itself, then merged. o: room for a row. */
static void fold_split(struct row *split, const struct attn_args *a, enum greta_gpu_dtype t, const float *q, int64_t kv0,
		       int first, int end, float *o)
{
	const int groups = decode_groups(a->head_dim), stride = groups * decode.keys;
	float s[4];

	for (int g = 0; g < groups && first + g < end; g++) {
		struct row r = { .m = -3.0e38f, .o = o };

		memset(o, 0, (size_t)a->head_dim * sizeof *o);
		for (int j0 = first + g; j0 < end; j0 += stride) {
			int left = (end - j0 + groups - 1) / groups;

			fold_tile(&r, a, t, &decode, q, kv0, j0, groups, left < decode.keys ? left : decode.keys, s);
		}
		merge_part(split, &r, a->head_dim);
	}
}

/* Splits are merged as groups are. */
void greta_attn_decode_reference(enum greta_gpu_dtype t, const struct attn_args *a)
{
	const int keys = a->pos0 + 1, split_keys = decode_split_keys(keys);
	const size_t row_bytes = (size_t)a->head_dim * sizeof(float);
	float *q = greta_alloc(row_bytes), *split_o = greta_alloc(row_bytes), *group_o = greta_alloc(row_bytes);

	for (int h = 0; h < a->n_heads; h++) {
		struct row r = { .m = -3.0e38f, .o = (float *)a->o + (int64_t)h * a->head_dim };

		load_query(q, a, t, 0, h);
		memset(r.o, 0, row_bytes);
		for (int j0 = 0; j0 < keys; j0 += split_keys) {
			struct row split = { .m = -3.0e38f, .o = split_o };

			memset(split_o, 0, row_bytes);
			fold_split(&split, a, t, q, kv_column(a, h), j0, keys - j0 < split_keys ? keys : j0 + split_keys, group_o);
			merge_part(&r, &split, a->head_dim);
		}
		for (int d = 0; d < a->head_dim; d++)
			r.o[d] /= r.l;
	}
	free(q);
	free(split_o);
	free(group_o);
}
