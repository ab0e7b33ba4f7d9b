#include "tests/unit/unit.h"
#include "engine/cpu/kernels.h"
#include "engine/quant.h"
#include "tests/unit/guarded.h"
#include <math.h>
#include <string.h>

struct shape {
	int n, pos0, n_head, n_head_kv, head_dim;
	bool half;
};

/* n and pos0 on and off the tiles of 16, 32 and 64; MHA, GQA, MQA; head dimensions on and off whole vectors. */
static const struct shape shapes[] = {
	{1, 0, 1, 1, 64, false},   {1, 100, 4, 2, 64, false},  {5, 0, 2, 2, 8, false},     {64, 0, 4, 4, 64, false},
	{65, 0, 4, 1, 64, false},  {33, 31, 8, 2, 128, false}, {70, 130, 3, 3, 80, false}, {200, 0, 2, 1, 16, false},
	{31, 63, 6, 3, 100, true}, {150, 7, 4, 2, 64, true},   {17, 64, 2, 1, 256, false}, {3, 500, 130, 1, 24, true},
};

struct data {
	struct attn_job job;
	float *q, *out;
	void *k, *v;
	size_t n_q, n_kv;
};

static uint32_t seed = 1;

static float next_float(void)
{
	seed = seed * 1664525u + 1013904223u;
	return (float)(int32_t)seed / 1073741824.0f;
}

static void *fill_kv(size_t n, bool half)
{
	void *at = guarded_alloc(n * (half ? 2 : 4));

	for (size_t i = 0; i < n; i++) {
		if (half)
			((uint16_t *)at)[i] = quant_f32_to_f16(next_float());
		else
			((float *)at)[i] = next_float();
	}
	return at;
}

static struct data make(const struct shape *s)
{
	size_t rows = (size_t)(s->pos0 + s->n);
	struct data d = {.n_q = (size_t)(s->n * s->n_head * s->head_dim), .n_kv = (size_t)(s->n_head_kv * s->head_dim) * rows};

	d.q = guarded_alloc(d.n_q * sizeof(float));
	d.out = guarded_alloc(d.n_q * sizeof(float));
	for (size_t i = 0; i < d.n_q; i++)
		d.q[i] = 3.0f * next_float();
	d.k = fill_kv(d.n_kv, s->half);
	d.v = fill_kv(d.n_kv, s->half);
	d.job = (struct attn_job){.q = d.q, .out = d.out, .k = d.k, .v = d.v, .half = s->half, .kv_rows = rows, .n = s->n,
				  .pos0 = s->pos0, .n_head = s->n_head, .n_head_kv = s->n_head_kv, .head_dim = s->head_dim,
				  .scale = 1.0f / sqrtf((float)s->head_dim)};
	return d;
}

static void drop(struct data *d)
{
	size_t kv_bytes = d->n_kv * (d->job.half ? 2 : 4);

	guarded_free(d->q, d->n_q * sizeof(float));
	guarded_free(d->out, d->n_q * sizeof(float));
	guarded_free(d->k, kv_bytes);
	guarded_free(d->v, kv_bytes);
}

/* Poisons output and scratch first, so that what is not written shows. */
static void run(const struct attn_impl *impl, const struct attn_job *job, float *out)
{
	struct attn_job j = *job;
	size_t bytes = impl->scratch_bytes(job), n = (size_t)(job->n * job->n_head * job->head_dim);
	void *scratch = guarded_alloc((bytes + 63) / 64 * 64);

	memset(scratch, 0xff, bytes);
	for (size_t i = 0; i < n; i++)
		out[i] = NAN;
	j.out = out;
	for (int64_t task = 0; task < impl->n_tasks(&j); task++)
		impl->task(&j, task, scratch);
	guarded_free(scratch, (bytes + 63) / 64 * 64);
}

static const struct cpu_kernels *isa(size_t i)
{
	static const char *const names[] = {"generic", "avx2", "avx512"};
	return i < 3 ? cpu_kernels_named(names[i]) : NULL;
}

