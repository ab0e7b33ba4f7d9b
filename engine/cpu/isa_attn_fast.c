/* attn fast: what the engine uses by default.
 *
 * A task is one KV head and a run of tokens, with all query heads that share the KV head: `rows` query rows, row r being
 * token r / rep, head r % rep of the group. For each tile of 64 keys: K transposed once to KT[d][64], then for panels of
 * PANEL rows: S = Q KT, online softmax in place (P), O = alpha O + P V. Both products are the same register-tiled loop.
 *
 * Tiles begin at multiples of 64 positions, and a row's arithmetic is the same whatever rows are beside it: a tile
 * beyond a row's limit multiplies it by exactly 1 and adds exact zeros. So results do not depend on the block size.
 */
#include "engine/cpu/isa_attn.h"

enum {
	TILE = 64,       /* keys */
	TASK_ROWS = 128, /* query rows that share one transposition of K */
#if defined(__AVX512F__)
	PANEL = 6, /* rows of a register tile */
	WIDE = 4,  /* vectors of a register tile */
#else
	PANEL = 4,
	WIDE = 2,
#endif
};

_Static_assert(TILE % (WIDE * VF_LANES) == 0, "a tile is whole register tiles");

/* c[r][v] = (add ? c : 0) + sum_k a[r][k] b[k][v] for `rows` x `nv` vectors. */
INLINE void product(int rows, int nv, int kc, const float *a, int lda, const float *b, int ldb, float *c, int ldc, bool add)
{
	vf acc[PANEL][WIDE];

#pragma GCC unroll 6
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
		for (int v = 0; v < nv; v++)
			acc[r][v] = add ? vf_load(c + r * ldc + v * VF_LANES) : vf_zero();
	for (int k = 0; k < kc; k++) {
		vf bv[WIDE];
#pragma GCC unroll 4
		for (int v = 0; v < nv; v++)
			bv[v] = vf_load(b + (size_t)k * (size_t)ldb + v * VF_LANES);
#pragma GCC unroll 6
		for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
			for (int v = 0; v < nv; v++)
				acc[r][v] = vf_fma(bv[v], vf_set(a[r * lda + k]), acc[r][v]);
	}
#pragma GCC unroll 6
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
		for (int v = 0; v < nv; v++)
			vf_store(c + r * ldc + v * VF_LANES, acc[r][v]);
}

#define PRODUCT(rows, nv)                                                                                              \
	static void product_##rows##_##nv(int kc, const float *a, int lda, const float *b, int ldb, float *c, int ldc, \
					  bool add)                                                                    \
	{                                                                                                              \
		product(rows, nv, kc, a, lda, b, ldb, c, ldc, add);                                                    \
	}
#if defined(__AVX512F__)
#define PRODUCTS(nv) PRODUCT(1, nv) PRODUCT(2, nv) PRODUCT(3, nv) PRODUCT(4, nv) PRODUCT(5, nv) PRODUCT(6, nv)
PRODUCTS(1) PRODUCTS(2) PRODUCTS(3) PRODUCTS(4)
#define ROW(r) {product_##r##_1, product_##r##_2, product_##r##_3, product_##r##_4}
#define ROWS ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6)
#else
#define PRODUCTS(nv) PRODUCT(1, nv) PRODUCT(2, nv) PRODUCT(3, nv) PRODUCT(4, nv)
PRODUCTS(1) PRODUCTS(2)
#define ROW(r) {product_##r##_1, product_##r##_2}
#define ROWS ROW(1), ROW(2), ROW(3), ROW(4)
#endif

typedef void product_fn(int kc, const float *a, int lda, const float *b, int ldb, float *c, int ldc, bool add);

/* The same for any number of vectors. */
static void product_any(int rows, int n_vectors, int kc, const float *a, int lda, const float *b, int ldb, float *c, int ldc,
			bool add)
{
	static product_fn *const table[PANEL][WIDE] = {ROWS};

	for (int v = 0; v < n_vectors; v += WIDE) {
		int nv = n_vectors - v < WIDE ? n_vectors - v : WIDE;
		table[rows - 1][nv - 1](kc, a, lda, b + v * VF_LANES, ldb, c + v * VF_LANES, ldc, add);
	}
}

