#include "orchestrator/analysis/twosample.h"
#include "base/mem.h"
#include <gsl/gsl_cdf.h>
#include <gsl/gsl_sf_psi.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>
#include <stdlib.h>

/* A clock that shows the same time twice did not measure without noise: 0.01 % at least. */
#define LEAST_VARIANCE 1e-8

/* ---- Mann-Whitney */

struct ranks {
	size_t *twice;  /* the mid-ranks of a and b together, sorted; twice, so that ties keep them whole */
	size_t n, sum_a;
	double ties;    /* the sum over ties of k^3 - k */
};

static void ranks_make(const struct stats_sample *a, const struct stats_sample *b, struct ranks *out)
{
	size_t n = a->n + b->n;
	double *x = greta_alloc(n * sizeof *x);
	size_t *order = greta_alloc(n * sizeof *order);
	*out = (struct ranks){.twice = greta_alloc(n * sizeof *out->twice), .n = n};
	for (size_t i = 0; i < n; i++)
		x[i] = i < a->n ? a->x[i] : b->x[i - a->n];
	gsl_sort_index(order, x, 1, n);
	for (size_t i = 0, k; i < n; i = k) {
		for (k = i; k < n && x[order[k]] == x[order[i]]; k++)
			;
		for (size_t j = i; j < k; j++) {
			out->twice[j] = i + k + 1; /* twice the mean of i+1 .. k */
			out->sum_a += order[j] < a->n ? i + k + 1 : 0;
		}
		out->ties += pow((double)(k - i), 3) - (double)(k - i);
	}
	free(x);
	free(order);
}

/* How likely the sum of m ranks, at most half of them, lies so far from its mean, over all choices of m: counted by adding one
 * rank after the other, the smallest first, to a table of (k chosen, how far their sum lies above the least sum of k). */
static double exact_p(const struct ranks *r, size_t m, double distance)
{
	size_t width = 2 * m * (r->n - m) + 1, *below = greta_alloc((r->n + 1) * sizeof *below);
	double *ways = greta_alloc((m + 1) * width * sizeof *ways), all = 0, extreme = 0, mean = (double)m * (double)(r->n + 1);
	ways[0] = 1;
	for (size_t i = 0; i < r->n; i++) {
		below[i + 1] = below[i] + r->twice[i];
		for (size_t k = i < m ? i + 1 : m; k > 0; k--) {
			size_t shift = r->twice[i] - r->twice[k - 1], most = below[i + 1] - below[i + 1 - k] - below[k];
			for (size_t s = most + 1; s-- > shift;)
				ways[k * width + s] += ways[(k - 1) * width + s - shift];
		}
	}
	for (size_t s = 0; s < width; s++) {
		double w = ways[m * width + s];
		all += w;
		if (fabs((double)(below[m] + s) - mean) >= distance - 1e-9)
			extreme += w;
	}
	free(ways);
	free(below);
	return extreme / all;
}

double twosample_mann_whitney(const struct stats_sample *a, const struct stats_sample *b)
{
	struct ranks r;
	double p;
	if (a->n == 0 || b->n == 0)
		return 1;
	ranks_make(a, b, &r);
	double na = (double)a->n, nb = (double)b->n, all = na + nb, distance = fabs((double)r.sum_a - na * (all + 1));
	if (r.n <= TWOSAMPLE_EXACT_MAX) {
		p = exact_p(&r, a->n < b->n ? a->n : b->n, distance);
	} else {
		double sd = sqrt(na * nb / 12 * (all + 1 - r.ties / (all * (all - 1)))), off = distance / 2 - 0.5;
		p = sd > 0 && off > 0 ? 2 * gsl_cdf_ugaussian_Q(off / sd) : 1;
	}
	free(r.twice);
	return p;
}

/* ---- Hodges-Lehmann */

/* How many of the sorted differences to leave out at each end: the most that keeps the level, by the distribution of U
 * without ties, whose counts follow from those of one run less on either side (Mann and Whitney, On a test of whether one of
 * two random variables is stochastically larger than the other, Ann. Math. Statist. 18, 1947). */
static size_t ends_to_leave(size_t n_a, size_t n_b, double level, double *reached)
{
	size_t most = n_a * n_b, out = 0;
	double *ways = greta_alloc((n_b + 1) * (most + 1) * sizeof *ways), total = 0, below = 0;
	ways[0] = 1;
	for (size_t rank = 0; rank < n_a + n_b; rank++) /* choose which ranks are b's; each stands above rank - k of a's */
		for (size_t k = rank < n_b ? rank + 1 : n_b; k > 0; k--) {
			size_t above = rank - (k - 1);
			if (above > n_a)
				break;
			for (size_t u = k * above + 1; u-- > above;)
				ways[k * (most + 1) + u] += ways[(k - 1) * (most + 1) + u - above];
		}
	for (size_t u = 0; u <= most; u++)
		total += ways[n_b * (most + 1) + u];
	*reached = 1 - 2 / total;
	for (size_t u = 0; 2 * (u + 1) <= most; u++) {
		below += ways[n_b * (most + 1) + u];
		if (1 - 2 * below / total < level)
			break;
		out = u;
		*reached = 1 - 2 * below / total;
	}
	free(ways);
	return out;
}

static double *logs_of(const struct stats_sample *s)
{
	double *x = greta_alloc((s->n + 1) * sizeof *x);
	for (size_t i = 0; i < s->n; i++)
		x[i] = log(s->x[i]);
	return x;
}

/* Of each with each. History has hundreds of runs a cell, which makes thousands of differences, of which three are wanted:
 * they are selected, not sorted. */
