/* gpu_bench: the kernels by themselves on the GPU that is there, at the shapes of Llama-2-7B, on normal random values
 * (zeros run faster). Each figure is the median of timed launches that fill at least the given time, after a warm-up.
 *
 *	gpu_bench [SECONDS [CONTEXT...]]      0.5 s and 4096 8192 16384 by default
 */
#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "kernels/gpu.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS = 32, HEAD_DIM = 128, EMBD = HEADS * HEAD_DIM, FF = 11008, LAYERS = 32, MAX_TIMES = 4096, MAX_CTX = 8 };

static struct greta_gpu *gpu;
static double least_s = 0.5;

static void die(const struct greta_err *e)
{
	fprintf(stderr, "gpu_bench: %s\n", e->text);
	exit(1);
}

static uint64_t state = 1;

static float normal(void)
{
	float sum = 0; /* twelve uniforms: fast, and normal enough to fill a mantissa */

	for (int i = 0; i < 12; i++) {
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		sum += (float)(state >> 40) / (float)(1 << 24);
	}
	return sum - 6;
}

/* n elements on the device; a block of 1 Mi random ones repeated. */
static uint16_t *elements(size_t n, float scale)
{
	enum { BLOCK = 1 << 20 };
	static _Float16 block[BLOCK];
	struct greta_err e = { 0 };
	uint16_t *p = greta_gpu_alloc(gpu, n * 2, "bench data", &e);

	if (!p)
		die(&e);
	for (size_t i = 0; i < BLOCK; i++)
		block[i] = (_Float16)(normal() * scale);
	for (size_t at = 0; at < n; at += BLOCK)
		if (greta_gpu_upload(gpu, p + at, block, (n - at < BLOCK ? n - at : BLOCK) * 2, &e))
			die(&e);
	return p;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Median seconds of one call of fn. */
static double timed(int (*fn)(void *arg, struct greta_err *e), void *arg)
{
	static double times[MAX_TIMES];
	struct greta_err e = { 0 };
	double total = 0;
	int n = 0;

	if (fn(arg, &e) || greta_gpu_sync(gpu, &e))
		die(&e);
	while ((total < least_s || n < 3) && n < MAX_TIMES) {
		if (greta_gpu_mark(gpu, 0, &e) || fn(arg, &e) || greta_gpu_mark(gpu, 1, &e) ||
		    greta_gpu_seconds(gpu, 0, 1, &times[n], &e))
			die(&e);
		total += times[n++];
	}
	qsort(times, (size_t)n, sizeof *times, by_value);
	return times[n / 2];
}

struct attn_case {
	enum greta_attn_rung rung;
	struct attn_args a;
};

static int attn_call(void *arg, struct greta_err *e)
{
	const struct attn_case *c = arg;

	return greta_gpu_attn(gpu, c->rung, GRETA_GPU_F16, &c->a, e);
}

static void bench_attention(int n)
{
	size_t size = (size_t)n * EMBD;
	uint16_t *q = elements(size, 1), *k = elements(size, 1), *v = elements(size, 1), *o = elements(size, 1);
	double flops = 2.0 * n * n * EMBD; /* 4 n^2 d a head, half of it masked */

	for (int r = 0; r < GRETA_ATTN_N_RUNGS; r++) {
		struct attn_case c = {
			.rung = (enum greta_attn_rung)r,
			.a = { .q = q, .k = k, .v = v, .o = o, .q_stride = EMBD, .kv_stride = EMBD, .o_stride = EMBD, .n = n,
			       .n_heads = HEADS, .n_kv_heads = HEADS, .head_dim = HEAD_DIM,
			       .scale_log2 = 1.44269504f / sqrtf(HEAD_DIM) },
		};
		double s;

		if (n > 16384 && r < GRETA_ATTN_FLASH_MMA) { /* minutes, to learn that they are quadratic */
			printf("attn %-16s n=%-6d skipped\n", greta_attn_name(c.rung), n);
			continue;
		}
		s = timed(attn_call, &c);
		printf("attn %-16s n=%-6d %10.3f ms %8.1f TFLOP/s\n", greta_attn_name(c.rung), n, s * 1e3, flops / s / 1e12);
		fflush(stdout);
	}
	greta_gpu_free(gpu, q);
	greta_gpu_free(gpu, k);
	greta_gpu_free(gpu, v);
	greta_gpu_free(gpu, o);
}

struct decode_case {
	struct attn_args a;
	size_t layer;  /* elements of K, or V, of one */
	float *parts;  /* NULL: by the highest rung */
};

/* All layers in turn, so that K and V come from memory and not from a cache. */
static int decode_call(void *arg, struct greta_err *e)
{
	const struct decode_case *c = arg;

	for (size_t i = 0; i < LAYERS; i++) {
		struct attn_args a = c->a;

		a.k += i * c->layer;
		a.v += i * c->layer;
		if (c->parts ? greta_gpu_attn_decode(gpu, GRETA_GPU_F16, &a, c->parts, e)
			     : greta_gpu_attn(gpu, GRETA_ATTN_FLASH_MMA_V2, GRETA_GPU_F16, &a, e))
			return -1;
	}
	return 0;
}

/* One token behind n - 1 others. */
static void bench_decode(int n)
{
	struct greta_err e = { 0 };
	size_t layer = (size_t)n * EMBD;
	uint16_t *q = elements(EMBD, 1), *o = elements(EMBD, 1), *k = elements(layer * LAYERS, 1), *v = elements(layer * LAYERS, 1);
	struct decode_case c = {
		.a = { .q = q, .k = k, .v = v, .o = o, .q_stride = EMBD, .kv_stride = EMBD, .o_stride = EMBD, .n = 1, .pos0 = n - 1,
		       .n_heads = HEADS, .n_kv_heads = HEADS, .head_dim = HEAD_DIM, .scale_log2 = 1.44269504f / sqrtf(HEAD_DIM) },
		.layer = layer,
	};
	float *parts = greta_gpu_alloc(gpu, greta_attn_decode_bytes(HEADS, HEAD_DIM), "parts", &e);

	if (!parts)
		die(&e);
	for (int split = 0; split < 2; split++) {
		double s;

		c.parts = split ? parts : NULL;
		s = timed(decode_call, &c);
		printf("decode %-14s n=%-6d %10.2f us a layer %8.0f GB/s of K and V\n", split ? "flash_decode" : "flash_mma_v2", n,
		       s * 1e6 / LAYERS, 4.0 * (double)layer * LAYERS / s / 1e9);
	}
	fflush(stdout);
	greta_gpu_free(gpu, q);
	greta_gpu_free(gpu, k);
	greta_gpu_free(gpu, v);
	greta_gpu_free(gpu, o);
	greta_gpu_free(gpu, parts);
}

static int gemm_call(void *arg, struct greta_err *e)
{
	return greta_gpu_gemm(gpu, GRETA_GPU_F16, arg, e);
}

static void bench_gemm(const char *which, const char *name, int m, int n, int k, enum gemm_out out)
{
	struct greta_err e = { 0 };
	uint16_t *x = elements((size_t)m * (size_t)k, 0.1f), *w = elements((size_t)n * (size_t)k, 0.02f);
	void *c = elements((size_t)m * (size_t)n * 2, 1);
	struct gemm_args a = { .x = x, .w = w, .c = c, .ldx = k, .ldw = k, .ldc = n, .m = m, .n = n, .k = k, .out = out };
	double s;

	if (greta_gpu_gemm_start(gpu, which, &e)) {
		printf("gemm %s: %s\n", which, e.text);
	} else {
		s = timed(gemm_call, &a);
		printf("gemm %-8s %-8s %dx%dx%d %10.3f ms %8.1f TFLOP/s %7.0f GB/s of W\n", greta_gpu_gemm_name(gpu), name, m, n, k,
		       s * 1e3, 2.0 * m * n * k / s / 1e12, 2.0 * n * k / s / 1e9);
	}
	fflush(stdout);
	greta_gpu_free(gpu, x);
	greta_gpu_free(gpu, w);
	greta_gpu_free(gpu, c);
}

static int norm_call(void *arg, struct greta_err *e)
{
	return greta_gpu_norm(gpu, GRETA_GPU_F16, arg, 4096, e);
}

static int rope_call(void *arg, struct greta_err *e)
{
	return greta_gpu_rope(gpu, GRETA_GPU_F16, arg, 4096, e);
}

static int swiglu_call(void *arg, struct greta_err *e)
{
	return greta_gpu_swiglu(gpu, GRETA_GPU_F16, arg, 4096, e);
}

static void report(const char *name, double s, double bytes)
{
	printf("rows %-8s 4096 tokens %10.3f ms %8.0f GB/s\n", name, s * 1e3, bytes / s / 1e9);
	fflush(stdout);
}

static void bench_rows(void)
{
	const double n = 4096;
	uint16_t *wide = elements((size_t)(n * 2 * FF), 1), *out = elements((size_t)(n * 2 * FF), 1);
	float *x = (float *)(void *)elements((size_t)(n * EMBD * 2), 1);
	uint16_t *k = elements((size_t)(n * EMBD), 1), *v = elements((size_t)(n * EMBD), 1);
	struct norm_args norm = { .x = x, .w = x, .y = out, .ldx = EMBD, .ldy = EMBD, .n_embd = EMBD, .n_pad = EMBD, .eps = 1e-5f };
	struct rope_args rope = { .qkv = wide, .table = x, .q = out, .k = k, .v = v, .ld_qkv = 3 * EMBD, .ldq = EMBD,
				  .ld_kv = EMBD, .n_heads = HEADS, .n_kv_heads = HEADS, .head_dim = HEAD_DIM, .n_rot = HEAD_DIM };
	struct swiglu_args swiglu = { .gu = wide, .h = out, .ld_gu = 2 * FF, .ldh = FF, .n_ff = FF, .n_pad = FF };

	report("norm", timed(norm_call, &norm), n * EMBD * (4 + 2));
	report("rope", timed(rope_call, &rope), n * EMBD * 3 * 4 + n * HEAD_DIM * 4);
	report("swiglu", timed(swiglu_call, &swiglu), n * FF * 6);
	greta_gpu_free(gpu, wide);
	greta_gpu_free(gpu, out);
	greta_gpu_free(gpu, x);
	greta_gpu_free(gpu, k);
	greta_gpu_free(gpu, v);
}

int main(int argc, char **argv)
{
	int ctx[MAX_CTX] = { 4096, 8192, 16384 }, n_ctx = 3;
	struct greta_err e = { 0 };
	int64_t x;

	if (argc > 1 && greta_str_f64(argv[1], &least_s)) {
		fprintf(stderr, "usage: gpu_bench [SECONDS [CONTEXT...]]\n");
		return 2;
	}
	for (int i = 2; i < argc && i - 2 < MAX_CTX; i++)
		if (greta_str_i64(argv[i], &x) == 0)
			ctx[(n_ctx = i - 1) - 1] = (int)x;
	if (greta_gpu_open(&gpu, NULL, &e))
		die(&e);
	printf("%s, %d units, %s\n", greta_gpu_info(gpu)->name, greta_gpu_info(gpu)->n_units, greta_gpu_info(gpu)->driver);
	for (int i = 0; i < n_ctx; i++) {
		bench_attention(ctx[i]);
		bench_decode(ctx[i]);
	}
	for (int i = 0; i < 2; i++) {
		const char *which = i ? "own" : "library";

		bench_gemm(which, "ceiling", 8192, 8192, 8192, GEMM_OUT_ELEMENT);
		bench_gemm(which, "qkv", 4096, 3 * EMBD, EMBD, GEMM_OUT_ELEMENT);
		bench_gemm(which, "o", 4096, EMBD, EMBD, GEMM_OUT_ADD_F32);
		bench_gemm(which, "gate_up", 4096, 2 * FF, EMBD, GEMM_OUT_ELEMENT);
		bench_gemm(which, "down", 4096, EMBD, FF, GEMM_OUT_ADD_F32);
	}
	bench_gemm("own", "decode", 1, 2 * FF, EMBD, GEMM_OUT_ELEMENT);
	bench_rows();
	greta_gpu_close(gpu);
	return 0;
}
