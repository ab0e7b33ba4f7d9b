/* plan_order: a campaign's matrix as a list of jobs in the order in which they are to run. Pure; the same campaign and
 * seed always give the same order. `plan` prints it, `submit` stores it.
 *
 * Interleaved: block r holds repeat r of every cell, shuffled, so that drift of a node hits every variant alike.
 * Sequential: variant by variant, context by context, all repeats of a cell together, in one block.
 */
#ifndef ORCHESTRATOR_PLAN_PLAN_ORDER_H
#define ORCHESTRATOR_PLAN_PLAN_ORDER_H

#include "base/err.h"
#include "schemas/campaign.h"
#include <stddef.h>
#include <stdint.h>

struct plan_job {
	size_t variant;      /* index into campaign->variants */
	int64_t context, repeat;
	int64_t block;
};

struct plan {
	struct plan_job *jobs; /* in order: position is the index */
	size_t n, cap;
};

#define PLAN_JOBS_MAX 10000000

/* EINVAL when the matrix is larger than PLAN_JOBS_MAX. */
int plan_make(const struct greta_campaign *c, struct plan *out, struct greta_err *e);
void plan_release(struct plan *p);

#endif
