#include "tests/unit/unit.h"
#include "engine/cpu/gemm.h"
#include "tests/unit/guarded.h"
#include <math.h>
#include <stdatomic.h>
#include <string.h>

static struct greta_err e;

/* --- pool --------------------------------------------------------------------------------------------------------- */

struct visits {
	_Atomic int n[1000];
	_Atomic int threads;
};

static void visit(void *arg, int64_t item, int thread)
{
	struct visits *v = arg;
	atomic_fetch_add(&v->n[item], 1);
	atomic_fetch_or(&v->threads, 1 << thread);
}

static void test_pool__each_item_once(void **state)
{
	(void)state;
	for (int n_threads = 1; n_threads <= 5; n_threads += 2) {
		struct pool *p = pool_create(n_threads, &e);
		assert_non_null(p);
		for (int round = 0; round < 300; round++) {
			struct visits v = {0};
			int n = round % 7 == 0 ? 1000 : round;
			pool_run(p, n, visit, &v);
			for (int i = 0; i < 1000; i++)
				assert_int_equal(v.n[i], i < n);
			assert_true(v.threads < 1 << n_threads);
			if (round % 100 == 0)
				usleep(3000); /* long enough for workers to fall asleep */
		}
		pool_destroy(p);
	}
}

/* --- products ----------------------------------------------------------------------------------------------------- */

static uint32_t seed = 7;

static float next_float(void)
{
	seed = seed * 1664525u + 1013904223u;
	return (float)(int32_t)seed / 2147483648.0f;
}

static struct cpu cpu_make(const char *isa, int n_threads, bool deterministic, int max_n, size_t max_k)
{
	struct cpu c = {.k = cpu_kernels_named(isa), .n_threads = n_threads, .deterministic = deterministic, .float_only = true};

	if (!c.k)
		return c;
	c.pool = pool_create(n_threads, &e);
	c.scratch_bytes = gemm_scratch_bytes(&c, max_n, max_k);
	c.scratch = malloc((size_t)n_threads * sizeof *c.scratch);
	for (int i = 0; i < n_threads; i++)
		assert_int_equal(posix_memalign(&c.scratch[i], 64, c.scratch_bytes), 0);
	return c;
}

static void cpu_drop(struct cpu *c)
{
	for (int i = 0; i < c->n_threads; i++)
		free(c->scratch[i]);
	free(c->scratch);
	pool_destroy(c->pool);
}

static struct weight weight_make(enum quant_type type, size_t n_in, size_t n_out, bool bias)
{
	struct weight w = {.traits = quant_traits(type), .n_in = n_in, .n_out = n_out};
	float *row = malloc(n_in * sizeof *row);

	w.row_bytes = quant_bytes(w.traits, n_in);
	char *data = guarded_alloc(w.row_bytes * n_out);
	for (size_t i = 0; i < n_out; i++) {
		for (size_t k = 0; k < n_in; k++)
			row[k] = next_float();
		w.traits->from_f32(row, data + i * w.row_bytes, n_in);
	}
	free(row);
	w.data = data;
	if (bias) {
		w.bias = malloc(n_out * sizeof *w.bias);
		for (size_t i = 0; i < n_out; i++)
			w.bias[i] = next_float();
	}
	return w;
}

static void weight_drop(struct weight *w)
{
	guarded_free(w->data, w->row_bytes * w->n_out);
	free(w->bias);
}

/* y[n][n_out] in double; add: what was in y. */
static void reference(const struct weight *w, const float *x, int n, const float *add, double *y)
{
	float *row = malloc(w->n_in * sizeof *row);

	for (size_t i = 0; i < w->n_out; i++) {
		w->traits->to_f32((const char *)w->data + i * w->row_bytes, row, w->n_in);
		for (int r = 0; r < n; r++) {
			double sum = w->bias ? (double)w->bias[i] : 0.0;
			for (size_t k = 0; k < w->n_in; k++)
				sum += (double)row[k] * (double)x[(size_t)r * w->n_in + k];
			y[(size_t)r * w->n_out + i] = sum + (add ? (double)add[(size_t)r * w->n_out + i] : 0.0);
		}
	}
	free(row);
}

