/* The attention ladder: every rung against the reference of its own tiling and against float64, over head layouts,
 * lengths that are no multiple of a tile, a cache in front, strides with gaps; inputs fresh each run, outputs poisoned. The
 * kernel that decodes likewise, over lengths of the cache.
 * Over the emulator, bugs are planted that these checks must catch. On a machine with a GPU, run by hand without
 * ROCM_PATH, it tests that GPU. */
#include "tests/kernels/elements.h"

#include "base/buf.h"
#include "base/clock.h"
#include "kernels/attn/decode_split.h"
#include "tests/kernels/emu/emu.h"
#include <dlfcn.h>
#include <sys/stat.h>

static struct greta_gpu *gpu;
static struct emu_settings *emu; /* NULL on a real GPU */
static void (*emu_forget)(void);

/* What is tested: a rung, or the kernel that decodes. */
enum { DECODE = GRETA_ATTN_N_RUNGS };

static const char *name_of(int kernel)
{
	return kernel == DECODE ? "flash_decode" : greta_attn_name((enum greta_attn_rung)kernel);
}

struct shape {
	int n, pos0, n_heads, n_kv_heads, head_dim;
};

/* One token of the shape, behind pos0 others. */
static struct shape decoded(struct shape s, int pos0)
{
	s.n = 1;
	s.pos0 = pos0;
	return s;
}

/* Largest errors relative to the largest |o|, against the rung's own tiling and against float64; and the root mean
 * square of the first relative to that of o, which a single P on a rounding boundary does not move. */
struct errors {
	double tiled, exact, rms;
	bool written; /* every output, and nothing but them */
};

struct problem {
	struct shape s;
	enum greta_gpu_dtype t;
	int64_t q_stride, kv_stride, o_stride;
	size_t nq, nkv, no;
	uint16_t *q, *k, *v;
	float *o, *want;
};

static void make(struct problem *p, struct shape s, enum greta_gpu_dtype t)
{
	int keys = s.pos0 + s.n;

	*p = (struct problem){ .s = s, .t = t };
	p->q_stride = (int64_t)s.n_heads * s.head_dim + 16;
	p->kv_stride = (int64_t)s.n_kv_heads * s.head_dim + 8;
	p->o_stride = (int64_t)s.n_heads * s.head_dim + 8;
	p->nq = (size_t)(s.n * p->q_stride);
	p->nkv = (size_t)(keys * p->kv_stride - 8); /* the last row has no gap: reading into it leaves the memory */
	p->no = (size_t)(s.n * p->o_stride);
	p->q = random_elements(p->nq, t);
	p->k = random_elements(p->nkv + 8, t);
	p->v = random_elements(p->nkv + 8, t);
	p->o = greta_alloc(p->no * sizeof *p->o);
	p->want = greta_alloc(p->no * sizeof *p->want);
}

static void unmake(struct problem *p)
{
	free(p->q);
	free(p->k);
	free(p->v);
	free(p->o);
	free(p->want);
}

static struct attn_args args_of(const struct problem *p)
{
	return (struct attn_args){
		.q = p->q, .k = p->k, .v = p->v, .o = p->want,
		.q_stride = p->q_stride, .kv_stride = p->kv_stride, .o_stride = p->o_stride,
		.n = p->s.n, .pos0 = p->s.pos0, .n_heads = p->s.n_heads, .n_kv_heads = p->s.n_kv_heads,
		.head_dim = p->s.head_dim, .o_f32 = 1,
		.scale_log2 = 1.44269504f / sqrtf((float)p->s.head_dim),
	};
}

static int launch_decode(struct problem *p, const struct attn_args *a, struct greta_err *e)
{
	size_t bytes = greta_attn_decode_bytes(a->n_heads, a->head_dim);
	float *parts = greta_gpu_alloc(gpu, bytes, "parts", e);
	int rc = greta_gpu_fill(gpu, parts, 0xff, bytes, e) || greta_gpu_attn_decode(gpu, p->t, a, parts, e) ||
		 greta_gpu_sync(gpu, e);

	greta_gpu_free(gpu, parts);
	return rc;
}