struct fast {
	const struct attn_job *job;
	int dim;  /* head_dim, padded */
	int rep;  /* query heads per KV head */
	int rows; /* of this task */
	int token0, kv_head;
	float *q, *o;   /* [rows][dim] */
	float *m, *l;   /* [rows]: running maximum (of S log2 e) and sum */
	float *kt;      /* [dim][TILE] */
	float *v;       /* [TILE][dim] */
	float *p;       /* [PANEL][TILE] */
	float *square;  /* [VF_LANES][dim]: rows of K before transposition */
};

static int fast_tokens(const struct attn_job *job) /* of a task */
{
	int rep = job->n_head / job->n_head_kv;
	return rep >= TASK_ROWS ? 1 : TASK_ROWS / rep;
}

static int fast_rows(const struct attn_job *job)
{
	return fast_tokens(job) * (job->n_head / job->n_head_kv);
}

static int64_t fast_n_tasks(const struct attn_job *job)
{
	return (int64_t)job->n_head_kv * ((job->n + fast_tokens(job) - 1) / fast_tokens(job));
}

static size_t fast_scratch_bytes(const struct attn_job *job)
{
	size_t dim = (size_t)padded(job->head_dim), rows = (size_t)fast_rows(job);
	return sizeof(float) * (2 * rows * dim + 2 * (size_t)padded((int)rows) + 2 * TILE * dim + PANEL * TILE + VF_LANES * dim);
}

static void fast_begin(struct fast *f, const struct attn_job *job, int64_t task, float *scratch)
{
	int tokens = fast_tokens(job), n_runs = (job->n + tokens - 1) / tokens;
	int run = n_runs - 1 - (int)(task / job->n_head_kv); /* the longest first, so that threads end together */
	int max_rows = fast_rows(job);

	*f = (struct fast){.job = job, .dim = padded(job->head_dim), .rep = job->n_head / job->n_head_kv};
	f->token0 = run * tokens;
	f->kv_head = (int)(task % job->n_head_kv);
	f->rows = (job->n - f->token0 < tokens ? job->n - f->token0 : tokens) * f->rep;
	f->q = scratch;
	f->o = f->q + max_rows * f->dim;
	f->kt = f->o + max_rows * f->dim;
	f->v = f->kt + TILE * f->dim;
	f->p = f->v + TILE * f->dim;
	f->square = f->p + PANEL * TILE;
	f->m = f->square + VF_LANES * f->dim;
	f->l = f->m + padded(max_rows);
	for (int r = 0; r < f->rows; r++) {
		const float *q = q_row(job, f->token0 + r / f->rep, f->kv_head * f->rep + r % f->rep);
		load_row(q, false, job->head_dim, f->q + r * f->dim);
		for (int d = 0; d < f->dim; d++)
			f->q[r * f->dim + d] *= job->scale * LOG2_E;
		f->m[r] = -INFINITY;
		f->l[r] = 0.0f;
	}
	memset(f->o, 0, (size_t)(f->rows * f->dim) * sizeof *f->o);
}

/* Keys key0 .. key0 + n - 1, transposed; columns beyond n are zeros. */
static void fast_load_k(struct fast *f, int key0, int n)
{
	const struct attn_job *job = f->job;

	for (int j = 0; j < TILE; j += VF_LANES) {
		for (int l = 0; l < VF_LANES; l++) {
			if (j + l < n)
				load_row(attn_kv_row(job, job->k, f->kv_head, key0 + j + l), job->half, job->head_dim,
					 f->square + l * f->dim);
			else
				memset(f->square + l * f->dim, 0, (size_t)f->dim * sizeof(float));
		}
		for (int d = 0; d < f->dim; d += VF_LANES) {
			vf r[VF_LANES];
			for (int l = 0; l < VF_LANES; l++)
				r[l] = vf_load(f->square + l * f->dim + d);
			vf_transpose(r);
			for (int l = 0; l < VF_LANES; l++)
				vf_store(f->kt + (d + l) * TILE + j, r[l]);
		}
	}
}