static float *floats(size_t n)
{
	float *x = guarded_alloc(n * sizeof *x);
	for (size_t i = 0; i < n; i++)
		x[i] = next_float();
	return x;
}

static void floats_drop(float *x, size_t n)
{
	guarded_free(x, n * sizeof *x);
}

static struct acts acts_make(int n, size_t k)
{
	size_t n_values = (size_t)n * k;
	return (struct acts){.n = n, .k = k, .f32 = floats(n_values), .i16 = guarded_alloc(n_values * sizeof(int16_t)),
			     .sums = floats(n_values / GEMM_GROUP), .step = floats((size_t)n)};
}

static void acts_drop(struct acts *a)
{
	size_t n_values = (size_t)a->n * a->k;
	floats_drop(a->f32, n_values);
	guarded_free(a->i16, n_values * sizeof *a->i16);
	floats_drop(a->sums, n_values / GEMM_GROUP);
	floats_drop(a->step, (size_t)a->n);
}

/* limit: of the error, over the root of the sum of squares that an output adds up. */
static void check_product(const struct cpu *c, enum quant_type type, int n, size_t n_in, size_t n_out, bool add, double limit)
{
	struct weight w = weight_make(type, n_in, n_out, add);
	float *x = floats((size_t)n * n_in), *y = floats((size_t)n * n_out);
	struct acts a = acts_make(n, n_in);
	double *want = malloc((size_t)n * n_out * sizeof *want);

	reference(&w, x, n, add ? y : NULL, want);
	const struct gemm_out out = {&w, y, n_out, add};
	gemm_pack(c, gemm_kind(c, &w), x, n_in, NULL, 0.0f, &a);
	gemm_run(c, &a, &out, 1);
	for (size_t i = 0; i < (size_t)n * n_out; i++)
		if (!(fabs((double)y[i] - want[i]) < limit * sqrt((double)n_in)))
			fail_msg("%s %s n %d, %zu -> %zu, value %zu: %g, expected %g", c->k->name, w.traits->name, n, n_in, n_out,
				 i, (double)y[i], want[i]);
	floats_drop(x, (size_t)n * n_in);
	floats_drop(y, (size_t)n * n_out);
	acts_drop(&a);
	free(want);
	weight_drop(&w);
}

static const char *const isas[] = {"generic", "avx2", "avx512"};

static void test_gemm__plain_formats(void **state)
{
	static const enum quant_type types[] = {QUANT_F32, QUANT_F16, QUANT_BF16};
	static const int rows[] = {1, 3, 4, 15, 29};
	static const size_t shapes[][2] = {{1, 1}, {7, 3}, {172, 64}, {64, 172}, {520, 33}, {1100, 300}};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct cpu c = cpu_make(isas[i], 2, false, 29, 1100);
		for (size_t t = 0; c.k && t < 3; t++)
			for (size_t s = 0; s < 6; s++)
				for (size_t r = 0; r < 5; r++)
					check_product(&c, types[t], rows[r], shapes[s][0], shapes[s][1], r % 2, 3e-6);
		if (c.k)
			cpu_drop(&c);
	}
}

static void check_block_formats(struct cpu *c, double limit)
{
	static const enum quant_type types[] = {QUANT_Q8_0, QUANT_Q4_0, QUANT_Q4_1, QUANT_Q5_0,
						QUANT_Q5_1, QUANT_Q4_K, QUANT_Q5_K, QUANT_Q6_K};

	for (size_t t = 0; c->k && t < 8; t++) {
		size_t n_in = quant_traits(types[t])->block_n * 5;
		check_product(c, types[t], 1, n_in, 70, false, limit);
		check_product(c, types[t], 20, n_in, 70, true, limit);
		check_product(c, types[t], 3, 256, 5, false, limit);
		check_product(c, types[t], 15, n_in, 32, false, limit);
	}
	if (c->k)
		cpu_drop(c);
}

static void test_gemm__block_formats(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct cpu c = cpu_make(isas[i], 2, false, 20, 1280);
		check_block_formats(&c, 3e-6);
	}
}

