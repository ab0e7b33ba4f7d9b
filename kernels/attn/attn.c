/* attn: picks the kernel of a rung and queues it. One table answers both "which kernel" and "is this supported". */
#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "kernels/attn/decode_split.h"
#include "kernels/gpu_internal.h"

/* One row a kernel; the first row of a rung whose range holds head_dim is taken. */
struct attn_kernel {
	enum greta_attn_rung rung;
	int head_dim_min, head_dim_max;
	int queries;      /* of a block on AMD; on NVIDIA: queries_nvidia */
	int queries_nvidia;
	int segment;      /* output columns of a block (grid z); 0: all */
	enum gpu_kernel kernel[2]; /* by dtype */
};

#define BOTH(prefix, suffix) { GPU_K_##prefix##_f16_##suffix, GPU_K_##prefix##_bf16_##suffix }

static const struct attn_kernel table[] = {
	{ GRETA_ATTN_FLASH_V2_NAIVE, 64, 64, 64, 32, 64, BOTH(flash_v2_naive, d64) },
	{ GRETA_ATTN_FLASH_V2_NAIVE, 128, 128, 64, 32, 128, BOTH(flash_v2_naive, d128) },
	{ GRETA_ATTN_FLASH_V2_NAIVE, 1, 32, 64, 32, 32, BOTH(flash_v2_naive, to32) },
	{ GRETA_ATTN_FLASH_V2_NAIVE, 33, 63, 64, 32, 32, BOTH(flash_v2_naive, to64) },
	{ GRETA_ATTN_FLASH_V2_NAIVE, 65, 127, 64, 32, 64, BOTH(flash_v2_naive, to128) },
	{ GRETA_ATTN_FLASH_V2_NAIVE, 129, 256, 64, 32, 32, BOTH(flash_v2_naive, to256) },
	{ GRETA_ATTN_Q_LDS, 64, 64, 32, 32, 0, BOTH(q_lds, d64) },
	{ GRETA_ATTN_Q_LDS, 128, 128, 32, 32, 0, BOTH(q_lds, d128) },
	{ GRETA_ATTN_Q_LDS_V2, 64, 64, 32, 32, 0, BOTH(q_lds_v2, d64) },
	{ GRETA_ATTN_Q_LDS_V2, 128, 128, 32, 32, 0, BOTH(q_lds_v2, d128) },
	{ GRETA_ATTN_FLASH_MMA, 64, 64, 128, 128, 0, BOTH(flash_mma, d64) },
	{ GRETA_ATTN_FLASH_MMA, 128, 128, 128, 128, 0, BOTH(flash_mma, d128) },
	{ GRETA_ATTN_FLASH_MMA_V2, 64, 64, 256, 128, 0, BOTH(flash_mma_v2, d64) },
	{ GRETA_ATTN_FLASH_MMA_V2, 128, 128, 256, 128, 0, BOTH(flash_mma_v2, d128) },
};

static const char *const names[GRETA_ATTN_N_RUNGS] = {
#define X(id, name) [GRETA_ATTN_##id] = name,
	GRETA_ATTN_RUNGS(X)
#undef X
};

const char *greta_attn_name(enum greta_attn_rung r)
{
	return (unsigned)r < GRETA_ATTN_N_RUNGS ? names[r] : "?";
}

int greta_attn_by_name(const char *name, enum greta_attn_rung *r, struct greta_err *e)
{
	cleanup_buf struct greta_buf list = { 0 };

	for (int i = 0; i < GRETA_ATTN_N_RUNGS; i++) {
		if (greta_str_eq(name, names[i])) {
			*r = (enum greta_attn_rung)i;
			return 0;
		}
		greta_buf_addf(&list, " %s", names[i]);
	}
	return greta_err_set(e, GRETA_EINVAL, "attention kernel '%s': it is one of%s", name, greta_buf_str(&list));
}

static const struct attn_kernel *find(enum greta_attn_rung r, int head_dim)
{
	for (size_t i = 0; i < GRETA_COUNT(table); i++)
		if (table[i].rung == r && head_dim >= table[i].head_dim_min && head_dim <= table[i].head_dim_max)
			return &table[i];
	return NULL;
}

int greta_attn_supports(enum greta_attn_rung r, int head_dim, struct greta_err *e)
{
	cleanup_buf struct greta_buf able = { 0 };

	if (find(r, head_dim))
		return 0;
	for (int i = 0; i < GRETA_ATTN_N_RUNGS; i++)
		if (find((enum greta_attn_rung)i, head_dim))
			greta_buf_addf(&able, " %s", names[i]);
	return greta_err_set(e, GRETA_EUNSUPPORTED, "attention kernel %s can't do head_dim %d; those that can:%s",
			     greta_attn_name(r), head_dim, able.len ? greta_buf_str(&able) : " none");
}

