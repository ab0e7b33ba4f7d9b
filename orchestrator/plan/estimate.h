/* estimate: how long a job may be expected to take, from what the database knows. */
#ifndef ORCHESTRATOR_PLAN_ESTIMATE_H
#define ORCHESTRATOR_PLAN_ESTIMATE_H

#include "base/err.h"
#include "schemas/campaign.h"
#include <stdint.h>

struct greta_db;

struct estimate {
	double wall_s;    /* median wall time of an attempt; NAN: nothing comparable ran yet */
	int64_t n;        /* attempts that it rests on */
	double budget_s;  /* wall limit: never longer than this */
};

/* From good attempts of the same variant name, context and mode, with the same campaign name. db NULL: no history. */
int estimate_job(struct greta_db *db, const struct greta_campaign *c, const char *variant, int64_t context,
		 struct estimate *out, struct greta_err *e);

#endif