/* X is uniform in -1 .. 1, so one step of its rounding is 6e-5 and the error some 1e-5 per root of a term. */
static void test_gemm__block_formats_in_integers(void **state)
{
	(void)state;
	for (int deterministic = 0; deterministic < 2; deterministic++) {
		struct cpu c = cpu_make("avx512", 2, deterministic, 20, 1280);
		if (!c.k)
			return;
		c.float_only = false;
		assert_int_not_equal(c.k->mr_i16, 0);
		check_block_formats(&c, 6e-5);
	}
}

/* The largest sums there can be: all of X at its limit against all of W at its own. */
static void test_gemm__integers_do_not_overflow(void **state)
{
	enum { K = 512, OUT = 40, N = 9 };
	struct cpu c = cpu_make("avx512", 1, false, N, K);
	struct weight w = weight_make(QUANT_Q6_K, K, OUT, false);
	struct quant_q6_k *b = (struct quant_q6_k *)(uintptr_t)w.data;
	struct acts a = acts_make(N, K);
	float x[N][K], y[N][OUT];

	(void)state;
	if (!c.k)
		return;
	c.float_only = false;
	for (int i = 0; i < OUT * K / 256; i++) { /* q = -32, scale -128, d = 1: each weight is 4096 */
		memset(b[i].low, 0, sizeof b[i].low);
		memset(b[i].high, 0, sizeof b[i].high);
		memset(b[i].scales, -128, sizeof b[i].scales);
		b[i].d = 0x3c00;
	}
	for (int i = 0; i < N * K; i++)
		x[i / K][i % K] = 3.0f;
	const struct gemm_out out = {&w, y[0], OUT, false};
	gemm_pack(&c, GEMM_I16, x[0], K, NULL, 0.0f, &a);
	gemm_run(&c, &a, &out, 1);
	for (int i = 0; i < N * OUT; i++)
		assert_true(fabs((double)y[i / OUT][i % OUT] / (3.0 * 4096 * K) - 1.0) < 1e-4);
	acts_drop(&a);
	weight_drop(&w);
	cpu_drop(&c);
}

/* NaN and infinity in X must show in Y, also on the way through integers. */
static void test_gemm__integers_keep_nan(void **state)
{
	struct cpu c = cpu_make("avx512", 1, false, 2, 64);
	struct weight w = weight_make(QUANT_Q8_0, 64, 3, false);
	struct acts a = acts_make(2, 64);
	float x[2][64] = {{0}}, y[2][3];
	const struct gemm_out out = {&w, y[0], 3, false};

	(void)state;
	if (!c.k)
		return;
	c.float_only = false;
	x[0][5] = NAN;
	x[1][60] = INFINITY;
	gemm_pack(&c, GEMM_I16, x[0], 64, NULL, 0.0f, &a);
	gemm_run(&c, &a, &out, 1);
	for (int i = 0; i < 6; i++)
		assert_false(isfinite(y[i / 3][i % 3]));
	acts_drop(&a);
	weight_drop(&w);
	cpu_drop(&c);
}

/* One row's bits in deterministic mode: alone, among others, on one thread and on three. */
static void test_gemm__deterministic(void **state)
{
	enum { N = 40, K = 1100, OUT = 130 };
	struct weight w = weight_make(QUANT_F16, K, OUT, false);
	float *x = floats((size_t)N * K), y[N][OUT], one[OUT];
	struct acts a = acts_make(N, K);

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct cpu c = cpu_make(isas[i], 3, true, N, K), c1 = cpu_make(isas[i], 1, true, N, K);
		const struct gemm_out all = {&w, y[0], OUT, false}, single = {&w, one, OUT, false};
		if (!c.k)
			continue;
		a.n = N;
		gemm_pack(&c, GEMM_F32, x, K, NULL, 0.0f, &a);
		gemm_run(&c, &a, &all, 1);
		for (int r = 0; r < N; r += 13) {
			a.n = 1;
			gemm_pack(&c1, GEMM_F32, x + (size_t)r * K, K, NULL, 0.0f, &a);
			gemm_run(&c1, &a, &single, 1);
			assert_memory_equal(one, y[r], sizeof one);
		}
		cpu_drop(&c);
		cpu_drop(&c1);
	}
	floats_drop(x, (size_t)N * K);
	a.n = N;
	acts_drop(&a);
	weight_drop(&w);
}

