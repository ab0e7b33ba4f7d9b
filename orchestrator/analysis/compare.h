/* compare: cell by cell, is B faster than A, slower, the same, or can't it be told?
 *
 * A cell's difference is tested by Student's t on logarithms with noise pooled over the whole comparison (twosample.h);
 * where both sides have four runs or more, an exact Mann-Whitney test must agree at 5 %, so that one outlier makes no
 * verdict. False discoveries over all cells are held at COMPARE_RATE. A difference counts only beyond the threshold:
 * 1 %, or the cell's noise floor, twice the spread of comparable history from one campaign to the next.
 */
#ifndef ORCHESTRATOR_ANALYSIS_COMPARE_H
#define ORCHESTRATOR_ANALYSIS_COMPARE_H

#include "orchestrator/analysis/history.h"
#include "orchestrator/analysis/stats.h"
#include "orchestrator/print/table.h"

#define COMPARE_RATE 0.01
#define COMPARE_LEVEL 0.95      /* of intervals */
#define COMPARE_THRESHOLD 0.01
#define COMPARE_RANK_RUNS 4     /* a side, from which ranks can say anything at 5 % */
#define COMPARE_FLOOR_CAMPAIGNS 4 /* of history, from which their spread is known */

#define COMPARE_VERDICTS(X)                          \
	X(MISSING,          "missing")               \
	X(FASTER,           "faster")                \
	X(SLOWER,           "slower")                \
	X(SAME,             "same")                  \
	X(CANT_TELL,        "can't tell")            \
	X(SUSPECTED_FASTER, "suspected faster")      \
	X(SUSPECTED_SLOWER, "suspected slower")

enum compare_verdict {
#define X(id, name) COMPARE_##id,
	COMPARE_VERDICTS(X)
#undef X
	COMPARE_VERDICT_COUNT
};
const char *compare_verdict_name(enum compare_verdict v);

struct compare_cell {
	char *variant;              /* "base -> v3" where the two sides differ */
	int64_t context;
	struct stats_sample a, b;   /* seconds, one a run */
	struct stats_sample before; /* medians of campaigns of comparable history, oldest first: the noise floor */
	/* what compare_judge makes of them */
	double median_a, median_b, ratio, low, high; /* ratio b / a; NAN where there is none */
	double p, q, p_rank;        /* q: false discovery rate at which it would be reported */
	double threshold;
	int64_t more_runs;          /* to tell a difference of `threshold`, on the side with fewer or on both; 0: no need */
	enum compare_verdict verdict;
};

struct compare {
	struct compare_cell *items; /* by variant as they came, then by context */
	size_t n, cap;
};

struct compare_cell *compare_cell(struct compare *c, const char *variant, int64_t context); /* finds or adds */
void compare_judge(struct compare *c, double threshold);
void compare_release(struct compare *c);

/* Pairs two sets of runs: by variant and context, or by context alone where each side is one variant. EINVAL where they
 * are not comparable: another mode, model, device type or dtype. history may be NULL. */
int compare_pair(const struct history *a, const struct history *b, const struct history *past, struct compare *out,
		 struct greta_err *e);

struct table *compare_table(const struct compare *c);
/* "3 of 12 cells are slower: v3 at 8192 by 4.9 % (4.1 to 5.8)": in words, a line each. */
void compare_words(const struct compare *c, struct greta_buf *out);

#endif