static int launch(struct problem *p, int kernel, const struct attn_args *a, struct greta_err *e)
{
	return kernel == DECODE ? launch_decode(p, a, e) : greta_gpu_attn(gpu, (enum greta_attn_rung)kernel, p->t, a, e);
}

/* Runs the kernel; 0, or -1 with *e. */
static int run(struct problem *p, int kernel, struct greta_err *e)
{
	struct attn_args a = args_of(p);
	void *q = uploaded(gpu, p->q, p->nq * 2), *k = uploaded(gpu, p->k, p->nkv * 2), *v = uploaded(gpu, p->v, p->nkv * 2);
	void *o = greta_gpu_alloc(gpu, p->no * 4, "output", e);
	int rc;

	a.q = q;
	a.k = k;
	a.v = v;
	a.o = o;
	rc = greta_gpu_fill(gpu, o, 0xff, p->no * 4, e) || launch(p, kernel, &a, e) ||
	     greta_gpu_download(gpu, p->o, o, p->no * 4, e);
	greta_gpu_free(gpu, q);
	greta_gpu_free(gpu, k);
	greta_gpu_free(gpu, v);
	greta_gpu_free(gpu, o);
	return rc ? -1 : 0;
}

static double exact_row(const struct problem *p, int i, int h, double *o)
{
	const struct shape *s = &p->s;
	int keys = s->pos0 + i + 1;
	int64_t kv0 = (int64_t)(h / (s->n_heads / s->n_kv_heads)) * s->head_dim;
	double *w = greta_alloc((size_t)keys * sizeof *w), m = -INFINITY, l = 0, largest = 0;

	for (int j = 0; j < keys; j++) {
		for (int d = 0; d < s->head_dim; d++)
			w[j] += value(p->t, p->q[i * p->q_stride + (int64_t)h * s->head_dim + d]) *
				value(p->t, p->k[j * p->kv_stride + kv0 + d]);
		w[j] /= sqrt(s->head_dim);
		m = fmax(m, w[j]);
	}
	for (int d = 0; d < s->head_dim; d++)
		o[d] = 0;
	for (int j = 0; j < keys; j++) {
		double x = exp(w[j] - m);

		l += x;
		for (int d = 0; d < s->head_dim; d++)
			o[d] += x * value(p->t, p->v[j * p->kv_stride + kv0 + d]);
	}
	for (int d = 0; d < s->head_dim; d++) {
		o[d] /= l;
		largest = fmax(largest, fabs(o[d]));
	}
	free(w);
	return largest;
}

static struct errors compare(struct problem *p, int kernel)
{
	struct attn_args a = args_of(p);
	const struct shape *s = &p->s;
	struct errors err = { .written = true };
	double *o = greta_alloc((size_t)s->head_dim * sizeof *o), largest = 0, squares = 0, off_squares = 0;

	if (kernel == DECODE)
		greta_attn_decode_reference(p->t, &a);
	else
		greta_attn_reference((enum greta_attn_rung)kernel, p->t, greta_gpu_info(gpu)->wave, &a);
	for (int i = 0; i < s->n; i++) {
		const float *row = p->o + i * p->o_stride, *want = p->want + i * p->o_stride;

		for (int h = 0; h < s->n_heads; h++) {
			/* float64 of every row takes longer than all the rest */
			bool exact = (i * 7 + h) % 5 == 0 || i == s->n - 1;

			if (exact)
				largest = fmax(largest, exact_row(p, i, h, o));
			for (int d = 0; d < s->head_dim; d++) {
				int at = h * s->head_dim + d;
				double off;

				if (!isfinite(row[at]))
					err.written = false;
				off = (double)row[at] - (double)want[at];
				err.tiled = fmax(err.tiled, fabs(off));
				off_squares += off * off;
				squares += (double)want[at] * (double)want[at];
				if (exact)
					err.exact = fmax(err.exact, fabs((double)row[at] - o[d]));
			}
		}
		for (int d = s->n_heads * s->head_dim; d < p->o_stride; d++)
			if (!isnan(row[d]))
				err.written = false;
	}
	err.tiled /= largest;
	err.exact /= largest;
	err.rms = sqrt(off_squares / squares);
	free(o);
	return err;
}

