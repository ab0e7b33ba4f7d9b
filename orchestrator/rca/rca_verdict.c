#include "orchestrator/rca/rca_verdict.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "db/db.h"
#include "orchestrator/print/output.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- cells of this search and of others */

static struct rca_cell *add_cell(struct rca_verdict *v, const char *variant, const char *setting, int64_t context)
{
	struct rca_cell *c = GRETA_PUSH(v->cells, v->n_cells, v->cap_cells);

	*c = (struct rca_cell){.variant = greta_strdup(variant), .setting = greta_strdup(setting), .context = context};
	return c;
}

static void add_own_cell(struct rca_verdict *v, int64_t context)
{
	struct rca_cell *c = add_cell(v, v->rca.design.variant, "", context);

	c->where = greta_strdup("this search");
	for (size_t i = 0; i < v->rca.runs.n; i++) {
		const struct rca_run *r = &v->rca.runs.items[i];
		enum rca_telling t = rca_telling(r->outcome);

		if (r->context != context || r->on)
			continue;
		c->rate.hung += t == RCA_TELLS_HANG;
		c->rate.runs += t == RCA_TELLS_HANG || t == RCA_TELLS_QUIET;
	}
}

static void add_own_cells(struct rca_verdict *v)
{
	for (size_t i = 0; i < v->rca.design.n_contexts; i++)
		add_own_cell(v, v->rca.design.contexts[i]);
	add_own_cell(v, v->rca.design.context);
}

/* Words of `a` that `base` has not: the two are variables as SQLite joined them, with a unit separator. */
static char *settings_beyond(const char *a, const char *base)
{
	struct greta_buf out = {0};

	for (const char *s = a; *s;) {
		size_t n = strcspn(s, "\x1f");
		bool there = false;

		for (const char *b = base; *b;) {
			size_t m = strcspn(b, "\x1f");

			there |= m == n && !strncmp(s, b, n);
			b += m + (b[m] != '\0');
		}
		if (!there)
			greta_buf_addf(&out, "%s%.*s", out.len ? " " : "", (int)n, s);
		s += n + (s[n] != '\0');
	}
	return out.len ? greta_buf_steal(&out) : greta_strdup("");
}

#define VARIABLES(attempt)                                                                                             \
	"coalesce((SELECT group_concat(substr(key, 5) || '=' || value, char(31)) FROM (SELECT key, value FROM "        \
	"environment_row WHERE environment_id = " attempt ".environment_id AND key LIKE 'env.%' ORDER BY key)), '')"

static const char earlier_sql[] = "SELECT v.name, j.context, c.kind, c.name, c.mode, " VARIABLES(
	"a") ", sum(a.outcome = 'hung'), count(*), " VARIABLES("x") " FROM attempt x, campaign c JOIN job j ON "
								    "j.campaign_id = c.id JOIN variant v ON v.id = "
								    "j.variant_id "
								    "JOIN attempt a ON a.job_id = j.id WHERE x.id = ? "
								    "AND c.id <> ? AND (v.name = ? OR v.name = ?) "
								    "AND a.outcome IN ('hung', 'ok', 'invalid') GROUP "
								    "BY v.name, 6, c.id, j.context ORDER BY c.id, "
								    "v.name, 6, j.context";

static void take_earlier(struct rca_verdict *v, struct greta_query *q)
{
	cleanup_free char *beyond = settings_beyond(greta_query_str(q, 5), greta_query_str(q, 8));
	bool debug = greta_str_eq(greta_query_str(q, 4), "debug");
	cleanup_free char *setting =
		greta_format("%s%s%s", debug ? "mode debug" : "", debug && *beyond ? " " : "", beyond);
	struct rca_cell *c = add_cell(v, greta_query_str(q, 0), setting, greta_query_i64(q, 1));

	c->imported = greta_str_eq(greta_query_str(q, 2), "import");
	c->where = greta_format("%s %s", c->imported ? "import" : "campaign", greta_query_str(q, 3));
	c->rate = (struct hang_rate){greta_query_i64(q, 6), greta_query_i64(q, 7)};
}

static int add_earlier_cells(struct greta_db *db, struct rca_verdict *v, struct greta_err *e)
{
	const struct rca_design *d = &v->rca.design;
	cleanup_query struct greta_query *q =
		greta_query_open(db, e, earlier_sql, "iiss", v->rca.explains, v->rca.campaign_id, d->variant,
				 d->reference ? d->reference : d->variant);
	int rc = q ? 0 : -1;

	while (q && (rc = greta_query_step(q, e)) == 1)
		take_earlier(v, q);
	return rc;
}

