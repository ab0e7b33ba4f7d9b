#include "orchestrator/analysis/history.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/campaigns.h"
#include "db/db.h"
#include <string.h>
#include <time.h>

#define TEXTS_SEEN 64 /* of a history's texts, when it is asked whether it has one */

/* The order of the joins is the order of the filters: a campaign's variants and jobs are found by index, so what a
 * question costs goes by the campaigns that pass, not by the size of the database. attempt_result has every column of a run
 * that is asked for, so its row is not read. */
static const char history_sql[] =
	"SELECT v.id, j.context, a.prefill_s, a.id, a.environment_id, a.build_id, a.model_id, a.alias_id, a.node_id, a.ended_ns,"
	"       a.tokens_verified, a.device_type, a.dtype, a.attn_impl, a.excluded"
	" FROM (SELECT id FROM campaign"
	"       WHERE (id = ? OR ? IS NULL AND kind <> 'rca') AND mode = coalesce(?, mode)"
	"       AND (? IS NULL OR (submitted_ns, id) < (SELECT submitted_ns, id FROM campaign WHERE id = ?))"
	"       ORDER BY submitted_ns DESC, id DESC LIMIT ?) c"
	" CROSS JOIN variant v ON v.campaign_id = c.id AND v.name = coalesce(?, v.name)"
	" CROSS JOIN job j ON j.campaign_id = c.id AND j.variant_id = v.id AND j.context = coalesce(?, j.context)"
	" CROSS JOIN attempt a INDEXED BY attempt_result ON a.id = j.counted_attempt"
	" WHERE a.prefill_s > 0 AND (? IS NULL OR a.ended_ns >= ?) AND (? IS NULL OR a.ended_ns < ?)";

enum column {
	H_VARIANT, H_CONTEXT, H_PREFILL, H_ATTEMPT, H_ENVIRONMENT, H_BUILD, H_MODEL, H_ALIAS, H_NODE, H_ENDED, H_VERIFIED, H_DEVICE,
	H_DTYPE, H_ATTN, H_EXCLUDED,
};

/* Asked once a kind: thousands of runs are of one. */
static const char kind_sql[] =
	"SELECT c.id, c.submitted_ns, v.name, c.name, c.mode, coalesce(m.data_sha256, m.file_sha256),"
	"       coalesce(m.name, substr(m.file_sha256, 1, 12)), coalesce(l.name, n.hostname),"
	"       coalesce(b.declared_id, substr(b.build_sha256, 1, 12)),"
	"       json_extract(v.detail, '$.command')"
	"       || coalesce(' args ' || nullif(json_extract(v.detail, '$.args'), '[]'), '')"
	"       || coalesce(' env ' || nullif(json_extract(v.detail, '$.env'), '[]'), ''),"
	"       ifnull(?1 IS NULL OR l.name = ?1 OR n.hostname = ?1, 0)"
	"       AND ifnull(?2 IS NULL OR b.declared_id = ?2 OR substr(b.build_sha256, 1, length(?2)) = ?2, 0)"
	" FROM variant v JOIN campaign c ON c.id = v.campaign_id LEFT JOIN model m ON m.id = ?3 LEFT JOIN build b ON b.id = ?4"
	" LEFT JOIN alias l ON l.id = ?5 LEFT JOIN node n ON n.id = ?6 WHERE v.id = ?7";

enum kind_column {
	K_CAMPAIGN_ID, K_SUBMITTED, K_VARIANT, K_CAMPAIGN, K_MODE, K_MODEL_DATA, K_MODEL, K_NODE, K_BUILD, K_COMMAND, K_WANTED,
};

/* Newest first: how many runs were planned. */
static const char sizes_sql[] =
	"SELECT (SELECT max(position) + 1 FROM job WHERE campaign_id = c.id) FROM campaign c WHERE kind <> 'rca'"
	" AND mode = coalesce(?, mode)"
	" AND (? IS NULL OR (submitted_ns, id) < (SELECT submitted_ns, id FROM campaign WHERE id = ?))"
	" ORDER BY submitted_ns DESC, id DESC LIMIT ?";

struct reading {
	struct greta_db *db;
	const struct history_filter *filter;
	struct history *out;
	struct greta_query *q;
	struct seen {               /* of the variant at hand */
		struct history_kind ids;
		const struct history_kind *kept; /* NULL: the filter leaves it out */
	} *seen;
	size_t n_seen, cap_seen;
};

static void reading_release(struct reading *r)
{
	greta_query_close(r->q);
	free(r->seen);
}

/* Texts change seldom, and the last few of them are looked at. */
static const char *keep(struct history *h, const char *s)
{
	for (size_t i = h->texts.n; s && i > 0 && i + TEXTS_SEEN > h->texts.n; i--)
		if (greta_str_eq(s, h->texts.items[i - 1]))
			return h->texts.items[i - 1];
	if (!s)
		return NULL;
	greta_strs_add(&h->texts, s);
	return h->texts.items[h->texts.n - 1];
}

static bool is_of(const struct history_kind *a, const struct history_kind *b)
{
	return a->environment_id == b->environment_id && a->build_id == b->build_id && a->model_id == b->model_id &&
	       a->alias_id == b->alias_id && a->node_id == b->node_id && greta_str_eq(a->device_type, b->device_type) &&
	       greta_str_eq(a->dtype, b->dtype) && greta_str_eq(a->attn_impl, b->attn_impl);
}

