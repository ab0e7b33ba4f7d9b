/* rca_load: an rca campaign as rca_decide takes it: its design, and what became of each of its jobs. */
#ifndef ORCHESTRATOR_RCA_RCA_LOAD_H
#define ORCHESTRATOR_RCA_RCA_LOAD_H

#include "orchestrator/rca/rca_decide.h"

struct greta_db;

struct rca {
	int64_t campaign_id, explains; /* explains: an attempt */
	struct rca_design design;
	struct rca_runs runs;          /* in the campaign's order */
};

/* EINVAL where the campaign is none of an rca. */
int rca_load(struct greta_db *db, int64_t campaign_id, struct rca *out, struct greta_err *e);
void rca_release(struct rca *r);

#endif
