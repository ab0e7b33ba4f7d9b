/* jobs: the cells of a campaign (variant x context x repeat) and how far they are. */
#ifndef DB_JOBS_H
#define DB_JOBS_H

#include "base/err.h"
#include "db/db.h"
#include "schemas/outcome.h"
#include <stdbool.h>
#include <stdint.h>

#define GRETA_JOB_STATES(X)           \
	X(QUEUED,    "queued")        \
	X(RUNNING,   "running")       \
	X(DONE,      "done")          \
	X(SKIPPED,   "skipped")       \
	X(CANCELLED, "cancelled")

enum greta_job_state {
#define X(id, name) GRETA_JOB_##id,
	GRETA_JOB_STATES(X)
#undef X
	GRETA_JOB_STATE_COUNT
};
const char *greta_job_state_name(enum greta_job_state s);

struct greta_job_row {                  /* holds no memory */
	int64_t id, campaign_id, variant_id;
	int64_t context, repeat, position, block;
	enum greta_job_state state;
	int64_t counted_attempt;        /* 0: none */
	int64_t n_attempts;             /* planned for it so far, whatever became of them */
};
struct greta_job_rows {
	struct greta_job_row *items;
	size_t n, cap;
};
void greta_job_rows_release(struct greta_job_rows *rows);

/* Up to limit jobs in `state` of a campaign, in its order, behind after_position (-1: from the start). */
int greta_jobs_next(struct greta_db *db, int64_t campaign_id, enum greta_job_state state, int64_t after_position,
		    int64_t limit, struct greta_job_rows *out, struct greta_err *e);
/* Those that are settled (done, cancelled) while an attempt of theirs has not ended: a late result counted, or its node has
 * not heard yet that it is to stop. */
int greta_jobs_outlived(struct greta_db *db, int64_t campaign_id, struct greta_job_rows *out, struct greta_err *e);
int greta_jobs_get(struct greta_db *db, int64_t job_id, struct greta_job_row *out, struct greta_err *e);

/* reason: why skipped or cancelled, or what its last trouble was; NULL takes an older one away. */
int greta_jobs_set_state(struct greta_db *db, int64_t job_id, enum greta_job_state state, const char *reason,
			 struct greta_err *e);

/* Cancels the queued jobs of a campaign that match (variant NULL, context 0, repeat -1: any); *n says how many. */
int greta_jobs_cancel(struct greta_db *db, int64_t campaign_id, const char *variant, int64_t context, int64_t repeat,
		      const char *reason, int64_t *n, struct greta_err *e);

/* How the job's attempts ended so far, for the retry policy: n[outcome]. Attempts that have not ended are not in it. */
int greta_jobs_tries(struct greta_db *db, int64_t job_id, int64_t n[GRETA_OUTCOME_COUNT], struct greta_err *e);

/* Finds or adds a job (queued, at the end of the order): of an import, whose tree may have grown. */
int greta_jobs_ensure(struct greta_db *db, int64_t campaign_id, int64_t variant_id, int64_t context, int64_t repeat,
		      int64_t *job_id, struct greta_err *e);

#endif
