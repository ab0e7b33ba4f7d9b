#include "tests/unit/unit.h"

#include "base/mem.h"
#include "orchestrator/analysis/compare.h"
#include "orchestrator/analysis/twosample.h"
#include "tests/fixtures/statistics/scipy_reference.h"
#include <math.h>
#include <string.h>

/* Expected values are those of tests/fixtures/statistics/twosample.py. */

#define SAMPLE(...) (&(struct stats_sample){(double[]){__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}) / sizeof(double), 0})

static void near(double a, double b, double relative)
{
	if (!(fabs(a - b) <= relative * fabs(b)))
		fail_msg("%.15g is not %.15g", a, b);
}

static const struct stats_sample *const a5 = SAMPLE(1.00, 1.02, 0.99, 1.01, 1.03);
static const struct stats_sample *const b5 = SAMPLE(1.06, 1.04, 1.08, 1.05, 1.02);

static void test_twosample__mann_whitney_is_exact_with_ties(void **state)
{
	(void)state;
	near(twosample_mann_whitney(a5, b5), 1 / 42.0, 1e-12);
	near(twosample_mann_whitney(SAMPLE(1, 2, 3, 4, 5), SAMPLE(6, 7, 8, 9, 10)), 1 / 126.0, 1e-12);
	near(twosample_mann_whitney(SAMPLE(1, 2, 3), SAMPLE(4, 5, 6)), 0.1, 1e-12);
	near(twosample_mann_whitney(SAMPLE(1, 4, 6, 9, 2, 2), SAMPLE(3, 5, 7, 8)), 67 / 210.0, 1e-12);
	near(twosample_mann_whitney(SAMPLE(1, 1, 1), SAMPLE(1, 1)), 1, 0);
	near(twosample_mann_whitney(SAMPLE(1, 1, 1), &(struct stats_sample){0}), 1, 0);
}

#define GIVEN(x) (&(struct stats_sample){(double *)(uintptr_t)(x), sizeof(x) / sizeof *(x), 0})

static void compare_with_scipy(const struct stats_sample *a, const struct stats_sample *b, double mw_p, const double t_expected[3])
{
	near(twosample_mann_whitney(a, b), mw_p, 1e-9);
	near(twosample_mann_whitney(b, a), mw_p, 1e-9);
	struct twosample_t t = twosample_t(a, b, twosample_variance(a, b), 0.95);
	near(t.difference, t_expected[0], 1e-9);
	near(t.p, t_expected[1], 1e-9);
	near(t.half, t_expected[2], 1e-8);
}

static void test_twosample__as_scipy_has_it(void **state)
{
	(void)state;
	compare_with_scipy(GIVEN(mw_small_a), GIVEN(mw_small_b), mw_small_p[0], t_small);
	compare_with_scipy(GIVEN(mw_large_a), GIVEN(mw_large_b), mw_large_p[0], t_large);
	compare_with_scipy(GIVEN(mw_ties_a), GIVEN(mw_ties_b), mw_ties_p[0], t_ties);
}

/* Ties that a cut between ranks goes through, counted by hand: of the 15 choices of two out of six so many lie as far. */
static void test_twosample__ties_across_the_cut(void **state)
{
	(void)state;
	near(twosample_mann_whitney(SAMPLE(1, 2), SAMPLE(3, 3, 3, 3)), 1 / 15.0, 1e-12);
	near(twosample_mann_whitney(SAMPLE(3, 3, 3, 3), SAMPLE(1, 2)), 1 / 15.0, 1e-12);
	near(twosample_mann_whitney(SAMPLE(1, 3), SAMPLE(2, 3, 3, 3)), 11 / 15.0, 1e-12);
}

