/* hang_rate: how often a cell hangs, from so many hangs in so many runs, and what that can mean.
 *
 *	interval    Clopper and Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial,
 *	            Biometrika 26 (1934): exact, for a number of runs that was fixed beforehand
 *	any time    Robbins, Statistical methods related to the law of the iterated logarithm, Ann. Math. Statist. 41 (1970):
 *	            the rates whose likelihood is not beaten 20 times over by that of a beta mixture, Beta(1/2, 1/2). By
 *	            Ville's inequality it holds at every number of runs at once, so also at one that was chosen by looking
 */
#ifndef ORCHESTRATOR_ANALYSIS_HANG_RATE_H
#define ORCHESTRATOR_ANALYSIS_HANG_RATE_H

#include "base/buf.h"
#include <stdint.h>

#define HANG_RATE_LEVEL 0.95

struct hang_rate {
	int64_t hung, runs;
};
struct hang_interval {
	double low, high;
};

/* Of no run: 0 to 1. */
struct hang_interval hang_rate_interval(struct hang_rate r);
struct hang_interval hang_rate_any_time(struct hang_rate r);
/* One-sided: the rate is under it; 0 of 21: 0.133. */
double hang_rate_bound(struct hang_rate r);

/* So many runs without a hang rule a rate out: it would have shown itself with probability 1 - miss. */
int64_t hang_rate_runs(double rate, double miss);

/* "3 of 20 hung: 15.0 % (95 % interval 3.2 to 37.9 %)", "0 of 21 hung: hang rate under 13.3 % (one-sided 95 % bound)". */
void hang_rate_words(struct hang_rate r, struct greta_buf *out);

#endif