static void test_gemm__swiglu(void **state)
{
	enum { N = 17, K = 96, FF = 300 };
	struct weight gate = weight_make(QUANT_F32, K, FF, false), up = weight_make(QUANT_F32, K, FF, true);
	struct weight eye = weight_make(QUANT_F32, FF, FF, false);
	float *x = floats((size_t)N * K), *y = malloc((size_t)N * FF * sizeof *y);
	struct acts a = acts_make(N, K), hidden = acts_make(N, FF);
	double *g = malloc((size_t)N * FF * sizeof *g), *u = malloc((size_t)N * FF * sizeof *u);

	(void)state;
	for (size_t i = 0; i < (size_t)FF * FF; i++) /* unpacks what swiglu packed */
		((float *)(uintptr_t)eye.data)[i] = i % (FF + 1) == 0 ? 1.0f : 0.0f;
	reference(&gate, x, N, NULL, g);
	reference(&up, x, N, NULL, u);
	for (size_t i = 0; i < 3; i++) {
		struct cpu c = cpu_make(isas[i], 2, false, N, FF);
		const struct gemm_out out = {&eye, y, FF, false};
		if (!c.k)
			continue;
		gemm_pack(&c, GEMM_F32, x, K, NULL, 0.0f, &a);
		gemm_swiglu(&c, &a, &gate, &up, hidden.f32, NULL);
		gemm_run(&c, &hidden, &out, 1);
		for (size_t k = 0; k < (size_t)N * FF; k++)
			assert_true(fabs((double)y[k] - g[k] / (1.0 + exp(-g[k])) * u[k]) < 2e-5 * (1.0 + fabs(g[k] * u[k])));
		gemm_swiglu(&c, &a, &gate, &up, NULL, hidden.f32); /* as rows */
		assert_memory_equal(hidden.f32, y, (size_t)N * FF * sizeof *y);
		cpu_drop(&c);
	}
	floats_drop(x, (size_t)N * K);
	acts_drop(&a);
	acts_drop(&hidden);
	free(y);
	free(g);
	free(u);
	weight_drop(&gate);
	weight_drop(&up);
	weight_drop(&eye);
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

static void test_kernels__rms_norm(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		const struct cpu_kernels *k = cpu_kernels_named(isas[i]);
		for (size_t n = 1; k && n < 70; n += 3) {
			float *x = floats(n), *w = floats(n), *out = floats(n);
			double sum = 0.0;
			for (size_t j = 0; j < n; j++)
				sum += (double)x[j] * (double)x[j];
			k->rms_norm(x, w, 0.01f, n, out);
			for (size_t j = 0; j < n; j++)
				assert_true(fabs((double)out[j] - (double)x[j] * (double)w[j] / sqrt(sum / (double)n + 0.01)) < 2e-6);
			floats_drop(x, n);
			floats_drop(w, n);
			floats_drop(out, n);
		}
	}
}

static void test_kernels__silu_extremes(void **state)
{
	float up[5] = {1, 1, 1, 1, 1};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		const struct cpu_kernels *k = cpu_kernels_named(isas[i]);
		float g[5] = {-1000.0f, 1000.0f, 0.0f, NAN, -20.0f};
		if (!k)
			continue;
		k->silu_mul(g, up, 5);
		assert_true(fabsf(g[0]) < 1e-30f && g[1] == 1000.0f && g[2] == 0.0f && isnan(g[3]));
		assert_true(fabs((double)g[4] + 20.0 / (1.0 + exp(20.0))) < 1e-13);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pool__each_item_once),   cmocka_unit_test(test_gemm__plain_formats),
		cmocka_unit_test(test_gemm__block_formats),    cmocka_unit_test(test_gemm__block_formats_in_integers),
		cmocka_unit_test(test_gemm__integers_do_not_overflow), cmocka_unit_test(test_gemm__integers_keep_nan),
		cmocka_unit_test(test_gemm__deterministic),
		cmocka_unit_test(test_gemm__swiglu),           cmocka_unit_test(test_kernels__rms_norm),
		cmocka_unit_test(test_kernels__silu_extremes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
