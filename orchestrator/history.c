#include "orchestrator/history.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/campaigns.h"
#include "db/db.h"
#include <string.h>
#include <time.h>

/* The order of the joins is the order of the filters: a campaign's variants and jobs are found by index, so what a
 * question costs goes by the campaigns that pass, not by the size of the database. */
static const char history_sql[] =
	"SELECT v.name, j.context, a.prefill_s, c.id, a.id, a.environment_id, a.build_id, a.ended_ns, c.submitted_ns,"
	"       a.tokens_verified, c.name, c.mode, a.device_type, a.dtype, a.attn_impl,"
	"       coalesce(m.data_sha256, m.file_sha256), coalesce(m.name, substr(m.file_sha256, 1, 12)),"
	"       coalesce(l.name, n.hostname), coalesce(b.declared_id, substr(b.build_sha256, 1, 12)),"
	"       v.id, a.excluded"
	" FROM (SELECT id, name, mode, submitted_ns FROM campaign"
	"       WHERE (id = ? OR ? IS NULL AND kind <> 'rca') AND mode = coalesce(?, mode)"
	"       AND (? IS NULL OR (submitted_ns, id) < (SELECT submitted_ns, id FROM campaign WHERE id = ?))"
	"       ORDER BY submitted_ns DESC, id DESC LIMIT ?) c"
	" CROSS JOIN variant v ON v.campaign_id = c.id AND v.name = coalesce(?, v.name)"
	" CROSS JOIN job j ON j.campaign_id = c.id AND j.variant_id = v.id AND j.context = coalesce(?, j.context)"
	" CROSS JOIN attempt a ON a.id = j.counted_attempt"
	" LEFT JOIN model m ON m.id = a.model_id LEFT JOIN build b ON b.id = a.build_id"
	" LEFT JOIN alias l ON l.id = a.alias_id LEFT JOIN node n ON n.id = a.node_id"
	" WHERE a.prefill_s > 0"
	" AND (? IS NULL OR l.name = ? OR n.hostname = ?)"
	" AND (? IS NULL OR b.declared_id = ? OR substr(b.build_sha256, 1, length(?)) = ?)"
	" AND (? IS NULL OR a.ended_ns >= ?) AND (? IS NULL OR a.ended_ns < ?)";

static const char command_sql[] =
	"SELECT json_extract(detail, '$.command')"
	" || coalesce(' args ' || nullif(json_extract(detail, '$.args'), '[]'), '')"
	" || coalesce(' env ' || nullif(json_extract(detail, '$.env'), '[]'), '') FROM variant WHERE id = ?";

/* Newest first: how many runs were planned. */
static const char sizes_sql[] =
	"SELECT (SELECT count(*) FROM job WHERE campaign_id = c.id) FROM campaign c WHERE kind <> 'rca'"
	" AND mode = coalesce(?, mode)"
	" AND (? IS NULL OR (submitted_ns, id) < (SELECT submitted_ns, id FROM campaign WHERE id = ?))"
	" ORDER BY submitted_ns DESC, id DESC LIMIT ?";

enum column {
	H_VARIANT, H_CONTEXT, H_PREFILL, H_CAMPAIGN, H_ATTEMPT, H_ENVIRONMENT, H_BUILD_ID, H_ENDED, H_SUBMITTED, H_VERIFIED,
	H_CAMPAIGN_NAME, H_MODE, H_DEVICE, H_DTYPE, H_ATTN, H_MODEL_DATA, H_MODEL, H_NODE, H_BUILD, H_VARIANT_ID,
	H_EXCLUDED, H_COLUMNS,
};

#define RECENT 8

/* The texts last seen in each column: they change seldom, and there are many runs. */
struct reading {
	struct greta_db *db;
	struct history *out;
	const char *recent[H_COLUMNS][RECENT];
	unsigned next[H_COLUMNS];
	int64_t variant_id; /* whose command is: */
	const char *command;
};

static const char *keep(struct reading *r, const char *s)
{
	if (!s)
		return NULL;
	greta_strs_add(&r->out->texts, s);
	return r->out->texts.items[r->out->texts.n - 1];
}

