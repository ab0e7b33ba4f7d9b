#include "tests/unit/unit.h"

#include "orchestrator/analysis/fit.h"
#include "tests/fixtures/statistics/scipy_reference.h"
#include <math.h>
#include <string.h>

#define MANY 8

/* Cells of so many runs each, at the given medians, the runs spread evenly around them by `spread`. */
struct curve {
	struct stats_sample runs[MANY];
	struct fit_cell cells[MANY];
	size_t n;
};

static void curve_add(struct curve *c, double n, double t, int n_runs, double spread)
{
	struct stats_sample *s = &c->runs[c->n];
	for (int i = 0; i < n_runs; i++)
		stats_add(s, t * (1 + spread * (n_runs > 1 ? 2.0 * i / (n_runs - 1) - 1 : 0)));
	c->cells[c->n++] = (struct fit_cell){n, s};
}

static void curve_release(struct curve *c)
{
	for (size_t i = 0; i < c->n; i++)
		stats_release(&c->runs[i]);
}

static void near(double a, double b, double relative)
{
	if (!(fabs(a - b) <= relative * fabs(b)))
		fail_msg("%.15g is not %.15g", a, b);
}

/* By tests/fixtures/statistics/fit.py: exact rational arithmetic. */
static void test_fit__reference_values(void **state)
{
	(void)state;
	static const struct {
		size_t n;
		double x[5], t[5], coef[FIT_TERMS];
	} cases[] = {
		{3, {4096, 8192, 16384}, {22.7681, 114.265, 469.749}, {0, 0, 1.56087612630457e-06}},
		{5, {512, 1024, 2048, 4096, 8192}, {0.31, 0.52, 1.07, 2.61, 8.02},
		 {0.147569927838644, 0.000277193829242802, 8.22286806436873e-08}},
		{4, {512, 1024, 2048, 4096}, {0.5, 0.9, 2.1, 3.9},
		 {0.0258089937447668, 0.000896279760072403, 1.7013290518758e-08}},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct curve c = {0};
		struct fit f;
		for (size_t k = 0; k < cases[i].n; k++)
			curve_add(&c, cases[i].x[k], cases[i].t[k], 1, 0);
		fit_make(c.cells, c.n, &f);
		for (int term = 0; term < FIT_TERMS; term++)
			near(f.coef[term], cases[i].coef[term], 1e-9);
		assert_true(f.has_interval);
		fit_release(&f);
		curve_release(&c);
	}
}

static void fits_as_scipy(const double *n, const double *t, size_t n_cells, const double *coef)
{
	struct curve c = {0};
	struct fit f;
	for (size_t i = 0; i < n_cells; i++)
		curve_add(&c, n[i], t[i], 1, 0);
	fit_curve(c.cells, c.n, &f);
	assert_false(f.has_interval);
	for (int term = 0; term < FIT_TERMS; term++)
		near(f.coef[term], coef[term], 1e-9);
	fit_release(&f);
	curve_release(&c);
}

static void test_fit__as_scipy_has_it(void **state)
{
	(void)state;
	fits_as_scipy(fit_quadratic_n, fit_quadratic_t, 5, fit_quadratic_coef);
	fits_as_scipy(fit_bounded_n, fit_bounded_t, 3, fit_bounded_coef);
}

static double known(double n)
{
	return 0.5 + 1e-3 * n + 1.2e-7 * n * n;
}

static void test_fit__finds_a_known_curve_and_covers_it(void **state)
{
	(void)state;
	struct curve c = {0};
	struct fit f;
	for (double n = 512; n <= 16384; n *= 2)
		curve_add(&c, n, known(n), 5, 0.01);
	fit_make(c.cells, c.n, &f);
	near(f.coef[0], 0.5, 1e-6);
	near(f.coef[2], 1.2e-7, 1e-6);
	assert_true(f.low[1] < 1e-3 && 1e-3 < f.high[1]);
	near(fit_share(&f, 0, 4096) + fit_share(&f, 1, 4096) + fit_share(&f, 2, 4096), 1, 1e-12);
	struct fit_value v = fit_predict(&f, 32768);
	assert_true(v.low < known(32768) && known(32768) < v.high);
	assert_true(v.high / v.low < 1.06);
	fit_release(&f);
	curve_release(&c);
}

static void test_fit__says_when_it_can_not_tell(void **state)
{
	(void)state;
	struct curve c = {0};
	struct fit f;
	fit_make(c.cells, 0, &f);
	assert_false(fit_exists(&f));
	curve_add(&c, 512, known(512), 1, 0);
	curve_add(&c, 1024, known(1024), 1, 0);
	fit_make(c.cells, c.n, &f);
	assert_false(fit_exists(&f));
	curve_add(&c, 2048, known(2048), 1, 0);
	fit_make(c.cells, c.n, &f); /* three points, three terms: it goes through all of them */
	assert_true(fit_exists(&f) && !f.has_interval);
	assert_true(isnan(fit_predict(&f, 4096).high));
	near(fit_predict(&f, 4096).t, known(4096), 1e-9);
	fit_release(&f);
	curve_release(&c);
}

static void test_fit__crossover(void **state)
{
	(void)state;
	struct curve c = {0}, d = {0};
	struct fit f, g;
	struct fit_crossing x;
	for (double n = 512; n <= 16384; n *= 2) {
		curve_add(&c, n, known(n), 5, 0.002);
		curve_add(&d, n, 2.5 + 4e-4 * n + 8e-8 * n * n, 5, 0.002);
	}
	fit_make(c.cells, c.n, &f);
	fit_make(d.cells, d.n, &g);
	assert_true(fit_crossover(&g, &f, 512, 16384, &x));
	near(x.n, 2807.764, 1e-5); /* the root of 4e-8 n^2 + 6e-4 n - 2 */
	assert_true(x.certain && x.low < x.n && x.n < x.high);
	assert_false(fit_crossover(&f, &g, 512, 16384, &x));
	fit_release(&f);
	fit_release(&g);
	curve_release(&c);
	curve_release(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fit__reference_values),
		cmocka_unit_test(test_fit__as_scipy_has_it),
		cmocka_unit_test(test_fit__finds_a_known_curve_and_covers_it),
		cmocka_unit_test(test_fit__says_when_it_can_not_tell),
		cmocka_unit_test(test_fit__crossover),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
