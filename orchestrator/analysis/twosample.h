/* twosample: do two sets of runs of the same cell differ? Times are compared as logarithms, so effects are ratios.
 *
 *	Mann-Whitney     exact, ties included: Streitberg and Roehmel, Exact distributions for permutation and rank tests,
 *	                 Statistical Software Newsletter 12 (1986), 10-17
 *	Hodges-Lehmann   Hodges and Lehmann, Estimates of location based on rank tests, Ann. Math. Statist. 34 (1963)
 *	pooled noise     Smyth, Linear models and empirical Bayes methods for assessing differential expression in microarray
 *	                 experiments, Stat. Appl. Genet. Mol. Biol. 3 (2004): each cell's variance is drawn towards that of
 *	                 its neighbours, by as much as they agree, which makes a test of three runs a side a usable one
 *	many cells       Benjamini and Hochberg, Controlling the false discovery rate, J. R. Stat. Soc. B 57 (1995)
 */
#ifndef ORCHESTRATOR_ANALYSIS_TWOSAMPLE_H
#define ORCHESTRATOR_ANALYSIS_TWOSAMPLE_H

#include "orchestrator/analysis/stats.h"
#include <stddef.h>

/* Beyond this many runs in all, the normal approximation with ties (Lehmann, Nonparametrics, 1975, 1.4) is as good and a lot
 * faster. */
#define TWOSAMPLE_EXACT_MAX 50

/* Two-sided. 1 when a side is empty. */
double twosample_mann_whitney(const struct stats_sample *a, const struct stats_sample *b);

/* The ratio b / a with an interval of at least `level`, if so few runs can give one; reached says what it is. Positive
 * times only; NAN for an empty side. */
struct twosample_ratio {
	double ratio, low, high, reached;
};
struct twosample_ratio twosample_hodges_lehmann(const struct stats_sample *a, const struct stats_sample *b, double level);

/* Of the logarithms, both sides together around their own means. */
struct twosample_variance {
	double var, df;             /* df 0: nothing to go by */
};
struct twosample_variance twosample_variance(const struct stats_sample *a, const struct stats_sample *b);

/* What the cells' variances say about the noise in general. df INFINITY: they all agree; 0: fewer than two cells tell.
 * pooled_df: of all cells together; no cell's noise is known better than that. */
struct twosample_prior {
	double var, df, pooled_df;
};
struct twosample_prior twosample_prior(const struct twosample_variance *cells, size_t n);
/* A cell's own, drawn towards it. */
struct twosample_variance twosample_moderate(struct twosample_variance own, struct twosample_prior prior);

/* Student's t of the difference of mean logarithms, and its two-sided p; half: half the width of its interval. */
struct twosample_t {
	double difference, p, half;
};
struct twosample_t twosample_t(const struct stats_sample *a, const struct stats_sample *b, struct twosample_variance v,
			       double level);

/* p becomes the smallest false discovery rate at which it would be reported; NAN stays and does not count. */
void twosample_adjust(double *p, size_t n);

#endif