/* Whether it multiplies on matrix cores, and so rounds P to the element type. */
static bool rounds_p(int kernel)
{
	return kernel == GRETA_ATTN_FLASH_MMA || kernel == GRETA_ATTN_FLASH_MMA_V2;
}

/* Largest errors seen, times about 4. The scalar kernels only round in float32; the others round P to the element type,
 * which the tiled reference follows but for entries at a rounding boundary. */
static struct errors limits_of(int kernel, enum greta_gpu_dtype t)
{
	if (!rounds_p(kernel))
		return (struct errors){ .tiled = 3e-6, .exact = 4e-6, .rms = 1e-6 };
	return t == GRETA_GPU_F16 ? (struct errors){ .tiled = 6e-4, .exact = 8e-4, .rms = 8e-5 }
				  : (struct errors){ .tiled = 5e-3, .exact = 7e-3, .rms = 4e-4 };
}

static bool within(struct errors got, struct errors limit)
{
	return got.written && got.tiled <= limit.tiled && got.exact <= limit.exact && got.rms <= limit.rms;
}

/* Rows that it takes to speak of a root mean square: of one or two, a single large entry of P at a rounding boundary is
 * all of it. A smaller problem is drawn and computed as often as it takes. */
#define RMS_ROWS 16

/* One problem of that shape; its errors are added to *err, of whose rms the square is summed. */
static void compute(int kernel, enum greta_gpu_dtype t, struct shape s, struct errors *err)
{
	struct greta_err e = { 0 };
	struct problem p;
	struct errors one;

	make(&p, s, t);
	if (run(&p, kernel, &e))
		fail_msg("%s %s: %s", name_of(kernel), greta_gpu_dtype_name(t), e.text);
	one = compare(&p, kernel);
	err->tiled = fmax(err->tiled, one.tiled);
	err->exact = fmax(err->exact, one.exact);
	err->rms += one.rms * one.rms;
	err->written &= one.written;
	unmake(&p);
}

static void check(int kernel, enum greta_gpu_dtype t, struct shape s, struct errors *worst)
{
	int rows = s.n * s.n_heads, times = (RMS_ROWS + rows - 1) / rows;
	struct errors err = { .written = true };

	for (int i = 0; i < times; i++)
		compute(kernel, t, s, &err);
	err.rms = sqrt(err.rms / times);
	if (!within(err, limits_of(kernel, t)))
		fail_msg("%s %s n=%d pos0=%d heads=%d/%d head_dim=%d: error %.2e (rms %.2e) of the tiled, %.2e of the float64 reference%s",
			 name_of(kernel), greta_gpu_dtype_name(t), s.n, s.pos0, s.n_heads, s.n_kv_heads, s.head_dim,
			 err.tiled, err.rms, err.exact, err.written ? "" : ", outputs not or wrongly written");
	worst->tiled = fmax(worst->tiled, err.tiled);
	worst->exact = fmax(worst->exact, err.exact);
	worst->rms = fmax(worst->rms, err.rms);
}

static const struct shape layouts[] = { /* head_dim filled in */
	{ .n = 1, .pos0 = 0, .n_heads = 1, .n_kv_heads = 1 },
	{ .n = 33, .pos0 = 0, .n_heads = 2, .n_kv_heads = 2 },
	{ .n = 130, .pos0 = 0, .n_heads = 4, .n_kv_heads = 2 },
	{ .n = 70, .pos0 = 61, .n_heads = 4, .n_kv_heads = 1 },
	{ .n = 1, .pos0 = 100, .n_heads = 2, .n_kv_heads = 1 },
	{ .n = 257, .pos0 = 3, .n_heads = 1, .n_kv_heads = 1 },
};

static void check_rung(int r, const int *head_dims, size_t n)
{
	for (int t = GRETA_GPU_F16; t <= GRETA_GPU_BF16; t++) {
		struct errors worst = { 0 };

		for (size_t i = 0; i < n; i++) {
			for (size_t l = 0; l < GRETA_COUNT(layouts); l++) {
				struct shape s = layouts[l];

				s.head_dim = head_dims[i];
				if (emu)
					emu->order = (int)((l + i) % 3);
				check(r, (enum greta_gpu_dtype)t, s, &worst);
			}
		}
		print_message("%s %s: worst %.1e (rms %.1e) of the tiled, %.1e of the float64 reference\n", name_of(r),
			      greta_gpu_dtype_name((enum greta_gpu_dtype)t), worst.tiled, worst.rms, worst.exact);
	}
}

