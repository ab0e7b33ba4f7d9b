#include "tests/unit/unit.h"

#include "orchestrator/analysis/stats.h"
#include "tests/fixtures/statistics/scipy_reference.h"
#include <math.h>

static struct stats_median median_of(const double *x, size_t n)
{
	struct stats_sample s = {0};
	for (size_t i = 0; i < n; i++)
		stats_add(&s, x[i]);
	struct stats_median m = stats_median(&s);
	stats_release(&s);
	return m;
}

static void test_stats__median_and_interval(void **state)
{
	(void)state;
	static const double x[] = {5, 1, 4, 2, 3, 10, 7, 8, 9, 6};
	struct stats_median m = median_of(x, 10);
	assert_int_equal(m.n, 10);
	assert_true(m.median == 5.5 && m.min == 1 && m.max == 10);
	/* Conover's table: for n = 10 the interval from the 2nd to the 9th value covers the median with 0.9785. */
	assert_true(m.low == 2 && m.high == 9);
	assert_true(fabs(m.level - 0.978515625) < 1e-9);
}

static void test_stats__few_samples_say_what_they_cover(void **state)
{
	(void)state;
	static const double x[] = {3, 1, 2};
	struct stats_median m = median_of(x, 3);
	assert_true(m.low == 1 && m.high == 3);
	assert_true(fabs(m.level - 0.75) < 1e-12);
	m = median_of(x, 1);
	assert_true(m.median == 3 && isnan(m.low) && isnan(m.level));
	m = median_of(x, 0);
	assert_true(isnan(m.median));
}

static void interval_of(size_t n, const double expected[2])
{
	double x[100];
	for (size_t i = 0; i < n; i++)
		x[i] = (double)(i * 37 % n); /* every place once, mixed */
	struct stats_median m = median_of(x, n);
	assert_true(m.low == expected[0] && m.high == (double)n - 1 - expected[0]);
	assert_true(fabs(m.level - expected[1]) < 1e-12);
}

static void test_stats__intervals_as_scipy_has_them(void **state)
{
	(void)state;
	interval_of(3, median_of_3);
	interval_of(6, median_of_6);
	interval_of(10, median_of_10);
	interval_of(25, median_of_25);
	interval_of(100, median_of_100);
}

/* Five standard deviations of a count of 40,000 draws. */
static void draw_medians(const gsl_rng *rng, size_t n, const double expected[2])
{
	const struct stats_sample sorted = {(double *)(uintptr_t)draws, sizeof draws / sizeof *draws, 0};
	double below[2] = {0};
	for (size_t i = 0; i < 40000; i++) {
		double m = stats_draw_median(rng, &sorted, n);
		below[0] += m <= draws[2];
		below[1] += m <= draws[4];
	}
	for (size_t i = 0; i < 2; i++)
		if (fabs(below[i] / 40000 - expected[i]) > 5 * sqrt(expected[i] * (1 - expected[i]) / 40000))
			fail_msg("medians of %zu: %g of them, %g expected", n, below[i] / 40000, expected[i]);
}

static void test_stats__medians_are_drawn_as_often_as_they_come(void **state)
{
	(void)state;
	gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
	draw_medians(rng, 1, draws_1);
	draw_medians(rng, 2, draws_2);
	draw_medians(rng, 4, draws_4);
	draw_medians(rng, 5, draws_5);
	draw_medians(rng, 25, draws_25);
	gsl_rng_free(rng);
}

static void test_stats__nan_is_left_out(void **state)
{
	(void)state;
	static const double x[] = {1, NAN, 3};
	assert_int_equal(median_of(x, 3).n, 2);
}

static void test_stats__exponent(void **state)
{
	(void)state;
	assert_true(fabs(stats_exponent(4096, 22.7681, 8192, 114.265) - 2.327) < 1e-3);
	assert_true(isnan(stats_exponent(4096, 0, 8192, 1)));
	assert_true(isnan(stats_exponent(4096, 1, 4096, 1)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stats__median_and_interval),
		cmocka_unit_test(test_stats__few_samples_say_what_they_cover),
		cmocka_unit_test(test_stats__intervals_as_scipy_has_them),
		cmocka_unit_test(test_stats__medians_are_drawn_as_often_as_they_come),
		cmocka_unit_test(test_stats__nan_is_left_out),
		cmocka_unit_test(test_stats__exponent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