static double *differences(const struct stats_sample *a, const struct stats_sample *b)
{
	double *x = logs_of(a), *y = logs_of(b), *d = greta_alloc(a->n * b->n * sizeof *d);
	for (size_t i = 0; i < a->n; i++)
		for (size_t k = 0; k < b->n; k++)
			d[i * b->n + k] = y[k] - x[i];
	free(x);
	free(y);
	return d;
}

struct twosample_ratio twosample_hodges_lehmann(const struct stats_sample *a, const struct stats_sample *b, double level)
{
	struct twosample_ratio r = {NAN, NAN, NAN, NAN};
	size_t n = a->n * b->n;
	if (n == 0)
		return r;
	size_t out = 0;
	if (a->n + b->n <= TWOSAMPLE_EXACT_MAX) {
		out = ends_to_leave(a->n, b->n, level, &r.reached);
	} else {
		double na = (double)a->n, nb = (double)b->n;
		double off = na * nb / 2 - gsl_cdf_ugaussian_Qinv((1 - level) / 2) * sqrt(na * nb * (na + nb + 1) / 12);
		out = off > 1 ? (size_t)off - 1 : 0;
		r.reached = level;
	}
	double *d = differences(a, b);
	r.ratio = exp(gsl_stats_median(d, 1, n));
	r.low = exp(gsl_stats_select(d, 1, n, out));
	r.high = exp(gsl_stats_select(d, 1, n, n - 1 - out));
	free(d);
	return r;
}

/* ---- pooled noise */

static double sum_squares(const struct stats_sample *s, double *mean)
{
	double *x = logs_of(s);
	*mean = s->n ? gsl_stats_mean(x, 1, s->n) : NAN;
	double squares = s->n ? gsl_stats_tss_m(x, 1, s->n, *mean) : 0;
	free(x);
	return squares;
}

struct twosample_variance twosample_variance(const struct stats_sample *a, const struct stats_sample *b)
{
	double mean, df = (a->n ? (double)a->n - 1 : 0) + (b->n ? (double)b->n - 1 : 0);
	double squares = sum_squares(a, &mean) + sum_squares(b, &mean);
	return (struct twosample_variance){df > 0 ? fmax(squares / df, LEAST_VARIANCE) : NAN, df};
}

/* y with trigamma(y) = x, by Newton on 1 / trigamma, which is nearly straight (Smyth 2004, appendix). */
static double trigamma_inverse(double x)
{
	double y = 0.5 + 1 / x;
	for (int i = 0; i < 50; i++) {
		double t = gsl_sf_psi_1(y), step = t * (1 - t / x) / gsl_sf_psi_n(2, y);
		y += step;
		if (-step / y < 1e-9)
			break;
	}
	return y;
}

struct twosample_prior twosample_prior(const struct twosample_variance *cells, size_t n)
{
	double *x = greta_alloc((n + 1) * sizeof *x), expected = 0, weight = 0;
	size_t used = 0;
	for (size_t i = 0; i < n; i++) {
		if (cells[i].df <= 0)
			continue;
		double half = cells[i].df / 2;
		x[used++] = log(cells[i].var) - gsl_sf_psi(half) + log(half);
		expected += gsl_sf_psi_1(half);
		weight += cells[i].df;
	}
	double center = used ? gsl_stats_mean(x, 1, used) : NAN;
	double excess = used > 1 ? gsl_stats_variance_m(x, 1, used, center) - expected / (double)used : NAN;
	free(x);
	if (used < 2 || weight < 3)
		return (struct twosample_prior){NAN, 0, weight};
	if (excess <= 1e-6)
		return (struct twosample_prior){exp(center), INFINITY, weight};
	double half = trigamma_inverse(excess);
	return (struct twosample_prior){exp(center + gsl_sf_psi(half) - log(half)), 2 * half, weight};
}

struct twosample_variance twosample_moderate(struct twosample_variance own, struct twosample_prior prior)
{
	if (prior.df <= 0)
		return own;
	double df = fmin(own.df + prior.df, prior.pooled_df);
	if (own.df <= 0 || isinf(prior.df))
		return (struct twosample_variance){prior.var, df};
	return (struct twosample_variance){(own.df * own.var + prior.df * prior.var) / (own.df + prior.df), df};
}

struct twosample_t twosample_t(const struct stats_sample *a, const struct stats_sample *b, struct twosample_variance v,
			       double level)
{
	double mean_a, mean_b;
	sum_squares(a, &mean_a);
	sum_squares(b, &mean_b);
	struct twosample_t t = {mean_b - mean_a, NAN, NAN};
	if (a->n == 0 || b->n == 0 || !(v.df > 0))
		return t;
	double se = sqrt(v.var * (1 / (double)a->n + 1 / (double)b->n)), tail = (1 - level) / 2;
	t.p = 2 * gsl_cdf_tdist_Q(fabs(t.difference) / se, v.df);
	t.half = se * gsl_cdf_tdist_Qinv(tail, v.df);
	return t;
}

/* ---- many cells */

void twosample_adjust(double *p, size_t n)
{
	size_t *order = greta_alloc((n + 1) * sizeof *order), m = 0;
	double least = 1, *x = greta_alloc((n + 1) * sizeof *x);
	for (size_t i = 0; i < n; i++) {
		m += !isnan(p[i]);
		x[i] = isnan(p[i]) ? 2 : p[i]; /* to the end */
	}
	gsl_sort_index(order, x, 1, n);
	for (size_t place = m; place > 0; place--) {
		double *this = &p[order[place - 1]];
		least = fmin(least, *this * (double)m / (double)place);
		*this = least;
	}
	free(order);
	free(x);
}