/* Asks what its ids mean. *kept stays NULL where the filter leaves it out. */
static int add_kind(struct reading *r, const struct history_kind *ids, const struct history_kind **kept, struct greta_err *e)
{
	struct history *h = r->out;
	cleanup_query struct greta_query *q =
		greta_query_open(r->db, e, kind_sql, "ssiiiii", r->filter->node, r->filter->build, ids->model_id, ids->build_id,
				 ids->alias_id, ids->node_id, ids->variant_id);
	int rc = q ? greta_query_step(q, e) : -1;
	if (rc < 0 || (rc == 1 && !greta_query_i64(q, K_WANTED)))
		return rc < 0 ? -1 : 0;
	struct history_kind *k = greta_alloc(sizeof *k);
	*GRETA_PUSH(h->kinds, h->n_kinds, h->cap_kinds) = k;
	*k = *ids;
	k->campaign_id = greta_query_i64(q, K_CAMPAIGN_ID);
	k->submitted_ns = greta_query_i64(q, K_SUBMITTED);
	k->variant = keep(h, greta_query_str(q, K_VARIANT));
	k->campaign = keep(h, greta_query_str(q, K_CAMPAIGN));
	k->mode = keep(h, greta_query_str(q, K_MODE));
	k->model_data = keep(h, greta_query_str(q, K_MODEL_DATA));
	k->model = keep(h, greta_query_str(q, K_MODEL));
	k->node = keep(h, greta_query_str(q, K_NODE));
	k->build = keep(h, greta_query_str(q, K_BUILD));
	k->command = keep(h, greta_query_str(q, K_COMMAND));
	*kept = k;
	return 0;
}

/* The row's kind, in *kept; NULL: the filter leaves it out. Rows come variant by variant. */
static int kind_of_row(struct reading *r, const struct history_kind **kept, struct greta_err *e)
{
	struct greta_query *q = r->q;
	struct history_kind k = {
		.variant_id = greta_query_i64(q, H_VARIANT),
		.environment_id = greta_query_i64(q, H_ENVIRONMENT),
		.build_id = greta_query_i64(q, H_BUILD),
		.model_id = greta_query_i64(q, H_MODEL),
		.alias_id = greta_query_i64(q, H_ALIAS),
		.node_id = greta_query_i64(q, H_NODE),
		.device_type = greta_query_str(q, H_DEVICE),
		.dtype = greta_query_str(q, H_DTYPE),
		.attn_impl = greta_query_str(q, H_ATTN),
	};
	*kept = NULL;
	if (r->n_seen && r->seen[0].ids.variant_id != k.variant_id)
		r->n_seen = 0;
	for (size_t i = 0; i < r->n_seen; i++)
		if (is_of(&r->seen[i].ids, &k)) {
			*kept = r->seen[i].kept;
			return 0;
		}
	k.device_type = keep(r->out, k.device_type);
	k.dtype = keep(r->out, k.dtype);
	k.attn_impl = keep(r->out, k.attn_impl);
	if (add_kind(r, &k, kept, e))
		return -1;
	*GRETA_PUSH(r->seen, r->n_seen, r->cap_seen) = (struct seen){k, *kept};
	return 0;
}

static int read_row(struct reading *r, struct greta_err *e)
{
	const struct history_kind *kind;
	struct greta_query *q = r->q;
	if (kind_of_row(r, &kind, e))
		return -1;
	const char *excluded = greta_query_str(q, H_EXCLUDED);
	if (!kind)
		return 0;
	validity_tally_add(&r->out->marked, excluded);
	if (!excluded || r->filter->with_marked)
		*GRETA_PUSH(r->out->items, r->out->n, r->out->cap) = (struct history_run){
			.kind = kind,
			.context = greta_query_i64(q, H_CONTEXT),
			.prefill_s = greta_query_f64(q, H_PREFILL),
			.attempt_id = greta_query_i64(q, H_ATTEMPT),
			.ended_ns = greta_query_i64(q, H_ENDED),
			.verified = greta_query_i64(q, H_VERIFIED) != 0,
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
	const int64_t keys[][2] = {{a->kind->submitted_ns, b->kind->submitted_ns},
				   {a->kind->campaign_id, b->kind->campaign_id},
				   {a->ended_ns, b->ended_ns},
				   {a->attempt_id, b->attempt_id}};
	for (size_t i = 0; i < GRETA_COUNT(keys); i++)
		if (keys[i][0] != keys[i][1])
			return keys[i][0] < keys[i][1] ? -1 : 1;
	return 0;
}

int history_load(struct greta_db *db, const struct history_filter *f, struct history *out, struct greta_err *e)
{
	cleanup_with(reading_release) struct reading r = {.db = db, .filter = f, .out = out};
	size_t before = out->n;
	int64_t limit;
	if (limit_of(db, f, &limit, e))
		return -1;
	r.q = greta_query_open(db, e, history_sql, "oosooisooooo", f->campaign_id, f->campaign_id, f->mode, f->before_campaign_id,
			       f->before_campaign_id, limit, f->variant, f->context, f->since_ns, f->since_ns, f->until_ns,
			       f->until_ns);
	int rc = r.q ? 0 : -1;
	while (r.q && (rc = greta_query_step(r.q, e)) == 1)
		if (read_row(&r, e))
			return -1;
	if (out->n > before)
		qsort(out->items + before, out->n - before, sizeof *out->items, by_age);
	return rc;
}

void history_release(struct history *h)
{
	for (size_t i = 0; i < h->n_kinds; i++)
		free(h->kinds[i]);
	greta_strs_release(&h->texts);
	validity_tally_release(&h->marked);
	free(h->kinds);
	free(h->items);
	*h = (struct history){0};
}

static bool parts(const char *a, const char *b)
{
	return a && b && !greta_str_eq(a, b);
}

bool history_comparable(const struct history_kind *a, const struct history_kind *b)
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
