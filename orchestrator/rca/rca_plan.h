/* rca_plan: from an attempt that hung to a campaign that looks for the cause: which factors there are to vary where it
 * ran, at which contexts, and the campaign file and job list that follow. Reads the database alone, so that a dry run
 * shows what would be submitted. */
#ifndef ORCHESTRATOR_RCA_RCA_PLAN_H
#define ORCHESTRATOR_RCA_RCA_PLAN_H

#include "base/buf.h"
#include "base/str.h"
#include "orchestrator/plan/plan_order.h"
#include "orchestrator/rca/rca_design.h"

struct greta_db;

#define RCA_RATE 0.1            /* unless asked otherwise */

struct rca_request {
	int64_t attempt_id;             /* that hung */
	double rate;                    /* smallest hang rate that is worth finding; 0: RCA_RATE */
	int64_t budget_runs;            /* 0: as many as it takes */
	double budget_s;                /* of node time; 0: no limit */
	struct greta_strs settings;     /* "NAME=VALUE", several with commas between; none: those usual for the kind of GPU */
	int64_t contexts[RCA_CONTEXTS_MAX]; /* smaller ones to try; none: those of the campaign, or halves */
	size_t n_contexts;
};

struct rca_plan {
	int64_t attempt_id, campaign_id; /* what it explains */
	struct rca_design design;
	struct rca_runs runs;
	char *name, *base_dir;           /* base_dir may be NULL */
	struct greta_buf text;           /* the campaign file */
	struct plan jobs;                /* its job list; runs with the same index */
	struct greta_buf notes;          /* what is not varied, and why, a line each */
	double run_s, budget_run_s;      /* a run that does not hang; NAN: none of that cell was good yet. Its wall budget */
};

/* What a person meant: the newest hung attempt of the job, or of the cell that hung most in the campaign. EINVAL where
 * none of it hung. */
int rca_plan_attempt_of_job(struct greta_db *db, int64_t job_id, int64_t *attempt_id, struct greta_err *e);
int rca_plan_attempt_of_campaign(struct greta_db *db, int64_t campaign_id, int64_t *attempt_id, struct greta_err *e);

int rca_plan_make(struct greta_db *db, const struct rca_request *r, struct rca_plan *out, struct greta_err *e);
void rca_plan_release(struct rca_plan *p);

#endif