/* V's rows in place where they are whole vectors of floats, else copied. */
static const float *fast_load_v(struct fast *f, int key0, int n)
{
	const struct attn_job *job = f->job;

	if (!job->half && f->dim == job->head_dim)
		return attn_kv_row(job, job->v, f->kv_head, key0);
	for (int j = 0; j < n; j++)
		load_row(attn_kv_row(job, job->v, f->kv_head, key0 + j), job->half, job->head_dim, f->v + j * f->dim);
	return f->v;
}

/* One row of S becomes P; returns what its output must be multiplied by. `visible`: keys of this tile it may see. */
INLINE float softmax_row(float *s, int visible, float *m, float *l)
{
	vf top = vf_set(*m), sum = vf_zero(), v[TILE / VF_LANES];

#pragma GCC unroll 16
	for (int i = 0; i < TILE / VF_LANES; i++) {
		v[i] = vf_load(s + i * VF_LANES);
		if (visible < TILE)
			v[i] = vf_select(vi_iota() + i * VF_LANES < vi_set(visible), v[i], vf_set(-INFINITY));
		top = vf_max(top, v[i]);
	}
	float new_m = vf_max_lane(top), alpha = 1.0f;
#pragma GCC unroll 16
	for (int i = 0; i < TILE / VF_LANES; i++) {
		vf p = vf_exp2(v[i] - new_m);
		if (visible < TILE)
			p = vf_select(vi_iota() + i * VF_LANES < vi_set(visible), p, vf_zero());
		sum += p;
		vf_store(s + i * VF_LANES, p);
	}
	if (new_m > *m)
		alpha = *m == -INFINITY ? 0.0f : vf_exp2(vf_set(*m - new_m))[0];
	*l = *l * alpha + vf_sum(sum);
	*m = new_m;
	return alpha;
}

static void fast_panel(struct fast *f, int row0, int rows, int key0, int n_keys, const float *v)
{
	int n_used = padded(n_keys);

	product_any(rows, n_used / VF_LANES, f->dim, f->q + row0 * f->dim, f->dim, f->kt, TILE, f->p, TILE, false);
	for (int r = 0; r < rows; r++) {
		int row = row0 + r, visible = f->job->pos0 + f->token0 + row / f->rep + 1 - key0;
		visible = visible < 0 ? 0 : visible > n_keys ? n_keys : visible;
		if (visible == 0) {
			memset(f->p + r * TILE, 0, TILE * sizeof(float));
			continue;
		}
		for (int j = n_used; j < TILE; j++)
			f->p[r * TILE + j] = 0.0f;
		float alpha = softmax_row(f->p + r * TILE, visible, &f->m[row], &f->l[row]);
		if (alpha != 1.0f)
			for (int d = 0; d < f->dim; d++)
				f->o[row * f->dim + d] *= alpha;
	}
	product_any(rows, f->dim / VF_LANES, n_keys, f->p, TILE, v, f->dim, f->o + row0 * f->dim, f->dim, true);
}

static void fast_end(struct fast *f)
{
	for (int r = 0; r < f->rows; r++) {
		float *out = out_row(f->job, f->token0 + r / f->rep, f->kv_head * f->rep + r % f->rep);
		float inverse = 1.0f / f->l[r];
		for (int d = 0; d < f->job->head_dim; d++)
			out[d] = f->o[r * f->dim + d] * inverse;
	}
}

static void fast_task(const struct attn_job *job, int64_t task, void *scratch)
{
	struct fast f;

	fast_begin(&f, job, task, scratch);
	int n_keys = job->pos0 + f.token0 + f.rows / f.rep; /* what the last token sees */
	for (int key0 = 0; key0 < n_keys; key0 += TILE) {
		int n = n_keys - key0 < TILE ? n_keys - key0 : TILE;
		fast_load_k(&f, key0, n);
		const float *v = fast_load_v(&f, key0, n);
		for (int row = 0; row < f.rows; row += PANEL) {
			int rows = f.rows - row < PANEL ? f.rows - row : PANEL;
			if (job->pos0 + f.token0 + (row + rows - 1) / f.rep >= key0) /* some row sees some key */
				fast_panel(&f, row, rows, key0, n, v);
		}
	}
	fast_end(&f);
}

const struct attn_impl CPU_SYM(attn_fast) = {"fast", fast_n_tasks, fast_scratch_bytes, fast_task};