static const char *text(struct reading *r, struct greta_query *q, int column)
{
	const char *s = greta_query_str(q, column);
	for (size_t i = 0; s && i < RECENT; i++)
		if (greta_str_eq(s, r->recent[column][i]))
			return r->recent[column][i];
	const char *kept = keep(r, s);
	if (kept)
		r->recent[column][r->next[column]++ % RECENT] = kept;
	return kept;
}

static int read_command(struct reading *r, int64_t variant_id, struct greta_err *e)
{
	if (variant_id == r->variant_id)
		return 0;
	cleanup_query struct greta_query *q = greta_query_open(r->db, e, command_sql, "i", variant_id);
	if (!q || greta_query_step(q, e) < 0)
		return -1;
	r->variant_id = variant_id;
	r->command = keep(r, greta_query_str(q, 0));
	return 0;
}

static int read_run(struct reading *r, struct greta_query *q, struct greta_err *e)
{
	if (read_command(r, greta_query_i64(q, H_VARIANT_ID), e))
		return -1;
	*GRETA_PUSH(r->out->items, r->out->n, r->out->cap) = (struct history_run){
		.variant = text(r, q, H_VARIANT),
		.context = greta_query_i64(q, H_CONTEXT),
		.prefill_s = greta_query_f64(q, H_PREFILL),
		.campaign_id = greta_query_i64(q, H_CAMPAIGN),
		.attempt_id = greta_query_i64(q, H_ATTEMPT),
		.environment_id = greta_query_i64(q, H_ENVIRONMENT),
		.build_id = greta_query_i64(q, H_BUILD_ID),
		.ended_ns = greta_query_i64(q, H_ENDED),
		.submitted_ns = greta_query_i64(q, H_SUBMITTED),
		.verified = greta_query_i64(q, H_VERIFIED) != 0,
		.campaign = text(r, q, H_CAMPAIGN_NAME),
		.mode = text(r, q, H_MODE),
		.device_type = text(r, q, H_DEVICE),
		.dtype = text(r, q, H_DTYPE),
		.attn_impl = text(r, q, H_ATTN),
		.model_data = text(r, q, H_MODEL_DATA),
		.model = text(r, q, H_MODEL),
		.node = text(r, q, H_NODE),
		.build = text(r, q, H_BUILD),
		.command = r->command,
	};
	return 0;
}

static int limit_of(struct greta_db *db, const struct history_filter *f, int64_t *limit, struct greta_err *e)
{
	int64_t runs = 0;
	*limit = INT64_MAX;
	if (!f->last_campaigns)
		return 0;
	cleanup_query struct greta_query *q = greta_query_open(db, e, sizes_sql, "sooi", f->mode, f->before_campaign_id,
							       f->before_campaign_id, f->last_campaigns);
	int rc = q ? greta_query_step(q, e) : -1;
	*limit = 0;
	for (; rc == 1 && runs < HISTORY_RUNS; rc = greta_query_step(q, e)) {
		runs += greta_query_i64(q, 0);
		++*limit;
	}
	return rc < 0 ? -1 : 0;
}

static int by_age(const void *x, const void *y)
{
	const struct history_run *a = x, *b = y;
	const int64_t keys[][2] = {{a->submitted_ns, b->submitted_ns},
				   {a->campaign_id, b->campaign_id},
				   {a->ended_ns, b->ended_ns},
				   {a->attempt_id, b->attempt_id}};
	for (size_t i = 0; i < GRETA_COUNT(keys); i++)
		if (keys[i][0] != keys[i][1])
			return keys[i][0] < keys[i][1] ? -1 : 1;
	return 0;
}

int history_load(struct greta_db *db, const struct history_filter *f, struct history *out, struct greta_err *e)
{
	struct reading r = {.db = db, .out = out};
	size_t before = out->n;
	int64_t limit;
	if (limit_of(db, f, &limit, e))
		return -1;
	cleanup_query struct greta_query *q = greta_query_open(
		db, e, history_sql, "oosooisosssssssoooo", f->campaign_id, f->campaign_id, f->mode, f->before_campaign_id,
		f->before_campaign_id, limit, f->variant, f->context, f->node, f->node, f->node, f->build, f->build,
		f->build, f->build, f->since_ns, f->since_ns, f->until_ns, f->until_ns);
	int rc = q ? 0 : -1;
	while (q && (rc = greta_query_step(q, e)) == 1) {
		const char *excluded = greta_query_str(q, H_EXCLUDED);
		validity_tally_add(&out->marked, excluded);
		if ((!excluded || f->with_marked) && read_run(&r, q, e))
			return -1;
	}
	if (out->n > before)
		qsort(out->items + before, out->n - before, sizeof *out->items, by_age);
	return rc;
}

