/* Matrix products: the own kernel, and the library where there is one, against float64; shapes that fill no tile, rows with
 * gaps, every kind of result. Inputs fresh each run, outputs poisoned. On a machine with a GPU, run by hand without ROCM_PATH,
 * it tests that GPU. */
#include "tests/kernels/elements.h"

#include "base/buf.h"
#include "base/clock.h"

static struct greta_gpu *gpu;

struct problem {
	int m, n, k;
	enum greta_gpu_dtype t;
	enum gemm_out out;
};

enum { GAP_C = 6 };

static double result(const struct problem *p, const void *c, size_t at)
{
	return p->out == GEMM_OUT_ELEMENT ? value(p->t, ((const uint16_t *)c)[at]) : (double)((const float *)c)[at];
}

/* The largest error relative to the root of the sum of squares of the products; gaps must be as they were. */
static double worst(const struct problem *p, const uint16_t *x, const uint16_t *w, const void *before, const void *c)
{
	const size_t ldx = (size_t)p->k + 8, ldw = (size_t)p->k, ldc = (size_t)p->n + GAP_C;
	const size_t size = p->out == GEMM_OUT_ELEMENT ? 2 : 4;
	double most = 0;

	for (size_t i = 0; i < (size_t)p->m; i++) {
		for (size_t j = 0; j < (size_t)p->n; j++) {
			double sum = 0, squares = 0;

			for (size_t k = 0; k < (size_t)p->k; k++) {
				double y = value(p->t, x[i * ldx + k]) * value(p->t, w[j * ldw + k]);

				sum += y;
				squares += y * y;
			}
			if (p->out == GEMM_OUT_ADD_F32)
				sum += (double)((const float *)before)[i * ldc + j];
			double off = fabs(result(p, c, i * ldc + j) - sum) / sqrt(squares + sum * sum);

			most = off <= most ? most : off; /* and a NaN */
		}
		if (i + 1 < (size_t)p->m)
			assert_memory_equal((const char *)c + (i * ldc + (size_t)p->n) * size,
					    (const char *)before + (i * ldc + (size_t)p->n) * size, GAP_C * size);
	}
	return most;
}

/* The largest error; twice, for the same bits. */
static double run(const struct problem *p)
{
	const size_t nx = (size_t)p->m * ((size_t)p->k + 8), nw = (size_t)p->n * (size_t)p->k;
	const size_t bytes = (size_t)p->m * ((size_t)p->n + GAP_C) * (p->out == GEMM_OUT_ELEMENT ? 2 : 4);
	uint16_t *x = random_elements(nx, p->t), *w = random_elements(nw, p->t);
	char *before = greta_alloc(bytes), *c[2] = { greta_alloc(bytes), greta_alloc(bytes) };
	struct gemm_args a = { .ldx = p->k + 8, .ldw = p->k, .ldc = p->n + GAP_C, .m = p->m, .n = p->n, .k = p->k, .out = p->out };
	void *on_x = uploaded(gpu, x, nx * 2), *on_w = uploaded(gpu, w, nw * 2);
	struct greta_err e = { 0 };

	memset(before, 0xff, bytes); /* NaN, unless it counts */
	for (size_t i = 0; p->out == GEMM_OUT_ADD_F32 && i < bytes / 4; i++)
		((float *)(void *)before)[i] = normal();
	for (int i = 0; i < 2; i++) {
		a.x = on_x;
		a.w = on_w;
		a.c = uploaded(gpu, before, bytes);
		if (greta_gpu_gemm(gpu, p->t, &a, &e) || greta_gpu_download(gpu, c[i], a.c, bytes, &e))
			fail_msg("%s", e.text);
		greta_gpu_free(gpu, a.c);
	}
	assert_memory_equal(c[0], c[1], bytes);
	double most = worst(p, x, w, before, c[0]);

	greta_gpu_free(gpu, on_x);
	greta_gpu_free(gpu, on_w);
	free(x), free(w), free(before), free(c[0]), free(c[1]);
	return most;
}

static void all_products(const char *which)
{
	static const int shapes[][3] = { { 1, 300, 192 }, { 2, 5, 64 }, { 63, 130, 64 }, { 128, 128, 256 }, { 300, 257, 320 } };
	static const double limits[] = { [GRETA_GPU_F16] = 1e-3, [GRETA_GPU_BF16] = 8e-3 }; /* of rounding the result */
	struct greta_err e = { 0 };

	if (greta_gpu_gemm_start(gpu, which, &e)) {
		print_message("          skipped: %s\n", e.text);
		skip();
	}
	for (size_t i = 0; i < GRETA_COUNT(shapes); i++)
		for (int t = 0; t < 2; t++)
			for (int out = 0; out < 3; out++) {
				struct problem p = { shapes[i][0], shapes[i][1], shapes[i][2], (enum greta_gpu_dtype)t, (enum gemm_out)out };
				double limit = out == GEMM_OUT_ELEMENT ? limits[t] : 2e-5, off = run(&p);

				if (!(off <= limit))
					fail_msg("%d x %d x %d, %s, result %d: off by %.1e of %.1e", p.m, p.n, p.k,
						 greta_gpu_dtype_name(p.t), out, off, limit);
			}
}

static void test_gemm__own(void **state)
{
	(void)state;
	all_products("own");
}

static void test_gemm__library(void **state)
{
	(void)state;
	all_products("library");
}

static void test_gemm__refuses_what_it_cannot_do(void **state)
{
	const struct gemm_args a = { .ldx = 64, .ldw = 64, .ldc = 8, .m = 8, .n = 8, .k = 63 };
	struct greta_err e = { 0 };

	(void)state;
	assert_int_equal(greta_gpu_gemm(gpu, GRETA_GPU_F16, &a, &e), -1);
	assert_non_null(strstr(e.text, "k 63"));
	assert_int_equal(greta_gpu_gemm_start(gpu, "theirs", &e), -1);
}

static int setup(void **state)
{
	struct greta_err e = { 0 };

	(void)state;
	if (greta_gpu_open(&gpu, NULL, &e)) {
		print_message("%s\n", e.text);
		return -1;
	}
	seed = (uint64_t)greta_clock_wall_ns();
	print_message("%s; seed %llu\n", greta_gpu_info(gpu)->name, (unsigned long long)seed);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	greta_gpu_close(gpu);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gemm__own),
		cmocka_unit_test(test_gemm__library),
		cmocka_unit_test(test_gemm__refuses_what_it_cannot_do),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
