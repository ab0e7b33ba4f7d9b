#include "orchestrator/plan/estimate.h"
#include "db/db.h"
#include "orchestrator/analysis/stats.h"
#include <math.h>

static const char history_sql[] =
	"SELECT a.wall_s FROM attempt a JOIN job ON job.id = a.job_id JOIN variant ON variant.id = job.variant_id"
	" JOIN campaign ON campaign.id = job.campaign_id"
	" WHERE a.outcome = 'ok' AND a.wall_s IS NOT NULL AND campaign.name = ? AND campaign.mode = ?"
	" AND variant.name = ? AND job.context = ? ORDER BY a.id DESC LIMIT 50";

int estimate_job(struct greta_db *db, const struct greta_campaign *c, const char *variant, int64_t context,
		 struct estimate *out, struct greta_err *e)
{
	*out = (struct estimate){.wall_s = NAN, .budget_s = greta_campaign_timeout_s(c, context)};
	if (!db)
		return 0;
	cleanup_query struct greta_query *q =
		greta_query_open(db, e, history_sql, "sssi", c->name, greta_mode_name(c->mode), variant, context);
	struct stats_sample walls = {0};
	int rc = q ? 0 : -1;
	while (q && (rc = greta_query_step(q, e)) == 1)
		stats_add(&walls, greta_query_f64(q, 0));
	struct stats_median m = stats_median(&walls);
	out->wall_s = m.median;
	out->n = (int64_t)m.n;
	stats_release(&walls);
	return rc;
}
