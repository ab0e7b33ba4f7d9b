#include "db/jobs.h"

#include "base/mem.h"
#include "base/str.h"
#include "db/internal.h"

static const char *const state_names[] = {
#define X(id, name) [GRETA_JOB_##id] = name,
	GRETA_JOB_STATES(X)
#undef X
};

const char *greta_job_state_name(enum greta_job_state s)
{
	return (size_t)s < GRETA_COUNT(state_names) ? state_names[s] : "?";
}

void greta_job_rows_release(struct greta_job_rows *rows)
{
	free(rows->items);
	*rows = (struct greta_job_rows){0};
}

#define JOB_COLUMNS                                                                                                    \
	"id, campaign_id, variant_id, context, repeat, position, block, state, counted_attempt,"                       \
	" (SELECT count(*) FROM attempt WHERE job_id = job.id)"

static void read_row(struct greta_query *q, struct greta_job_row *row)
{
	*row = (struct greta_job_row){
		.id = greta_query_i64(q, 0),
		.campaign_id = greta_query_i64(q, 1),
		.variant_id = greta_query_i64(q, 2),
		.context = greta_query_i64(q, 3),
		.repeat = greta_query_i64(q, 4),
		.position = greta_query_i64(q, 5),
		.block = greta_query_i64(q, 6),
		.state = (enum greta_job_state)db_word(q, 7, state_names, GRETA_COUNT(state_names)),
		.counted_attempt = greta_query_i64(q, 8),
		.n_attempts = greta_query_i64(q, 9),
	};
}

static int read_rows(struct greta_query *q, struct greta_job_rows *out, struct greta_err *e)
{
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e))
		read_row(q, GRETA_PUSH(out->items, out->n, out->cap));
	return rc;
}

/* Queued ones have an index of their own, which a bound state would not find. */
static const char *next_sql(enum greta_job_state state)
{
	if (state == GRETA_JOB_QUEUED)
		return "SELECT " JOB_COLUMNS " FROM job WHERE campaign_id = ?1 AND position > ?2 AND state = 'queued'"
		       " AND ?4 = state ORDER BY position LIMIT ?3";
	return "SELECT " JOB_COLUMNS " FROM job WHERE campaign_id = ?1 AND position > ?2 AND state = ?4"
	       " ORDER BY position LIMIT ?3";
}

int greta_jobs_next(struct greta_db *db, int64_t campaign_id, enum greta_job_state state, int64_t after_position,
		    int64_t limit, struct greta_job_rows *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(db, e, next_sql(state), "iiis", campaign_id,
							       after_position, limit, greta_job_state_name(state));

	return read_rows(q, out, e);
}

int greta_jobs_outlived(struct greta_db *db, int64_t campaign_id, struct greta_job_rows *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e,
		"SELECT " JOB_COLUMNS " FROM job WHERE campaign_id = ? AND state NOT IN ('queued', 'running')"
		" AND id IN (SELECT job_id FROM attempt WHERE state <> 'ended' AND state <> 'pruned')",
		"i", campaign_id);

	return read_rows(q, out, e);
}

static int no_job(int64_t job_id, struct greta_err *e)
{
	return greta_err_set(e, GRETA_ENOENT, "there is no job %lld", (long long)job_id);
}

int greta_jobs_get(struct greta_db *db, int64_t job_id, struct greta_job_row *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(db, e, "SELECT " JOB_COLUMNS " FROM job WHERE id = ?", "i", job_id);
	int rc = q ? greta_query_step(q, e) : -1;

	if (rc == 1)
		read_row(q, out);
	return rc == 0 ? no_job(job_id, e) : rc < 0 ? -1 : 0;
}

int greta_jobs_set_state(struct greta_db *db, int64_t job_id, enum greta_job_state state, const char *reason,
			 struct greta_err *e)
{
	if (greta_db_exec(db, e, "UPDATE job SET state = ?, reason = ? WHERE id = ?", "ssi",
			  greta_job_state_name(state), reason, job_id))
		return -1;
	return greta_db_changes(db) ? 0 : no_job(job_id, e);
}

int greta_jobs_cancel(struct greta_db *db, int64_t campaign_id, const char *variant, int64_t context, int64_t repeat,
		      const char *reason, int64_t *n, struct greta_err *e)
{
	if (greta_db_exec(
		    db, e,
		    "UPDATE job SET state = 'cancelled', reason = ?5 WHERE campaign_id = ?1 AND state = 'queued'"
		    " AND (?2 IS NULL OR variant_id IN (SELECT id FROM variant WHERE campaign_id = ?1 AND name = ?2))"
		    " AND (?3 = 0 OR context = ?3) AND (?4 < 0 OR repeat = ?4)",
		    "isiis", campaign_id, variant, context, repeat, reason))
		return -1;
	*n = greta_db_changes(db);
	return 0;
}

int greta_jobs_tries(struct greta_db *db, int64_t job_id, int64_t n[GRETA_OUTCOME_COUNT], struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(db, e,
							       "SELECT outcome, count(*) FROM attempt WHERE job_id = ? "
							       "AND state IN ('ended', 'pruned') GROUP BY outcome",
							       "i", job_id);
	int rc = q ? greta_query_step(q, e) : -1;

	memset(n, 0, sizeof *n * GRETA_OUTCOME_COUNT);
	for (; rc == 1; rc = greta_query_step(q, e))
		n[greta_outcome_parse(greta_query_str(q, 0))] += greta_query_i64(q, 1);
	return rc;
}

int greta_jobs_ensure(struct greta_db *db, int64_t campaign_id, int64_t variant_id, int64_t context, int64_t repeat,
		      int64_t *job_id, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;

	if (greta_txn_begin(db, &txn, e) ||
	    greta_db_exec(db, e,
			  "INSERT INTO job (campaign_id, variant_id, context, repeat, position)"
			  " SELECT ?1, ?2, ?3, ?4, coalesce(max(position) + 1, 0) FROM job WHERE campaign_id = ?1"
			  " ON CONFLICT (campaign_id, variant_id, context, repeat) DO NOTHING",
			  "iiii", campaign_id, variant_id, context, repeat) ||
	    db_get_i64(db, job_id, e,
		       "SELECT id FROM job WHERE campaign_id = ? AND variant_id = ? AND context = ? AND repeat = ?",
		       "iiii", campaign_id, variant_id, context, repeat) < 0)
		return -1;
	return greta_txn_commit(&txn, e);
}