int rca_verdict_make(struct greta_db *db, int64_t campaign_id, struct rca_verdict *out, struct greta_err *e)
{
	*out = (struct rca_verdict){0};
	if (rca_load(db, campaign_id, &out->rca, e) < 0)
		return -1;
	rca_decide(&out->rca.design, out->rca.runs.items, out->rca.runs.n, &out->state, NULL);
	add_own_cells(out);
	if (add_earlier_cells(db, out, e) < 0) {
		rca_verdict_release(out);
		return -1;
	}
	return 0;
}

void rca_verdict_release(struct rca_verdict *v)
{
	for (size_t i = 0; i < v->n_cells; i++) {
		free(v->cells[i].variant);
		free(v->cells[i].setting);
		free(v->cells[i].where);
	}
	free(v->cells);
	rca_release(&v->rca);
	*v = (struct rca_verdict){0};
}

int rca_verdicts_of(struct greta_db *db, int64_t campaign_id, struct rca_ids *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e,
		"SELECT id FROM campaign WHERE design IS NOT NULL AND (id = ?1 OR explains IN (SELECT a.id FROM job j "
		"JOIN attempt a ON a.job_id = j.id WHERE j.campaign_id = ?1)) ORDER BY id",
		"i", campaign_id);
	int rc = q ? 0 : -1;

	while (q && (rc = greta_query_step(q, e)) == 1)
		*GRETA_PUSH(out->items, out->n, out->cap) = greta_query_i64(q, 0);
	return rc;
}

/* ---- what it comes to */

size_t rca_verdict_count(const struct rca_verdict *v, enum rca_finding finding)
{
	size_t n = 0;

	for (size_t f = 0; f < v->rca.design.n_factors; f++)
		n += v->state.factors[f].finding == finding;
	return n;
}

bool rca_verdict_finding(const struct rca_verdict *v, enum rca_factor_kind kind, enum rca_finding *out)
{
	enum rca_finding device;

	for (size_t f = 0; f < v->rca.design.n_factors; f++) {
		if (v->rca.design.factors[f].kind != kind)
			continue;
		*out = v->state.factors[f].finding;
		if (kind == RCA_NODE && rca_verdict_finding(v, RCA_DEVICE, &device) && device == RCA_REMOVES_HANGS)
			*out = RCA_DISMISSED;
		return true;
	}
	return false;
}

/* A context is told apart where one below it was tried often enough and never hung. */
static bool context_matters(const struct rca_verdict *v)
{
	for (size_t c = 0; c < v->rca.design.n_contexts; c++)
		if (v->state.context_done[c] && v->state.contexts[c].hung == 0)
			return true;
	return false;
}

enum cmd_exit rca_verdict_exit(const struct rca_verdict *v)
{
	if (v->state.end == RCA_END_GOES_ON || v->state.end == RCA_END_UNDECIDED)
		return CMD_UNDECIDED;
	if (rca_verdict_count(v, RCA_REMOVES_HANGS) || rca_verdict_count(v, RCA_WORSENS) || context_matters(v))
		return CMD_OK;
	return CMD_NOT_ALL_OK;
}

/* ---- tables */

const char *rca_finding_words(enum rca_finding f, enum rca_end end)
{
	switch (f) {
	case RCA_REMOVES_HANGS:
		return "keeps the hang away";
	case RCA_WORSENS:
		return "makes the hang more frequent";
	case RCA_DISMISSED:
		return "does not keep the hang away";
	default:
		return end == RCA_END_GOES_ON ? "is not decided yet" : "is undecided";
	}
}

static const struct table_column factor_columns[] = {
	{"factor", "factor", TABLE_TEXT, 0},
	{"kind", "kind", TABLE_TEXT, 0},
	{"finding", "finding", TABLE_TEXT, 0},
	{"hung_on", "hung with it", TABLE_TEXT, 0},
	{"interval_on", "95 % interval", TABLE_TEXT, 0},
	{"hung_off", "hung without", TABLE_TEXT, 0},
	{"interval_off", "95 % interval", TABLE_TEXT, 0},
	{"e_matters", "e-value", TABLE_SIGNIF, 3},
};