static void test_attn__naive_computes_any_head_dim(void **state)
{
	static const int dims[] = { 8, 16, 20, 32, 33, 48, 64, 80, 96, 127, 128, 160, 256 };

	(void)state;
	check_rung(GRETA_ATTN_FLASH_V2_NAIVE, dims, GRETA_COUNT(dims));
}

static void test_attn__tiled_rungs_compute_64_and_128(void **state)
{
	static const int dims[] = { 64, 128 };

	(void)state;
	for (int r = GRETA_ATTN_FLASH_V2_NAIVE + 1; r < GRETA_ATTN_N_RUNGS; r++)
		check_rung(r, dims, GRETA_COUNT(dims));
}

static void check_decode(enum greta_gpu_dtype t, int keys, struct errors *worst)
{
	static const int dims[] = { 8, 20, 32, 33, 64, 80, 127, 128, 256 };
	static const int heads[][2] = { { 1, 1 }, { 4, 2 }, { 3, 1 } };

	for (size_t i = 0; i < GRETA_COUNT(dims); i++) {
		const int *h = heads[(i + (size_t)keys) % GRETA_COUNT(heads)];

		if (keys > 1000 && dims[i] != 64) /* the same splits take long on the emulator */
			continue;
		if (emu)
			emu->order = (int)(i % 3);
		check(DECODE, t, (struct shape){ .n = 1, .pos0 = keys - 1, .n_heads = h[0], .n_kv_heads = h[1], .head_dim = dims[i] },
		      worst);
	}
}

/* One split, as many as keys ask for, as many as there may be, and longer ones then; with last ones of one key. */
static void test_attn__decode_merges_its_splits(void **state)
{
	static const int keys[] = { 1, 2, 31, 100, DECODE_ALONE_KEYS, DECODE_ALONE_KEYS + 1, 3 * DECODE_SPLIT_KEYS, 1000,
				    DECODE_MAX_SPLITS * DECODE_SPLIT_KEYS, DECODE_MAX_SPLITS * DECODE_SPLIT_KEYS + 1 };

	(void)state;
	for (int t = GRETA_GPU_F16; t <= GRETA_GPU_BF16; t++) {
		struct errors worst = { 0 };

		for (size_t i = 0; i < GRETA_COUNT(keys); i++)
			check_decode((enum greta_gpu_dtype)t, keys[i], &worst);
		print_message("flash_decode %s: worst %.1e (rms %.1e) of the tiled, %.1e of the float64 reference\n",
			      greta_gpu_dtype_name((enum greta_gpu_dtype)t), worst.tiled, worst.rms, worst.exact);
	}
}

/* What decodes is no rung's: a token's output is that of the prefill's last row. */
static void test_attn__decode_agrees_with_every_rung(void **state)
{
	struct shape s = { .n = 1, .pos0 = 700, .n_heads = 4, .n_kv_heads = 2, .head_dim = 128 };
	struct greta_err e = { 0 };
	struct problem p;
	float *decoded;

	(void)state;
	make(&p, s, GRETA_GPU_F16);
	assert_int_equal(run(&p, DECODE, &e), 0);
	decoded = p.o;
	p.o = greta_alloc(p.no * sizeof *p.o);
	for (int r = 0; r < GRETA_ATTN_N_RUNGS; r++) {
		struct errors limit = limits_of(r, GRETA_GPU_F16);
		double largest = 0, off = 0;

		assert_int_equal(run(&p, r, &e), 0);
		for (int i = 0; i < s.n_heads * s.head_dim; i++) {
			largest = fmax(largest, fabs((double)decoded[i]));
			off = fmax(off, fabs((double)decoded[i] - (double)p.o[i]));
		}
		assert_true(off <= limit.exact * largest);
	}
	free(decoded);
	unmake(&p);
}

static void test_attn__waves_in_any_order(void **state)
{
	struct errors worst = { 0 };

	(void)state;
	if (!emu)
		skip();
	for (int r = 0; r < GRETA_ATTN_N_RUNGS; r++)
		for (emu->order = 0; emu->order < 3; emu->order++)
			check(r, GRETA_GPU_F16, (struct shape){ .n = 140, .n_heads = 1, .n_kv_heads = 1, .head_dim = 128 }, &worst);
}