static void test_twosample__normal_approximation_joins_the_exact_one(void **state)
{
	(void)state;
	struct stats_sample a = {0}, b = {0};
	for (int i = 0; i < 25; i++) {
		stats_add(&a, 100 + (i * 37 % 25));
		stats_add(&b, 106 + (i * 11 % 25));
	}
	double exact = twosample_mann_whitney(&a, &b);
	stats_add(&a, 112);
	stats_add(&b, 118);
	near(twosample_mann_whitney(&a, &b), exact, 0.2); /* two runs more, and no longer exact */
	stats_release(&a);
	stats_release(&b);
}

static void test_twosample__hodges_lehmann(void **state)
{
	(void)state;
	struct twosample_ratio r = twosample_hodges_lehmann(a5, b5, 0.95);
	near(r.ratio, 1.03960396039604, 1e-12);
	near(r.low, 1.00970873786408, 1e-12);
	near(r.high, 1.07070707070707, 1e-12);
	near(r.reached, 0.968253968253968, 1e-12);
	r = twosample_hodges_lehmann(SAMPLE(1, 2, 3, 4), SAMPLE(5, 6, 7, 9), 0.95);
	near(r.ratio, 2.73861278752583, 1e-12);
	near(r.reached, 0.971428571428571, 1e-12);
	r = twosample_hodges_lehmann(SAMPLE(1, 2, 3), SAMPLE(5, 6, 7), 0.95);
	assert_true(fabs(r.low - 5 / 3.0) < 1e-12 && fabs(r.high - 7) < 1e-12);
	near(r.reached, 0.9, 1e-12); /* so few runs give no more */
}

static void test_twosample__prior_of_variances(void **state)
{
	(void)state;
	static const struct twosample_variance cells[] = {{1e-4, 8}, {4e-4, 8}, {2.5e-5, 8}, {9e-4, 6}, {1.5e-4, 4}, {5e-3, 8}};
	struct twosample_prior p = twosample_prior(cells, 6);
	near(p.var, 0.000140504468147, 1e-6);
	near(p.df, 1.34093008547, 1e-6);
	assert_true(p.pooled_df == 42);
	static const struct twosample_variance agree[] = {{1e-4, 8}, {1.1e-4, 8}, {0.9e-4, 8}};
	p = twosample_prior(agree, 3);
	near(p.var, 0.000113522013167, 1e-6);
	assert_true(isinf(p.df));
	assert_true(twosample_moderate(agree[0], p).df == 24);
	assert_true(twosample_prior(agree, 1).df == 0);
	near(twosample_moderate(agree[0], twosample_prior(agree, 1)).var, 1e-4, 0);
}

static void test_twosample__benjamini_hochberg(void **state)
{
	(void)state;
	double p[] = {0.01, NAN, 0.04, 0.03, 0.005};
	twosample_adjust(p, 5);
	near(p[0], 0.02, 1e-12);
	assert_true(isnan(p[1]));
	near(p[2], 0.04, 1e-12);
	near(p[3], 0.04, 1e-12);
	near(p[4], 0.02, 1e-12);
}

/* ---- verdicts */

static enum compare_verdict verdict_of(const struct stats_sample *a, const struct stats_sample *b, struct compare_cell *out)
{
	struct compare c = {0};
	struct compare_cell *cell = compare_cell(&c, "v", 4096);
	for (size_t i = 0; i < a->n; i++)
		stats_add(&cell->a, a->x[i]);
	for (size_t i = 0; i < b->n; i++)
		stats_add(&cell->b, b->x[i]);
	compare_judge(&c, COMPARE_THRESHOLD);
	struct compare_cell result = c.items[0];
	if (out)
		*out = result;
	compare_release(&c);
	return result.verdict;
}