/* The largest error seen over all shapes and implementations is 3e-6 (scores reach 50); values are up to 2. */
static void test_attn__agrees_with_float64(void **state)
{
	(void)state;
	for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
		struct data d = make(&shapes[s]);
		size_t n = (size_t)(d.job.n * d.job.n_head * d.job.head_dim);
		float *want = malloc(n * sizeof *want);
		run(cpu_kernels_named("generic")->attn[ATTN_reference], &d.job, want);
		for (size_t i = 0; i < 3; i++) {
			for (int a = 0; isa(i) && a < ATTN_COUNT; a++) {
				float worst = 0.0f;
				run(isa(i)->attn[a], &d.job, d.out);
				for (size_t k = 0; k < n; k++)
					worst = fabsf(d.out[k] - want[k]) <= worst ? worst : fabsf(d.out[k] - want[k]);
				if (!(worst < 1e-5f))
					fail_msg("%s %s, shape %zu: error %g", isa(i)->name, attn_name(a), s, (double)worst);
			}
		}
		free(want);
		drop(&d);
	}
}

/* The reference itself, against sums written out for two keys. */
static void test_attn__reference_by_hand(void **state)
{
	const float q[2] = {0.0f, 1.0f}, k[2] = {5.0f, 2.0f}, v[2] = {10.0f, 20.0f};
	float out[2];
	struct attn_job job = {.q = q, .out = out, .k = k, .v = v, .kv_rows = 2, .n = 2, .n_head = 1, .n_head_kv = 1,
			       .head_dim = 1, .scale = 0.5f};

	(void)state;
	run(cpu_kernels_named("generic")->attn[ATTN_reference], &job, out);
	assert_true(out[0] == 10.0f); /* sees itself only */
	double p0 = 1.0 / (1.0 + exp(0.5 * (2.0 - 5.0)));
	assert_true(fabs((double)out[1] - (10.0 * p0 + 20.0 * (1.0 - p0))) < 1e-6);
}

/* A row's bits must not depend on the rows beside it: what deterministic mode rests on. */
static void test_attn__rows_are_independent(void **state)
{
	const struct shape whole = {100, 29, 4, 2, 64, false};
	static const int cuts[] = {1, 7, 32, 64};
	struct data d = make(&whole);
	size_t row = (size_t)(whole.n_head * whole.head_dim);
	float *parts = malloc(row * (size_t)whole.n * sizeof *parts);

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		for (int a = 0; isa(i) && a < ATTN_COUNT; a++) {
			run(isa(i)->attn[a], &d.job, d.out);
			for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
				for (int at = 0; at < whole.n; at += cuts[c]) {
					struct attn_job j = d.job;
					j.n = whole.n - at < cuts[c] ? whole.n - at : cuts[c];
					j.pos0 += at;
					j.q += (size_t)at * row;
					run(isa(i)->attn[a], &j, parts + (size_t)at * row);
				}
				assert_memory_equal(parts, d.out, row * (size_t)whole.n * sizeof *parts);
			}
		}
	}
	free(parts);
	drop(&d);
}

/* Scores of +-3000: an exponential without the running maximum would overflow. */
static void test_attn__large_scores(void **state)
{
	const struct shape s = {40, 0, 2, 2, 16, false};
	struct data d = make(&s);

	(void)state;
	for (int i = 0; i < s.n * s.n_head * s.head_dim; i++)
		d.q[i] *= 1000.0f;
	for (size_t i = 0; i < 3; i++)
		for (int a = 0; isa(i) && a < ATTN_COUNT; a++) {
			run(isa(i)->attn[a], &d.job, d.out);
			for (int k = 0; k < s.n * s.n_head * s.head_dim; k++)
				assert_true(fabsf(d.out[k]) <= 2.0f);
		}
	drop(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attn__agrees_with_float64),
		cmocka_unit_test(test_attn__reference_by_hand),
		cmocka_unit_test(test_attn__rows_are_independent),
		cmocka_unit_test(test_attn__large_scores),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