/* --- the ladder against itself ------------------------------------------------------------------------------------ */

/* Largest difference of two kernels' outputs, in units of the standard deviation of the row of a head. */
static double apart(const struct problem *p, const float *a, const float *b)
{
	double most = 0;

	for (int row = 0; row < p->s.n * p->s.n_heads; row++) {
		int64_t at = row / p->s.n_heads * p->o_stride + (int64_t)(row % p->s.n_heads) * p->s.head_dim;
		double sum = 0, squares = 0, off = 0;

		for (int d = 0; d < p->s.head_dim; d++) {
			double x = (double)a[at + d], y = fabs(x - (double)b[at + d]);

			sum += x;
			squares += x * x;
			off = y <= off ? off : y; /* and a NaN */
		}
		sum /= p->s.head_dim;
		off /= sqrt(squares / p->s.head_dim - sum * sum);
		most = off <= most ? most : off;
	}
	return most;
}

/* About 4 times what was seen. Sums of 4096 products in float32, in other orders; P rounded to the element type. */
static double apart_limit(int a, int b, enum greta_gpu_dtype t)
{
	if (!rounds_p(a) && !rounds_p(b))
		return 6e-5;
	return t == GRETA_GPU_F16 ? 4e-3 : 3e-2;
}

static bool compare_pairs(const struct problem *p, float *const *o)
{
	bool good = true;

	for (int a = 0; a < GRETA_ATTN_N_RUNGS; a++)
		for (int b = a + 1; b < GRETA_ATTN_N_RUNGS; b++) {
			double off = apart(p, o[a], o[b]), limit = apart_limit(a, b, p->t);
			bool fits = off <= limit;

			print_message("%-4s %-14s and %-14s: at most %.1e of a row's deviation apart, %.0e allowed%s\n",
				      greta_gpu_dtype_name(p->t), name_of(a), name_of(b), off, limit, fits ? "" : ": TOO FAR");
			good = good && fits;
		}
	return good;
}

/* A layer of Llama-2-7B at 4096 tokens. Some seconds on a GPU; on the emulator it would be hours. */
static void test_attn__rungs_agree_at_a_7b_layer(void **state)
{
	const struct shape s = { .n = 4096, .n_heads = 32, .n_kv_heads = 32, .head_dim = 128 };
	bool good = true;

	(void)state;
	if (emu)
		skip();
	for (int t = GRETA_GPU_F16; t <= GRETA_GPU_BF16; t++) {
		float *o[GRETA_ATTN_N_RUNGS];
		struct greta_err e = { 0 };
		struct problem p;

		make(&p, s, (enum greta_gpu_dtype)t);
		for (int r = 0; r < GRETA_ATTN_N_RUNGS; r++) {
			if (run(&p, r, &e))
				fail_msg("%s: %s", name_of(r), e.text);
			o[r] = p.o;
			p.o = greta_alloc(p.no * sizeof *p.o);
		}
		good = compare_pairs(&p, o) && good;
		for (int r = 0; r < GRETA_ATTN_N_RUNGS; r++)
			free(o[r]);
		unmake(&p);
	}
	assert_true(good);
}

static void test_attn__half_output_is_the_rounded_float(void **state)
{
	struct greta_err e = { 0 };

	(void)state;
	for (int k = 0; k <= DECODE; k++) {
		for (int t = GRETA_GPU_F16; t <= GRETA_GPU_BF16; t++) {
			struct shape s = { .n = 40, .n_heads = 2, .n_kv_heads = 1, .head_dim = 64 };
			struct problem p;
			struct attn_args a;
			uint16_t *half;
			void *o;

			if (k == DECODE)
				s = decoded(s, 400);
			make(&p, s, t);
			assert_int_equal(run(&p, k, &e), 0);
			a = args_of(&p);
			a.o_f32 = 0;
			a.q = uploaded(gpu, p.q, p.nq * 2);
			a.k = uploaded(gpu, p.k, p.nkv * 2);
			a.v = uploaded(gpu, p.v, p.nkv * 2);
			a.o = o = uploaded(gpu, p.o, p.no * 2);
			half = greta_alloc(p.no * 2);
			if (launch(&p, k, &a, &e) || greta_gpu_download(gpu, half, o, p.no * 2, &e))
				fail_msg("%s", e.text);
			for (int i = 0; i < p.s.n; i++)
				for (int d = 0; d < 128; d++)
					assert_int_equal(half[i * p.o_stride + d], element(p.t, p.o[i * p.o_stride + d]));
			free(half);
			unmake(&p);
		}
	}
}

