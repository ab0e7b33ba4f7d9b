#include "tests/unit/unit.h"

#include "orchestrator/stats.h"
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
		cmocka_unit_test(test_stats__nan_is_left_out),
		cmocka_unit_test(test_stats__exponent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
