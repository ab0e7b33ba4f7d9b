/* scaling: how prefill time grows with context, variant by variant: rows, fits, predictions, and where a curve breaks. */
#ifndef ORCHESTRATOR_ANALYSIS_SCALING_H
#define ORCHESTRATOR_ANALYSIS_SCALING_H

#include "orchestrator/analysis/cells.h"
#include "orchestrator/analysis/fit.h"
#include "orchestrator/print/table.h"

/* A variant's curve. The fit is over its contexts up to the break, which is the first one, from the fourth on, whose
 * median lies above what the fit of those before it predicts: above the interval and by SCALING_BREAK_LEAST. */
struct scaling_line {
	const char *variant;
	const struct cell **cells;   /* those with a median, by context */
	size_t n, cap;
	struct fit fit;
	size_t broke;                /* index into cells; 0: nowhere */
	bool suspected;              /* the break rests on one run, or on a fit without an interval */
	struct fit_value predicted;  /* at the break, by the fit of the contexts before */
};

#define SCALING_BREAK_LEAST 0.05     /* above the interval, and at least this far above the prediction */
#define SCALING_BREAK_SUSPECTED 0.15 /* so far above it, where there is no interval */

struct scaling {
	const struct cells *cells;   /* borrowed */
	const char *variant;         /* NULL: all */
	struct scaling_line *lines;
	size_t n, cap;
};

void scaling_make(const struct cells *c, const char *variant, struct scaling *out);
void scaling_release(struct scaling *s);

/* One row a cell. Ratios are to the variant's smallest context that has a result; `expected` is what pure quadratic
 * growth, that of attention, would give from there; `exponent` is k in t ~ n^k from the context before. */
struct table *scaling_table(const struct scaling *s);
struct table *scaling_fits(const struct scaling *s);                     /* one row a variant that has a fit */
struct table *scaling_predictions(const struct scaling *s, const int64_t *contexts, size_t n); /* a row each of both */

/* What stands out, a sentence a line: growth beyond quadratic; breaks; crossovers; one sample, which proves nothing. */
void scaling_remarks(const struct scaling *s, struct greta_buf *out);

#endif
