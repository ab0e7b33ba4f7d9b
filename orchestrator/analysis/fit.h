/* fit: prefill time against context, t(n) = a + b n + c n^2 with a, b, c >= 0: fixed cost, work per token (GEMMs), and
 * attention. Points are the cells' medians, weighted by runs / median^2, since timing noise is proportional.
 *
 * Non-negative least squares of three coefficients is done whole: each of the seven subsets is fitted (GSL), and the best
 * of those without a negative coefficient is the answer.
 *
 * Intervals are a two-level residual bootstrap, since runs are nested in contexts (Davison and Hinkley, Bootstrap Methods
 * and their Application, 1997, 3.8 and 6.2.3): how far a context lies off the curve, and how far its runs lie off their
 * median, are drawn anew, each scaled up for what the fit has used. With as many contexts as coefficients the first level
 * can't be seen; with one run a cell the second can't. Where neither can there is no interval.
 */
#ifndef ORCHESTRATOR_ANALYSIS_FIT_H
#define ORCHESTRATOR_ANALYSIS_FIT_H

#include "orchestrator/analysis/stats.h"
#include <stdbool.h>
#include <stddef.h>

#define FIT_TERMS 3
#define FIT_REPLICATES 400
#define FIT_LEVEL 0.95
#define FIT_MIN_CONTEXTS 3

struct fit_cell {
	double n;                   /* context, tokens */
	const struct stats_sample *runs; /* seconds, one a run; borrowed; not empty */
};

struct fit {
	size_t n_cells, n_runs;     /* n_cells 0: there is no fit */
	double coef[FIT_TERMS];     /* a, b, c: s, s/token, s/token^2 */
	double low[FIT_TERMS], high[FIT_TERMS]; /* NAN: no interval */
	double misfit;              /* how far off the curve a context's median lies, root mean square; 0.02 is 2 % */
	bool has_interval;
	double (*replicates)[FIT_TERMS]; /* FIT_REPLICATES of them; NULL: no interval */
	double *wobble;             /* of a new context's median off the curve, one a replicate, as a factor */
};

struct fit_value {
	double t, low, high;        /* NAN low and high: no interval */
};

/* Cells by growing n. Fewer than FIT_MIN_CONTEXTS make no fit. */
void fit_make(const struct fit_cell *cells, size_t n_cells, struct fit *out);
void fit_curve(const struct fit_cell *cells, size_t n_cells, struct fit *out); /* without intervals, which cost most of it */
void fit_release(struct fit *f);
bool fit_exists(const struct fit *f);

double fit_at(const double coef[FIT_TERMS], double n);
double fit_share(const struct fit *f, int term, double n); /* of the time at n */
struct fit_value fit_predict(const struct fit *f, double n); /* of the median that a run there would give */

/* Where x becomes faster than y and stays so up to n_max, within [n_min, n_max]; false: nowhere in there. The interval is
 * that of the replicates which cross at all; `certain`: at least FIT_LEVEL of them do. */
struct fit_crossing {
	double n, low, high;
	bool certain;
};
bool fit_crossover(const struct fit *x, const struct fit *y, double n_min, double n_max, struct fit_crossing *out);

#endif
