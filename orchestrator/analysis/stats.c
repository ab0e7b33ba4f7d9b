#include "orchestrator/analysis/stats.h"
#include "base/mem.h"
#include <gsl/gsl_cdf.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void stats_add(struct stats_sample *s, double x)
{
	if (!isnan(x))
		*GRETA_PUSH(s->x, s->n, s->cap) = x;
}

void stats_release(struct stats_sample *s)
{
	free(s->x);
	*s = (struct stats_sample){0};
}

/* The interval [x(k), x(n-1-k)] of sorted x covers the median with probability 1 - 2 P(Binomial(n, 1/2) <= k): the
 * sign test's interval (Conover, Practical Nonparametric Statistics, 3.2). The narrowest one of 95 % or more is taken. */
static void order_interval(const double *sorted, size_t n, struct stats_median *m)
{
	size_t k = 0;
	while (k + 1 < n / 2 && 2 * gsl_cdf_binomial_P((unsigned)(k + 1), 0.5, (unsigned)n) <= 0.05)
		k++;
	m->low = sorted[k];
	m->high = sorted[n - 1 - k];
	m->level = 1 - 2 * gsl_cdf_binomial_P((unsigned)k, 0.5, (unsigned)n);
}

struct stats_median stats_median(const struct stats_sample *s)
{
	struct stats_median m = {.n = s->n, .median = NAN, .min = NAN, .max = NAN, .low = NAN, .high = NAN, .level = NAN,
				 .mad = NAN};
	if (s->n == 0)
		return m;
	double *x = greta_alloc(s->n * sizeof *x), *work = greta_alloc(s->n * sizeof *work);
	memcpy(x, s->x, s->n * sizeof *x);
	gsl_sort(x, 1, s->n);
	m.median = gsl_stats_median_from_sorted_data(x, 1, s->n);
	m.min = x[0];
	m.max = x[s->n - 1];
	if (s->n >= 2) {
		order_interval(x, s->n, &m);
		m.mad = gsl_stats_mad0(x, 1, s->n, work);
	}
	free(x);
	free(work);
	return m;
}

static double quantile(const struct stats_sample *sorted, double u)
{
	size_t i = (size_t)(u * (double)sorted->n);
	return sorted->x[i < sorted->n ? i : sorted->n - 1];
}

double stats_draw_median(const gsl_rng *rng, const struct stats_sample *sorted, size_t n)
{
	size_t half = n / 2;
	double high = gsl_ran_beta(rng, (double)half + 1, (double)(n - half));
	if (n % 2)
		return quantile(sorted, high);
	double low = high * pow(gsl_rng_uniform_pos(rng), 1 / (double)half);
	return (quantile(sorted, low) + quantile(sorted, high)) / 2;
}

double stats_exponent(double n1, double t1, double n2, double t2)
{
	if (!(n1 > 0) || !(n2 > 0) || n1 == n2 || !(t1 > 0) || !(t2 > 0))
		return NAN;
	return log(t2 / t1) / log(n2 / n1);
}
