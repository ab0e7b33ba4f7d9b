#include "tests/unit/unit.h"

#include "orchestrator/control/eta.h"
#include <math.h>

static bool near(double a, double b)
{
	return fabs(a - b) <= 1e-6 * fabs(b);
}

static void test_eta__mean_of_what_ran(void **state)
{
	struct eta *t = eta_create(2);
	bool measured;

	(void)state;
	assert_true(isnan(eta_expect(t, 0, 4096, &measured)));
	assert_false(measured);
	eta_add(t, 0, 4096, 20, false);
	eta_add(t, 0, 4096, 30, false);
	eta_add(t, 0, 4096, NAN, false);
	assert_true(near(eta_expect(t, 0, 4096, &measured), 25));
	assert_true(measured);
	/* Another variant at the same context is the next best guess. */
	assert_true(near(eta_expect(t, 1, 4096, &measured), 25));
	assert_false(measured);
	eta_destroy(t);
}

static void test_eta__own_runs_replace_history(void **state)
{
	struct eta *t = eta_create(1);
	bool measured;

	(void)state;
	eta_add(t, 0, 4096, 100, true);
	assert_true(near(eta_expect(t, 0, 4096, &measured), 100));
	assert_false(measured);
	eta_add(t, 0, 4096, 10, false);
	eta_add(t, 0, 4096, 1000, true);
	assert_true(near(eta_expect(t, 0, 4096, &measured), 10));
	assert_true(measured);
	eta_destroy(t);
}

/* t = 2 n + 3 n^2, seen at two contexts, predicted at a third; and curves that are only one of the two. */
static void test_eta__curve(void **state)
{
	const struct {
		double a, b;
	} curves[] = {{2, 3}, {5, 0}, {0, 0.25}};
	bool measured;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct eta *t = eta_create(1);

		for (int n = 1; n <= 2; n++)
			eta_add(t, 0, n, curves[i].a * n + curves[i].b * n * n, false);
		assert_true(near(eta_expect(t, 0, 8, &measured), curves[i].a * 8 + curves[i].b * 64));
		assert_false(measured);
		eta_destroy(t);
	}
}

/* Falling times fit neither; the estimate stays finite and not negative. */
static void test_eta__curve_of_nonsense(void **state)
{
	struct eta *t = eta_create(1);
	bool measured;
	double s;

	(void)state;
	eta_add(t, 0, 1000, 50, false);
	eta_add(t, 0, 2000, 10, false);
	eta_add(t, 0, 4000, 1, false);
	s = eta_expect(t, 0, 8000, &measured);
	assert_true(isfinite(s) && s >= 0);
	eta_destroy(t);
}

static void test_eta__one_queue(void **state)
{
	double jobs[] = {4, 4, 1, 1};
	struct eta_queue q = {.job_s = jobs, .n_jobs = 4}, other = {.n_jobs = 0};
	struct eta_slot slots[] = {{5, NULL}, {0, NULL}, {1, NULL}}, one = {0, NULL}, busy = {7, &other};

	(void)state;
	/* 0+4=4, 1+4=5, then 4+1=5, then one of the 5s + 1. */
	eta_share(slots, 3, &q, 1);
	assert_true(near(q.end_s, 6));
	q.n_begun = 0;
	eta_share(&one, 1, &q, 1);
	assert_true(near(q.end_s, 10));
	eta_share(&busy, 1, &other, 1);
	assert_true(near(other.end_s, 7)); /* what runs is the last */
	q.n_begun = 0;
	eta_share(NULL, 0, &q, 1);
	assert_true(isnan(q.end_s));
}

static void test_eta__queues_share(void **state)
{
	double jobs[] = {1, 1, 1, 1, 1, 1, 1, 1};
	struct eta_queue q[] = {{.job_s = jobs, .n_jobs = 8}, {.job_s = jobs, .n_jobs = 4}, {.job_s = jobs, .n_jobs = 2, .priority = 1}};
	struct eta_slot slots[] = {{0, NULL}, {0, NULL}};

	(void)state;
	/* 0 to 1: the urgent one; 1 to 5: one slot each; from 5: four that are left, on both. */
	eta_share(slots, 2, q, 3);
	assert_true(near(q[2].end_s, 1));
	assert_true(near(q[1].end_s, 5));
	assert_true(near(q[0].end_s, 7));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eta__mean_of_what_ran),
		cmocka_unit_test(test_eta__own_runs_replace_history),
		cmocka_unit_test(test_eta__curve),
		cmocka_unit_test(test_eta__curve_of_nonsense),
		cmocka_unit_test(test_eta__one_queue),
		cmocka_unit_test(test_eta__queues_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
