#include "db/hangs.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "db/db.h"
#include "orchestrator/analysis/hangs.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const hang_by_names[HANG_BY_COUNT] = {"nodes", "variants", "contexts", "campaigns"};

/* A root cause analysis runs the variant of the attempt that it explains under names of its own, "v3.sdma0": what they change
 * stands in the environment, so they are runs of that variant's cells. */
#define FROM_ATTEMPT                                                                                            \
	" FROM attempt a JOIN job j ON j.id = a.job_id JOIN variant v ON v.id = j.variant_id"                   \
	" JOIN campaign c ON c.id = j.campaign_id"                                                              \
	" LEFT JOIN attempt ea ON ea.id = c.explains LEFT JOIN job ej ON ej.id = ea.job_id"                     \
	" LEFT JOIN variant ev ON ev.id = ej.variant_id AND substr(v.name, 1, length(ev.name) + 1) = ev.name || '.'"
#define VARIANT "coalesce(ev.name, v.name)"

/* ---- the runs */

enum column { C_ATTEMPT, C_CAMPAIGN_ID, C_CONTEXT, C_ENVIRONMENT, C_ENDED, C_UUID, C_VARIANT, C_NODE, C_CAMPAIGN, C_BUILD,
	      C_MODEL, C_FINGERPRINT, C_HUNG };

static const char runs_sql[] =
	"WITH hung AS (SELECT " VARIANT " AS variant, j.context" FROM_ATTEMPT " WHERE " GRETA_IS_HANG ")"
	" SELECT a.id, j.campaign_id, j.context, a.environment_id, a.ended_ns, a.uuid, " VARIANT ", coalesce(l.name, n.hostname),"
	" c.name, coalesce(b.declared_id, substr(b.build_sha256, 1, 12)), m.name, a.fingerprint, " GRETA_IS_HANG
	FROM_ATTEMPT " LEFT JOIN alias l ON l.id = a.alias_id"
	" LEFT JOIN node n ON n.id = a.node_id LEFT JOIN build b ON b.id = a.build_id LEFT JOIN model m ON m.id = a.model_id"
	" WHERE (a.outcome = 'ok' OR " GRETA_IS_HANG ") AND (" VARIANT " IN (SELECT variant FROM hung)"
	" OR j.context IN (SELECT context FROM hung)) ORDER BY a.ended_ns, a.id";

static char *copy(struct greta_query *q, enum column c)
{
	return greta_strdup(greta_query_str(q, c));
}

/* One that hung before fingerprints were stored is given its own now. */
static int add_fingerprint(struct greta_db *db, struct vanish_run *r, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};
	if (greta_hangs_fingerprint(db, r->attempt_id, &text, e))
		return -1;
	r->fingerprint = greta_strdup(greta_buf_str(&text));
	return 0;
}

static int load_runs(struct greta_db *db, struct vanish_runs *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(db, e, runs_sql, "");
	int rc = q ? greta_query_step(q, e) : -1;
	for (; rc == 1; rc = greta_query_step(q, e)) {
		struct vanish_run *r = GRETA_PUSH(out->items, out->n, out->cap);
		*r = (struct vanish_run){
			.attempt_id = greta_query_i64(q, C_ATTEMPT),
			.campaign_id = greta_query_i64(q, C_CAMPAIGN_ID),
			.context = greta_query_i64(q, C_CONTEXT),
			.environment_id = greta_query_i64(q, C_ENVIRONMENT),
			.ended_ns = greta_query_i64(q, C_ENDED),
			.uuid = copy(q, C_UUID),
			.variant = copy(q, C_VARIANT),
			.node = copy(q, C_NODE),
			.campaign = copy(q, C_CAMPAIGN),
			.build = copy(q, C_BUILD),
			.model = copy(q, C_MODEL),
			.fingerprint = greta_query_i64(q, C_HUNG) ? copy(q, C_FINGERPRINT) : NULL,
		};
		if (greta_query_i64(q, C_HUNG) && !r->fingerprint && add_fingerprint(db, r, e))
			return -1;
	}
	return rc;
}

/* ---- groups */

static struct hang_group *group_of(struct hangs *h, const char *fingerprint)
{
	for (size_t i = 0; i < h->n; i++)
		if (greta_str_eq(h->items[i].fingerprint, fingerprint))
			return &h->items[i];
	struct hang_group *g = GRETA_PUSH(h->items, h->n, h->cap);
	*g = (struct hang_group){.fingerprint = greta_strdup(fingerprint)};
	return g;
}

static void count(struct hang_counts *c, const char *name)
{
	size_t i = 0;
	while (i < c->n && !greta_str_eq(c->items[i].name, name))
		i++;
	if (i == c->n)
		*GRETA_PUSH(c->items, c->n, c->cap) = (struct hang_count){.name = greta_strdup(name)};
	c->items[i].n++;
}

static void add_run(struct hangs *h, const struct vanish_run *r)
{
	char context[24];
	struct hang_group *g = group_of(h, r->fingerprint);
	snprintf(context, sizeof context, "%" PRId64, r->context);
	g->first_ns = g->n++ ? g->first_ns : r->ended_ns;
	g->last_ns = r->ended_ns;
	count(&g->by[HANG_BY_NODE], r->node ? r->node : "not known");
	count(&g->by[HANG_BY_VARIANT], r->variant);
	count(&g->by[HANG_BY_CONTEXT], context);
	count(&g->by[HANG_BY_CAMPAIGN], r->campaign);
	greta_strs_add(&g->attempts, r->uuid);
}

static bool is_wanted(const struct vanish_run *r, const int64_t *campaigns, size_t n)
{
	bool wanted = n == 0;
	for (size_t i = 0; i < n; i++)
		wanted |= campaigns[i] == r->campaign_id;
	return wanted && r->fingerprint;
}

static int last_first(const void *a, const void *b)
{
	const struct hang_group *x = a, *y = b;
	return (x->last_ns < y->last_ns) - (x->last_ns > y->last_ns);
}

int hangs_load(struct greta_db *db, const int64_t *campaigns, size_t n_campaigns, struct hangs *out, struct greta_err *e)
{
	cleanup_with(vanish_runs_release) struct vanish_runs runs = {0};
	*out = (struct hangs){0};
	int rc = load_runs(db, &runs, e);
	for (size_t i = 0; rc == 0 && i < runs.n; i++)
		if (is_wanted(&runs.items[i], campaigns, n_campaigns))
			add_run(out, &runs.items[i]);
	for (size_t i = 0; rc == 0 && i < out->n; i++)
		rc = vanish_find(db, &runs, out->items[i].fingerprint, &out->items[i].vanished, e);
	if (out->n)
		qsort(out->items, out->n, sizeof *out->items, last_first);
	if (rc)
		hangs_release(out);
	return rc;
}

static void group_release(struct hang_group *g)
{
	free(g->fingerprint);
	for (int by = 0; by < HANG_BY_COUNT; by++) {
		for (size_t i = 0; i < g->by[by].n; i++)
			free(g->by[by].items[i].name);
		free(g->by[by].items);
	}
	greta_strs_release(&g->attempts);
	vanish_list_release(&g->vanished);
}

void hangs_release(struct hangs *h)
{
	for (size_t i = 0; i < h->n; i++)
		group_release(&h->items[i]);
	free(h->items);
	*h = (struct hangs){0};
}