static void add_counts(struct table *t, struct hang_rate r)
{
	struct hang_interval i = hang_rate_any_time(r);
	cleanup_free char *count = greta_format("%lld of %lld", (long long)r.hung, (long long)r.runs);
	cleanup_free char *interval = r.runs ? greta_format("%.1f to %.1f %%", 100 * i.low, 100 * i.high) : NULL;

	table_str(t, count);
	table_str(t, interval);
}

struct table *rca_verdict_factors(const struct rca_verdict *v)
{
	struct table *t = table_create(factor_columns, GRETA_COUNT(factor_columns));

	for (size_t i = 0; i < v->rca.design.n_factors; i++) {
		const struct rca_factor *f = &v->state.factors[i];

		table_row(t);
		table_str(t, v->rca.design.factors[i].name);
		table_str(t, rca_factor_kind_name(v->rca.design.factors[i].kind));
		table_str(t, rca_finding_words(f->finding, v->state.end));
		add_counts(t, f->on);
		add_counts(t, f->off);
		table_num(t, f->e_matters);
	}
	return t;
}

static const struct table_column cell_columns[] = {
	{"variant", "variant", TABLE_TEXT, 0}, {"setting", "set beside", TABLE_TEXT, 0},
	{"context", "context", TABLE_INT, 0},  {"where", "runs of", TABLE_TEXT, 0},
	{"hung", "hung", TABLE_INT, 0},	       {"runs", "of", TABLE_INT, 0},
	{"rate", "hang rate", TABLE_TEXT, 0},
};

static void rate_text(struct hang_rate r, struct greta_buf *out)
{
	struct greta_buf words = {0};
	const char *colon;

	hang_rate_words(r, &words);
	colon = strstr(greta_buf_str(&words), ": ");
	greta_buf_adds(out, colon ? colon + 2 : greta_buf_str(&words));
	greta_buf_release(&words);
}

struct table *rca_verdict_cells(const struct rca_verdict *v)
{
	struct table *t = table_create(cell_columns, GRETA_COUNT(cell_columns));

	for (size_t i = 0; i < v->n_cells; i++) {
		const struct rca_cell *c = &v->cells[i];
		cleanup_buf struct greta_buf rate = {0};

		if (c->rate.runs == 0)
			continue;
		rate_text(c->rate, &rate);
		table_row(t);
		table_str(t, c->variant);
		table_str(t, *c->setting ? c->setting : NULL);
		table_int(t, c->context);
		table_str(t, c->where);
		table_int(t, c->rate.hung);
		table_int(t, c->rate.runs);
		table_str(t, greta_buf_str(&rate));
	}
	return t;
}

/* ---- JSON */

static void json_rate(struct greta_jsonw *w, const char *key, struct hang_rate r)
{
	struct hang_interval fixed = hang_rate_interval(r), any = hang_rate_any_time(r);

	greta_jsonw_object(w, key);
	greta_jsonw_i64(w, "hung", r.hung);
	greta_jsonw_i64(w, "runs", r.runs);
	greta_jsonw_f64(w, "rate", r.runs ? (double)r.hung / (double)r.runs : NAN);
	greta_jsonw_f64(w, "low", fixed.low);
	greta_jsonw_f64(w, "high", fixed.high);
	greta_jsonw_f64(w, "any_time_low", any.low);
	greta_jsonw_f64(w, "any_time_high", any.high);
	greta_jsonw_f64(w, "bound", hang_rate_bound(r));
	greta_jsonw_end_object(w);
}

static void json_factors(const struct rca_verdict *v, struct greta_jsonw *w)
{
	greta_jsonw_array(w, "factors");
	for (size_t i = 0; i < v->rca.design.n_factors; i++) {
		const struct rca_factor *f = &v->state.factors[i];

		greta_jsonw_object(w, NULL);
		greta_jsonw_str(w, "name", v->rca.design.factors[i].name);
		greta_jsonw_str(w, "kind", rca_factor_kind_name(v->rca.design.factors[i].kind));
		greta_jsonw_str(w, "finding", rca_finding_name(f->finding));
		json_rate(w, "on", f->on);
		json_rate(w, "off", f->off);
		greta_jsonw_i64(w, "failed_on", f->failed_on);
		greta_jsonw_i64(w, "failed_off", f->failed_off);
		greta_jsonw_f64(w, "e_matters", f->e_matters);
		greta_jsonw_f64(w, "e_dismisses", f->e_dismisses);
		greta_jsonw_end_object(w);
	}
	greta_jsonw_end_array(w);
}

