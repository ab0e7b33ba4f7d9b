/* gates: what a campaign asks of its results before they count as good: the reference's likeliest token, the reference's
 * logits bit for bit or within a tolerance, and so many counted results a cell. Judged when the last job has ended, since the reference may
 * run last. A result that does not pass, or that says nothing to be judged by, becomes `invalid` with cause `gate`. */
#ifndef ORCHESTRATOR_CONTROL_GATES_H
#define ORCHESTRATOR_CONTROL_GATES_H

#include "base/err.h"
#include "db/db.h"
#include "schemas/campaign.h"

/* In the transaction at hand. */
int gates_apply(struct greta_db *db, int64_t campaign_id, const struct greta_campaign *c, int64_t *n_rejected,
		struct greta_err *e);

enum gates_verdict {
	GATES_NONE,    /* the campaign has none that failed, and none that says how many results are enough */
	GATES_ENOUGH,  /* it says how many, and every cell has them */
	GATES_FAILED,
};
int gates_verdict(struct greta_db *db, int64_t campaign_id, enum gates_verdict *out, struct greta_err *e);

#endif