static void test_attn__same_bits_twice(void **state)
{
	struct greta_err e = { 0 };

	(void)state;
	for (int k = 0; k <= DECODE; k++) {
		struct shape s = { .n = 200, .n_heads = 4, .n_kv_heads = 2, .head_dim = 64 };
		struct problem p;
		float *first;

		if (k == DECODE)
			s = decoded(s, 1500);
		make(&p, s, GRETA_GPU_F16);
		assert_int_equal(run(&p, k, &e), 0);
		first = greta_alloc(p.no * sizeof *first);
		memcpy(first, p.o, p.no * sizeof *first);
		assert_int_equal(run(&p, k, &e), 0);
		assert_memory_equal(first, p.o, p.no * sizeof *first);
		free(first);
		unmake(&p);
	}
}

static void test_attn__refuses_what_a_rung_cannot_do(void **state)
{
	struct greta_err e = { 0 };
	enum greta_attn_rung r;
	struct attn_args a = { .n = 1, .n_heads = 3, .n_kv_heads = 2, .head_dim = 64 };
	struct attn_args two = { .n = 2, .n_heads = 2, .n_kv_heads = 2, .head_dim = 64 };

	(void)state;
	assert_int_equal(greta_attn_supports(GRETA_ATTN_Q_LDS, 80, &e), -1);
	assert_int_equal(e.code, GRETA_EUNSUPPORTED);
	assert_non_null(strstr(e.text, "q_lds"));
	assert_non_null(strstr(e.text, "80"));
	assert_non_null(strstr(e.text, "flash_v2_naive"));
	assert_int_equal(greta_attn_supports(GRETA_ATTN_FLASH_V2_NAIVE, 257, &e), -1);
	assert_int_equal(greta_attn_by_name("flash_v9", &r, &e), -1);
	assert_non_null(strstr(e.text, "q_lds_v2"));
	assert_int_equal(greta_gpu_attn(gpu, GRETA_ATTN_Q_LDS, GRETA_GPU_F16, &a, &e), -1);
	assert_int_equal(e.code, GRETA_EINVAL);
	assert_int_equal(greta_gpu_attn_decode(gpu, GRETA_GPU_F16, &two, NULL, &e), -1);
	assert_non_null(strstr(e.text, "2 queries"));
	two.n = 1;
	two.head_dim = 257;
	assert_int_equal(greta_gpu_attn_decode(gpu, GRETA_GPU_F16, &two, NULL, &e), -1);
	assert_int_equal(e.code, GRETA_EUNSUPPORTED);
}

/* --- planted bugs ------------------------------------------------------------------------------------------------- */

/* Whether the checks catch the bug that is planted, in any order of waves. */
static bool caught(int kernel, struct shape s)
{
	bool hit = false;

	for (emu->order = 0; emu->order < 3 && !hit; emu->order++) {
		struct greta_err e = { 0 };
		struct problem p;

		make(&p, s, GRETA_GPU_F16);
		hit = run(&p, kernel, &e) != 0 || !within(compare(&p, kernel), limits_of(kernel, GRETA_GPU_F16));
		emu_forget();
		unmake(&p);
	}
	emu->order = 0;
	return hit;
}

