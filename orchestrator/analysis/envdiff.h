/* envdiff: what differs between two sets of runs besides their times: environment (driver, clocks, flags ...), engine
 * build, command, model, node, device, dtype, attention, ordered by how well each explains times across the history.
 *
 * `explains` is the adjusted share of the variance of log times, each around the mean of its variant and context, that
 * lies between the key's values (Kelley, An unbiased correlation ratio measure, PNAS 21, 1935: one-way analysis of variance,
 * R^2 adjusted for the number of values). It is association: what always changed together explains alike, and only an
 * experiment tells them apart. */
#ifndef ORCHESTRATOR_ANALYSIS_ENVDIFF_H
#define ORCHESTRATOR_ANALYSIS_ENVDIFF_H

#include "orchestrator/analysis/history.h"
#include "orchestrator/print/table.h"

struct envdiff_item {
	char *key, *a, *b;          /* values, several joined by " / "; "not known" */
	double explains;            /* 0..1; NAN: the history can't tell */
	size_t n_runs;              /* that tell it */
};

struct envdiff {
	struct envdiff_item *items; /* best explanation first */
	size_t n, cap;
	bool same_code;             /* both sides ran the same builds or kernels (code objects), which are known, and no other
				     * command, as far as that is known */
};

/* past: all history at hand, with or without a and b, which are added. NULL: none. */
int envdiff_make(struct greta_db *db, const struct history *a, const struct history *b, const struct history *past,
		 struct envdiff *out, struct greta_err *e);
void envdiff_release(struct envdiff *d);
struct table *envdiff_table(const struct envdiff *d);

#endif