static int check_args(const struct attn_args *a, struct greta_err *e)
{
	if (a->n <= 0 || a->pos0 < 0 || a->n_heads <= 0 || a->n_kv_heads <= 0 || a->n_heads % a->n_kv_heads)
		return greta_err_set(e, GRETA_EINVAL, "attention: n %d, pos0 %d, heads %d, kv heads %d make no sense", a->n,
				     a->pos0, a->n_heads, a->n_kv_heads);
	/* rows are read 16 bytes at a time */
	if (a->head_dim % 8 == 0 && (a->q_stride % 8 || a->kv_stride % 8 || ((uintptr_t)a->q | (uintptr_t)a->k |
									     (uintptr_t)a->v) % 16))
		return greta_err_set(e, GRETA_EINVAL, "attention: rows of q, k and v must start on 16 bytes");
	return 0;
}

/* Heads whose K and V together take half of a 50 MB cache. */
static int heads_side_by_side(const struct attn_args *a)
{
	int64_t bytes = (int64_t)(a->pos0 + a->n) * a->head_dim * 4, kv = (INT64_C(25) << 20) / bytes;
	int heads = (int)(kv < 1 ? 1 : kv > a->n_kv_heads ? a->n_kv_heads : kv) * (a->n_heads / a->n_kv_heads);

	return heads;
}

static int launch_v2(struct greta_gpu *g, enum gpu_kernel k, enum greta_gpu_dtype t, const struct attn_args *a, int tiles,
		     struct greta_err *e)
{
	struct attn_v2_args v = { .a = *a, .head_group = heads_side_by_side(a) };
	int keys = a->pos0 + a->n;

	if (g->api.tensor_map &&
	    (gpu_tensor_map(g, v.map_q, t, a->q, a->n_heads, a->n, a->head_dim, a->q_stride, e) ||
	     gpu_tensor_map(g, v.map_k, t, a->k, a->n_kv_heads, keys, a->head_dim, a->kv_stride, e) ||
	     gpu_tensor_map(g, v.map_v, t, a->v, a->n_kv_heads, keys, a->head_dim, a->kv_stride, e)))
		return -1;
	return gpu_launch(g, k, (unsigned)(tiles * a->n_heads), 1, 1, &v, e);
}

int greta_gpu_attn(struct greta_gpu *g, enum greta_attn_rung r, enum greta_gpu_dtype t, const struct attn_args *args,
		   struct greta_err *e)
{
	const struct attn_kernel *k = find(r, args->head_dim);
	struct attn_args a = *args;
	int queries, segment;

	if (!k)
		return greta_attn_supports(r, args->head_dim, e);
	if (check_args(args, e))
		return -1;
	a.n_xcd = g->info.n_xcd;
	queries = g->api.vendor == GPU_VENDOR_AMD ? k->queries : k->queries_nvidia;
	segment = k->segment ? k->segment : a.head_dim;
	if (r == GRETA_ATTN_FLASH_MMA_V2)
		return launch_v2(g, k->kernel[t], t, &a, (a.n + queries - 1) / queries, e);
	return gpu_launch(g, k->kernel[t], (unsigned)((a.n + queries - 1) / queries), (unsigned)a.n_heads,
			  (unsigned)((a.head_dim + segment - 1) / segment), &a, e);
}

/* --- one query, whatever the rung --------------------------------------------------------------------------------- */

/* The first row whose range holds head_dim is taken. */
static const struct decode_kernel {
	int head_dim_min, head_dim_max;
	enum gpu_kernel kernel[2]; /* by dtype */
} decode_table[] = {
	{ 64, 64, BOTH(flash_decode, d64) },
	{ 128, 128, BOTH(flash_decode, d128) },
	{ 1, 32, BOTH(flash_decode, to32) },
	{ 33, 63, BOTH(flash_decode, to64) },
	{ 65, 127, BOTH(flash_decode, to128) },
	{ 129, 256, BOTH(flash_decode, to256) },
};

size_t greta_attn_decode_bytes(int n_heads, int head_dim)
{
	return (size_t)n_heads * DECODE_MAX_SPLITS * (size_t)(2 + head_dim) * sizeof(float);
}

int greta_gpu_attn_decode(struct greta_gpu *g, enum greta_gpu_dtype t, const struct attn_args *args, float *parts,
			  struct greta_err *e)
{
	static const enum gpu_kernel merge[] = { GPU_K_flash_decode_merge_f16, GPU_K_flash_decode_merge_bf16 };
	struct attn_decode_args x = { .a = *args, .parts = parts, .split_keys = decode_split_keys(args->pos0 + 1) };
	const struct decode_kernel *k = decode_table;

	if (check_args(args, e))
		return -1;
	if (args->n != 1)
		return greta_err_set(e, GRETA_EINVAL, "decoding attention of %d queries: it does one", args->n);
	while (k < decode_table + GRETA_COUNT(decode_table) &&
	       (args->head_dim < k->head_dim_min || args->head_dim > k->head_dim_max))
		k++;
	if (k == decode_table + GRETA_COUNT(decode_table))
		return greta_err_set(e, GRETA_EUNSUPPORTED, "decoding attention can't do head_dim %d: 1 to 256", args->head_dim);
	x.n_splits = (args->pos0 + x.split_keys) / x.split_keys; /* of pos0 + 1 keys */
	if (gpu_launch(g, k->kernel[t], (unsigned)x.n_splits, (unsigned)args->n_heads, 1, &x, e))
		return -1;
	return x.n_splits > 1 ? gpu_launch(g, merge[t], (unsigned)args->n_heads, 1, 1, &x, e) : 0;
}