static void json_cells(const struct rca_verdict *v, struct greta_jsonw *w)
{
	greta_jsonw_array(w, "cells");
	for (size_t i = 0; i < v->n_cells; i++) {
		const struct rca_cell *c = &v->cells[i];

		if (c->rate.runs == 0)
			continue;
		greta_jsonw_object(w, NULL);
		greta_jsonw_str(w, "variant", c->variant);
		greta_jsonw_str(w, "setting", c->setting);
		greta_jsonw_i64(w, "context", c->context);
		greta_jsonw_str(w, "where", c->where);
		json_rate(w, "hang_rate", c->rate);
		greta_jsonw_end_object(w);
	}
	greta_jsonw_end_array(w);
}

static void json_follows(const struct rca_verdict *v, struct greta_jsonw *w)
{
	static const struct {
		enum rca_factor_kind kind;
		const char *key;
	} places[] = {{RCA_VARIANT, "kernel"}, {RCA_DEVICE, "device"}, {RCA_NODE, "node"}};

	greta_jsonw_object(w, "follows");
	for (size_t i = 0; i < GRETA_COUNT(places); i++) {
		enum rca_finding f;

		if (!rca_verdict_finding(v, places[i].kind, &f) || f == RCA_OPEN || f == RCA_WORSENS)
			greta_jsonw_null(w, places[i].key);
		else
			greta_jsonw_bool(w, places[i].key, f == RCA_REMOVES_HANGS);
	}
	greta_jsonw_end_object(w);
}

static void json_words(const struct rca_verdict *v, struct greta_jsonw *w)
{
	cleanup_buf struct greta_buf words = {0};

	rca_verdict_words(v, &words);
	greta_jsonw_lines(w, "words", greta_buf_str(&words));
}

void rca_verdict_json(const struct rca_verdict *v, struct greta_jsonw *w)
{
	const struct rca_design *d = &v->rca.design;
	const struct rca_state *s = &v->state;

	greta_jsonw_i64(w, "campaign", v->rca.campaign_id);
	greta_jsonw_i64(w, "explains", v->rca.explains);
	greta_jsonw_str(w, "end", rca_end_name(s->end));
	greta_jsonw_str(w, "variant", d->variant);
	greta_jsonw_i64(w, "context", d->context);
	greta_jsonw_i64(w, "runs", s->n_attempts);
	greta_jsonw_i64(w, "budget_runs", d->budget_runs);
	greta_jsonw_f64(w, "wall_s", s->wall_s);
	greta_jsonw_f64(w, "budget_s", d->budget_s > 0 ? d->budget_s : NAN);
	greta_jsonw_f64(w, "design_rate", d->rate);
	greta_jsonw_f64(w, "alpha", RCA_ALPHA);
	greta_jsonw_f64(w, "beta", RCA_BETA);
	json_rate(w, "again", s->again);
	json_rate(w, "unchanged", s->unchanged);
	if (s->smallest)
		greta_jsonw_i64(w, "smallest_context", s->smallest);
	else
		greta_jsonw_null(w, "smallest_context");
	json_factors(v, w);
	json_follows(v, w);
	json_cells(v, w);
	json_words(v, w);
}

/* ---- for people at a terminal */

static void print_json(const struct rca_verdict *v)
{
	cleanup_buf struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);

	greta_jsonw_object(&w, NULL);
	rca_verdict_json(v, &w);
	greta_jsonw_end_object(&w);
	puts(greta_buf_str(&out));
}

static void print_text(const struct cmd_ctx *ctx, const struct rca_verdict *v)
{
	struct output output = output_of(ctx, NULL);
	struct table *factors = rca_verdict_factors(v), *cells = rca_verdict_cells(v);
	cleanup_buf struct greta_buf out = {0};

	rca_verdict_words(v, &out);
	puts(greta_buf_str(&out));
	if (table_rows(factors))
		output_table(&output, factors);
	putchar('\n');
	output_table(&output, cells);
	table_destroy(factors);
	table_destroy(cells);
}

int rca_verdict_show(const struct cmd_ctx *ctx, struct greta_db *db, int64_t campaign_id, struct greta_err *e)
{
	struct rca_verdict v;
	int rc;

	if (rca_verdict_make(db, campaign_id, &v, e) < 0)
		return -1;
	if (ctx->json)
		print_json(&v);
	else
		print_text(ctx, &v);
	rc = rca_verdict_exit(&v);
	rca_verdict_release(&v);
	return rc;
}