static void test_attn__every_missing_barrier_is_caught(void **state)
{
	/* four tiles of keys and a part, so that every barrier of a loop has a step before and after it */
	struct shape s = { .n = 150, .n_heads = 1, .n_kv_heads = 1, .head_dim = 64 };

	(void)state;
	if (!emu)
		skip();
	for (int r = GRETA_ATTN_FLASH_V2_NAIVE + 1; r < GRETA_ATTN_N_RUNGS; r++) {
		struct greta_err e = { 0 };
		struct problem p;
		int n;

		make(&p, s, GRETA_GPU_F16);
		assert_int_equal(run(&p, r, &e), 0);
		unmake(&p);
		n = emu->n_barriers;
		assert_true(n > 1);
		for (int i = 2; i <= n; i++) { /* what the first orders is in the second too */
			emu->skip_barrier = i;
			if (!caught(r, s))
				fail_msg("%s: barrier %d of %d can be left out unseen", name_of(r), i, n);
			emu->skip_barrier = 0;
		}
	}
}

static void test_attn__a_missing_barrier_of_decode_is_caught(void **state)
{
	(void)state;
	if (!emu)
		skip();
	emu->skip_barrier = 1; /* of the splits, then of their merge too */
	for (int pos0 = 99; pos0 < 1000; pos0 += 800)
		assert_true(caught(DECODE, (struct shape){ .n = 1, .pos0 = pos0, .n_heads = 1, .n_kv_heads = 1, .head_dim = 128 }));
	emu->skip_barrier = 0;
}

static void test_attn__a_removed_wait_is_caught(void **state)
{
	(void)state;
	if (!emu)
		skip();
	emu->skip_wait = 1;
	assert_true(caught(GRETA_ATTN_FLASH_MMA_V2, (struct shape){ .n = 40, .n_heads = 1, .n_kv_heads = 1, .head_dim = 128 }));
	emu->skip_wait = 0;
}

static void test_attn__a_swapped_lane_layout_is_caught(void **state)
{
	(void)state;
	if (!emu)
		skip();
	emu->swap_lanes = 1;
	for (int r = GRETA_ATTN_FLASH_MMA; r < GRETA_ATTN_N_RUNGS; r++)
		assert_true(caught(r,
				   (struct shape){ .n = 40, .n_heads = 1, .n_kv_heads = 1, .head_dim = 64 }));
	emu->swap_lanes = 0;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

enum { CARD = 0x0c00 }; /* 0000:0c:00.0 */

static int opens(const char *kfd, struct greta_err *e)
{
	struct greta_gpu_options o = { .driver = "hip", .kfd_root = kfd };
	struct greta_gpu *g;

	if (greta_gpu_open(&g, &o, e))
		return -1;
	greta_gpu_close(g);
	return 0;
}

static void write_node(const char *dir, const char *version, unsigned location)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof path, "%s/properties", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "gfx_target_version %s\nlocation_id %u\ndomain 0\n", version, location);
	fclose(f);
}

static void test_gpu__refuses_other_architectures_by_name(void **state)
{
	char root[] = "/tmp/greta-kfd-XXXXXX", node[64], path[128];
	struct greta_err e = { 0 };

	(void)state;
	if (!emu)
		skip();
	assert_non_null(mkdtemp(root));
	snprintf(node, sizeof node, "%s/1", root);
	snprintf(path, sizeof path, "%s/properties", node);
	assert_int_equal(mkdir(node, 0700), 0);
	write_node(node, "90010", CARD);
	assert_int_equal(opens(root, &e), -1);
	assert_non_null(strstr(e.text, "gfx90a"));
	write_node(node, "90500", CARD);
	assert_int_equal(opens(root, &e), -1);
	assert_non_null(strstr(e.text, "gfx950"));
	write_node(node, "90402", CARD + 0x100);
	assert_int_equal(opens(root, &e), -1);
	assert_non_null(strstr(e.text, "no node of"));
	write_node(node, "90402", CARD | 5u << 28); /* a partition */
	assert_int_equal(opens(root, &e), 0);
	write_node(node, "90402", CARD);
	assert_int_equal(opens(root, &e), 0);
	emu->wave = 32;
	assert_int_equal(opens(root, &e), -1);
	assert_non_null(strstr(e.text, "waves of 32"));
	emu->wave = 0;
	assert_int_equal(opens("/nonexistent", &e), -1);
	unlink(path);
	rmdir(node);
	rmdir(root);
}

