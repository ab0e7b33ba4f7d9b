/* changes: where a series shifts. E-divisive: Matteson and James, A nonparametric approach for multiple change point
 * analysis of multivariate data, J. Am. Stat. Assoc. 109 (2014), with alpha = 1.
 *
 * The split with the largest energy distance is tested by permuting within the segments found so far; it stands when it is
 * significant at CHANGES_LEVEL, and the search goes on. A permutation test is right for any length: what is too short to
 * prove anything (fewer than about ten points) can't become significant. */
#ifndef ORCHESTRATOR_ANALYSIS_CHANGES_H
#define ORCHESTRATOR_ANALYSIS_CHANGES_H

#include <stddef.h>

#define CHANGES_LEVEL 0.01
#define CHANGES_PERMUTATIONS 499
#define CHANGES_MIN_SEGMENT 2
#define CHANGES_MAX_POINTS 200 /* only the last so many are looked at: the cost grows with the square */

struct change {
	size_t at;              /* first index of the new level */
	double p;
	double ratio;           /* median after / median before, of the segments on both sides */
};

struct changes {
	struct change *items;   /* by index */
	size_t n, cap;
};

/* x: positive values in order of time; compared as logarithms. */
void changes_find(const double *x, size_t n, struct changes *out);
void changes_release(struct changes *c);

#endif