static void test_compare__verdicts(void **state)
{
	(void)state;
	struct compare_cell cell;
	assert_int_equal(verdict_of(a5, SAMPLE(1.11, 1.12, 1.10, 1.13, 1.12), NULL), COMPARE_SLOWER);
	assert_int_equal(verdict_of(a5, SAMPLE(0.91, 0.92, 0.90, 0.93, 0.92), NULL), COMPARE_FASTER);
	assert_int_equal(verdict_of(SAMPLE(1, 1.001, 1.002, 0.999), SAMPLE(1.001, 1, 0.999, 1.002), NULL), COMPARE_SAME);
	assert_int_equal(verdict_of(a5, SAMPLE(1.01, 1.04, 1.00, 0.99, 1.03), &cell), COMPARE_CANT_TELL);
	assert_true(cell.more_runs > 10);
	assert_int_equal(verdict_of(a5, &(struct stats_sample){0}, NULL), COMPARE_MISSING);
}

static void test_compare__one_run_is_never_more_than_suspected(void **state)
{
	(void)state;
	assert_int_equal(verdict_of(SAMPLE(22.8), SAMPLE(178), NULL), COMPARE_SUSPECTED_SLOWER);
	assert_int_equal(verdict_of(a5, SAMPLE(8), NULL), COMPARE_SUSPECTED_SLOWER);
	assert_int_equal(verdict_of(a5, SAMPLE(0.2), NULL), COMPARE_SUSPECTED_FASTER);
	assert_int_equal(verdict_of(a5, SAMPLE(1.001), NULL), COMPARE_CANT_TELL);
}

static void test_compare__one_outlier_makes_no_verdict(void **state)
{
	(void)state;
	assert_int_not_equal(verdict_of(a5, SAMPLE(1.01, 1.02, 0.99, 1.00, 9.0), NULL), COMPARE_SLOWER);
}

static struct compare_cell judge_with_history(const double *before, size_t n)
{
	struct compare c = {0};
	struct compare_cell *cell = compare_cell(&c, "v", 4096);
	for (size_t i = 0; i < n; i++)
		stats_add(&cell->before, before[i]);
	for (size_t i = 0; i < 5; i++) {
		stats_add(&cell->a, 1 + 0.001 * (double)i);
		stats_add(&cell->b, 1.05 + 0.001 * (double)i);
	}
	compare_judge(&c, COMPARE_THRESHOLD);
	struct compare_cell judged = c.items[0];
	compare_release(&c);
	return judged;
}

/* What campaigns of history differ by among themselves can't be a finding. */
static void test_compare__noise_floor_of_history(void **state)
{
	(void)state;
	static const double before[] = {1.00, 1.06, 0.95, 1.08, 0.97, 1.04};
	struct compare_cell c = judge_with_history(before, GRETA_COUNT(before));
	assert_true(c.threshold > 0.05);
	assert_int_equal(c.verdict, COMPARE_SAME);
}

/* A shift that lies in history, as between these two sides, is the finding and not the noise. */
static void test_compare__a_shift_in_history_is_no_noise(void **state)
{
	(void)state;
	static const double before[] = {1.000, 1.001, 0.999, 1.002, 1.050, 1.051, 1.049, 1.050};
	struct compare_cell c = judge_with_history(before, GRETA_COUNT(before));
	assert_true(c.threshold < 0.02);
	assert_int_equal(c.verdict, COMPARE_SLOWER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_twosample__mann_whitney_is_exact_with_ties),
		cmocka_unit_test(test_twosample__as_scipy_has_it),
		cmocka_unit_test(test_twosample__ties_across_the_cut),
		cmocka_unit_test(test_twosample__normal_approximation_joins_the_exact_one),
		cmocka_unit_test(test_twosample__hodges_lehmann),
		cmocka_unit_test(test_twosample__prior_of_variances),
		cmocka_unit_test(test_twosample__benjamini_hochberg),
		cmocka_unit_test(test_compare__verdicts),
		cmocka_unit_test(test_compare__one_run_is_never_more_than_suspected),
		cmocka_unit_test(test_compare__one_outlier_makes_no_verdict),
		cmocka_unit_test(test_compare__noise_floor_of_history),
		cmocka_unit_test(test_compare__a_shift_in_history_is_no_noise),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