static void test_gpu__partitions_and_no_device(void **state)
{
	struct greta_gpu_options o = { .driver = "hip" };
	struct greta_err e = { 0 };
	struct greta_gpu *g;

	(void)state;
	if (!emu)
		skip();
	emu->units = 38; /* CPX */
	assert_int_equal(greta_gpu_open(&g, &o, &e), 0);
	assert_int_equal(greta_gpu_info(g)->n_units, 38);
	assert_int_equal(greta_gpu_info(g)->n_xcd, 1);
	greta_gpu_close(g);
	emu->units = 0;
	assert_int_equal(greta_gpu_info(gpu)->n_xcd, 8);
	assert_string_equal(greta_gpu_info(gpu)->arch, "gfx942");
	setenv("EMU_NO_DEVICE", "1", 1);
	assert_int_equal(greta_gpu_open(&g, &o, &e), -1);
	assert_int_equal(e.code, GRETA_EUNSUPPORTED);
	assert_non_null(strstr(e.text, "no GPU"));
	unsetenv("EMU_NO_DEVICE");
	o.ordinal = 3;
	assert_int_equal(greta_gpu_open(&g, &o, &e), -1);
	assert_int_equal(e.code, GRETA_EINVAL);
}

static void test_gpu__too_much_memory_says_how_much(void **state)
{
	struct greta_err e = { 0 };

	(void)state;
	assert_null(greta_gpu_alloc(gpu, (size_t)1 << 44, "the KV cache", &e));
	assert_int_equal(e.code, GRETA_ENOMEM);
	assert_non_null(strstr(e.text, "the KV cache needs 17.6 TB"));
	assert_non_null(strstr(e.text, "free"));
}

static void test_gpu__static_gate(void **state)
{
	struct greta_buf table = { 0 }, json = { 0 };

	(void)state;
	assert_int_equal(greta_gpu_resources(&table, false), 0);
	assert_non_null(strstr(greta_buf_str(&table), "flash_v2_naive_f16_d128"));
	assert_int_equal(greta_gpu_resources(&json, true), 0);
	assert_non_null(strstr(greta_buf_str(&json), "\"scratch_bytes\":0"));
	greta_buf_release(&table);
	greta_buf_release(&json);
}

static int setup(void **state)
{
	struct greta_err e = { 0 };
	void *lib, *p;

	(void)state;
	if (greta_gpu_open(&gpu, NULL, &e)) {
		print_message("%s\n", e.text);
		return -1;
	}
	lib = dlopen("libamdhip64.so.6", RTLD_NOW | RTLD_NOLOAD);
	if (lib && (p = dlsym(lib, "emu_settings")) != NULL) {
		emu = p;
		p = dlsym(lib, "emu_forget");
		memcpy(&emu_forget, &p, sizeof p);
	}
	seed = (uint64_t)greta_clock_wall_ns();
	print_message("%s, %s; seed %llu\n", greta_gpu_info(gpu)->name, greta_gpu_info(gpu)->driver,
		      (unsigned long long)seed);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	greta_gpu_close(gpu);
	return 0;
}

/* k_attn [PATTERN]: only the tests of that name (for a sanitizer, under which the whole takes too long). */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attn__naive_computes_any_head_dim),
		cmocka_unit_test(test_attn__tiled_rungs_compute_64_and_128),
		cmocka_unit_test(test_attn__decode_merges_its_splits),
		cmocka_unit_test(test_attn__decode_agrees_with_every_rung),
		cmocka_unit_test(test_attn__rungs_agree_at_a_7b_layer),
		cmocka_unit_test(test_attn__waves_in_any_order),
		cmocka_unit_test(test_attn__half_output_is_the_rounded_float),
		cmocka_unit_test(test_attn__same_bits_twice),
		cmocka_unit_test(test_attn__refuses_what_a_rung_cannot_do),
		cmocka_unit_test(test_attn__every_missing_barrier_is_caught),
		cmocka_unit_test(test_attn__a_missing_barrier_of_decode_is_caught),
		cmocka_unit_test(test_attn__a_removed_wait_is_caught),
		cmocka_unit_test(test_attn__a_swapped_lane_layout_is_caught),
		cmocka_unit_test(test_gpu__refuses_other_architectures_by_name),
		cmocka_unit_test(test_gpu__partitions_and_no_device),
		cmocka_unit_test(test_gpu__too_much_memory_says_how_much),
		cmocka_unit_test(test_gpu__static_gate),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
