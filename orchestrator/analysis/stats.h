/* stats: the statistics of few samples (medians and ranks by GSL). Each says how many samples it rests on. */
#ifndef ORCHESTRATOR_ANALYSIS_STATS_H
#define ORCHESTRATOR_ANALYSIS_STATS_H

#include <gsl/gsl_rng.h>
#include <stddef.h>

struct stats_sample { /* a growing set of numbers; zero is empty */
	double *x;
	size_t n, cap;
};

void stats_add(struct stats_sample *s, double x); /* NAN is left out */
void stats_release(struct stats_sample *s);

struct stats_median {
	size_t n;
	double median;      /* NAN for n = 0 */
	double min, max;
	/* Distribution-free interval of the median by order statistics (binomial), at the level reached: with n < 6 no
	 * such interval reaches 95 %, and low/high are min/max with `level` saying what they cover. NAN for n < 2. */
	double low, high, level;
	double mad;         /* median absolute deviation, not scaled; NAN for n < 2 */
};

struct stats_median stats_median(const struct stats_sample *s);

/* The median of n draws from a sorted sample, at the cost of one: the k-th smallest of n uniform numbers is Beta(k, n - k + 1),
 * and the largest of the k - 1 below it lies at its k-1st root of a uniform number (David and Nagaraja, Order Statistics,
 * 2.5). */
double stats_draw_median(const gsl_rng *rng, const struct stats_sample *sorted, size_t n);

/* k in t ~ n^k between two points: log(t2/t1) / log(n2/n1); NAN where that has no meaning. */
double stats_exponent(double n1, double t1, double n2, double t2);

#endif