void history_release(struct history *h)
{
	greta_strs_release(&h->texts);
	validity_tally_release(&h->marked);
	free(h->items);
	*h = (struct history){0};
}

static bool parts(const char *a, const char *b)
{
	return a && b && !greta_str_eq(a, b);
}

bool history_comparable(const struct history_run *a, const struct history_run *b)
{
	return !parts(a->mode, b->mode) && !parts(a->model_data, b->model_data) && !parts(a->device_type, b->device_type) &&
	       !parts(a->dtype, b->dtype);
}

/* ---- selections */

static int parse_date(const char *what, const char *value, int64_t *ns, struct greta_err *e)
{
	struct tm tm = {0};
	const char *end = strptime(value, "%Y-%m-%d", &tm);
	if (!end || *end)
		return greta_err_set(e, GRETA_EINVAL, "%s: '%s' is not a date (2026-02-12)", what, value);
	*ns = (int64_t)timegm(&tm) * GRETA_NS_PER_S;
	return 0;
}

static int parse_mode(const char *value, struct history_filter *f, struct greta_err *e)
{
	if (!greta_str_eq(value, "perf") && !greta_str_eq(value, "debug"))
		return greta_err_set(e, GRETA_EINVAL, "there is no mode '%s': perf or debug", value);
	f->mode = value;
	return 0;
}

static int parse_context(const char *value, struct history_filter *f, struct greta_err *e)
{
	if (greta_str_i64(value, &f->context) || f->context < 1)
		return greta_err_set(e, GRETA_EINVAL, "context: '%s' is not a context length", value);
	return 0;
}

static int parse_campaign(struct greta_db *db, char *value, struct history_filter *f, struct greta_err *e)
{
	char *colon = strchr(value, ':');
	if (colon) {
		*colon = 0;
		f->variant = colon + 1;
	}
	return greta_campaigns_find(db, value, &f->campaign_id, e);
}

static int parse_term(struct greta_db *db, char *term, struct history_filter *f, struct greta_err *e)
{
	static const int64_t day_ns = 86400 * GRETA_NS_PER_S;
	char *value = strchr(term, '=');
	if (!value)
		return parse_campaign(db, term, f, e);
	*value++ = 0;
	if (greta_str_eq(term, "campaign"))
		return parse_campaign(db, value, f, e);
	if (greta_str_eq(term, "context"))
		return parse_context(value, f, e);
	if (greta_str_eq(term, "mode"))
		return parse_mode(value, f, e);
	if (greta_str_eq(term, "since"))
		return parse_date(term, value, &f->since_ns, e);
	if (greta_str_eq(term, "until") || greta_str_eq(term, "date")) {
		if (parse_date(term, value, &f->until_ns, e))
			return -1;
		if (term[0] == 'd')
			f->since_ns = f->until_ns;
		f->until_ns += day_ns;
		return 0;
	}
	const char **slot = greta_str_eq(term, "variant") ? &f->variant
			  : greta_str_eq(term, "node")	  ? &f->node
			  : greta_str_eq(term, "build")	  ? &f->build
							  : NULL;
	if (!slot)
		return greta_err_set(e, GRETA_EINVAL,
				     "a selection has no '%s': campaign variant context node build mode date since until", term);
	*slot = value;
	return 0;
}

int selection_parse(struct greta_db *db, const char *given, struct selection *out, struct greta_err *e)
{
	*out = (struct selection){.text = greta_strdup(given), .parts = greta_strdup(given)};
	char *rest = out->parts, *term;
	while ((term = strsep(&rest, ",")) != NULL) {
		if (*term && parse_term(db, term, &out->filter, e) == 0)
			continue;
		if (!*term)
			greta_err_set(e, GRETA_EINVAL, "'%s': an empty term in a selection", given);
		selection_release(out);
		return -1;
	}
	if (!out->filter.mode && !out->filter.campaign_id)
		out->filter.mode = "perf";
	return 0;
}

void selection_release(struct selection *s)
{
	free(s->text);
	free(s->parts);
	*s = (struct selection){0};
}
