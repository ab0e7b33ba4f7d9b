#include "orchestrator/rca/rca_load.h"

#include "base/mem.h"
#include "base/str.h"
#include "db/campaigns.h"
#include "db/db.h"

/* The attempt that tells most of a job: one that hung or ran to its end before one that failed, that before one which
 * was lost; the last of these. */
static const char runs_sql[] =
	"SELECT j.id, j.block, j.context, v.position, j.state, coalesce(a.outcome, 'unknown'),"
	" (SELECT count(*) FROM attempt t WHERE t.job_id = j.id),"
	" (SELECT coalesce(sum(t.wall_s), 0) FROM attempt t WHERE t.job_id = j.id) "
	"FROM job j JOIN variant v ON v.id = j.variant_id LEFT JOIN attempt a ON a.id = "
	"(SELECT t.id FROM attempt t WHERE t.job_id = j.id AND t.state IN ('ended', 'pruned') ORDER BY CASE "
	"WHEN t.outcome IN ('hung', 'ok', 'invalid') THEN 2 WHEN t.outcome IN ('failed', 'oom', 'timed_out') THEN 1 "
	"ELSE 0 END "
	"DESC, t.id DESC LIMIT 1) WHERE j.campaign_id = ? ORDER BY j.position";

static enum greta_job_state state_of(const char *name)
{
	for (int s = 0; s < GRETA_JOB_STATE_COUNT; s++)
		if (greta_str_eq(name, greta_job_state_name((enum greta_job_state)s)))
			return (enum greta_job_state)s;
	return GRETA_JOB_CANCELLED;
}

static int load_runs(struct greta_db *db, struct rca *r, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(db, e, runs_sql, "i", r->campaign_id);
	int rc = q ? 0 : -1;

	while (q && (rc = greta_query_step(q, e)) == 1) {
		struct rca_run *run = GRETA_PUSH(r->runs.items, r->runs.n, r->runs.cap);
		size_t variant = (size_t)greta_query_i64(q, 3);

		*run = (struct rca_run){
			.job_id = greta_query_i64(q, 0),
			.stage = (enum rca_stage)greta_query_i64(q, 1),
			.context = greta_query_i64(q, 2),
			.on = variant < r->design.n_variants ? r->design.variants[variant] : 0,
			.state = state_of(greta_query_str(q, 4)),
			.outcome = greta_outcome_parse(greta_query_str(q, 5)),
			.n_attempts = greta_query_i64(q, 6),
			.wall_s = greta_query_f64(q, 7),
		};
	}
	return rc;
}

int rca_load(struct greta_db *db, int64_t campaign_id, struct rca *out, struct greta_err *e)
{
	struct greta_campaign_row row = {0};
	int rc = -1;

	*out = (struct rca){.campaign_id = campaign_id};
	if (greta_campaigns_get(db, campaign_id, &row, e) < 0)
		return -1;
	out->explains = row.explains;
	if (!row.design)
		greta_err_set(e, GRETA_EINVAL, "campaign %lld looks for no cause of a hang: it is of kind %s",
			      (long long)campaign_id, greta_campaign_kind_name(row.kind));
	else if (rca_design_parse(row.design, &out->design, e) == 0)
		rc = load_runs(db, out, e);
	greta_campaign_row_release(&row);
	if (rc < 0)
		rca_release(out);
	return rc;
}

void rca_release(struct rca *r)
{
	rca_design_release(&r->design);
	rca_runs_release(&r->runs);
}
