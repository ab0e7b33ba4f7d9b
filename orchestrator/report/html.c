#include "orchestrator/report/html.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/version.h"
#include "db/campaigns.h"
#include "db/db.h"
#include "orchestrator/analysis/cells.h"
#include "orchestrator/analysis/regress.h"
#include "orchestrator/analysis/scaling.h"
#include "orchestrator/rca/rca_verdict.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CURVE_POINTS 48        /* of a fit, evenly over log n */
#define TELEMETRY_ATTEMPTS 8   /* the longest ones: they have most to show */
#define TELEMETRY_POINTS 300   /* of one reading */

#ifdef GRETA_HTML
extern const char html_page_css[], html_page_js[];
#endif

struct page {
	struct greta_db *db;
	int64_t campaign_id;
	struct cells cells;
	struct scaling scaling;
	struct regress regress;
	struct greta_jsonw w;
};

/* ---- pieces */

/* Takes the table. */
static void table(struct page *p, const char *id, const char *title, struct table *t)
{
	greta_jsonw_object(&p->w, NULL);
	greta_jsonw_str(&p->w, "id", id);
	greta_jsonw_str(&p->w, "title", title);
	table_write_json_columns(t, &p->w, "columns");
	table_write_json(t, &p->w, "rows");
	greta_jsonw_end_object(&p->w);
	table_destroy(t);
}

/* A query's rows as an array of objects, named by its columns. */
static int rows(struct page *p, const char *key, const char *sql, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(p->db, e, sql, "i", p->campaign_id);
	int rc = q ? 0 : -1;
	greta_jsonw_array(&p->w, key);
	while (q && (rc = greta_query_step(q, e)) == 1) {
		greta_jsonw_object(&p->w, NULL);
		for (int c = 0; c < greta_query_columns(q); c++) {
			const char *name = greta_query_name(q, c);
			enum greta_value type = greta_query_type(q, c);
			if (type == GRETA_VALUE_INTEGER)
				greta_jsonw_i64(&p->w, name, greta_query_i64(q, c));
			else if (type == GRETA_VALUE_REAL)
				greta_jsonw_f64(&p->w, name, greta_query_f64(q, c));
			else
				greta_jsonw_str(&p->w, name, greta_query_str(q, c));
		}
		greta_jsonw_end_object(&p->w);
	}
	greta_jsonw_end_array(&p->w);
	return rc;
}

/* ---- the campaign and its cells */

static int campaign(struct page *p, struct greta_err *e)
{
	char when[GRETA_ISO_LEN + 1];
	struct greta_campaign_row row;
	if (greta_campaigns_get(p->db, p->campaign_id, &row, e))
		return -1;
	greta_jsonw_object(&p->w, "campaign");
	greta_jsonw_i64(&p->w, "id", row.id);
	greta_jsonw_str(&p->w, "uuid", row.uuid);
	greta_jsonw_str(&p->w, "name", row.name);
	greta_jsonw_str(&p->w, "mode", p->cells.mode);
	greta_jsonw_str(&p->w, "state", p->cells.state);
	greta_jsonw_str(&p->w, "kind", p->cells.kind);
	greta_jsonw_str(&p->w, "submitted", greta_clock_iso(when, row.submitted_ns));
	greta_jsonw_str(&p->w, "submitted_by", row.submitted_by);
	greta_jsonw_str(&p->w, "made", greta_clock_iso(when, greta_clock_wall_ns()));
	greta_jsonw_str(&p->w, "by", "greta-orch " GRETA_VERSION);
	greta_jsonw_end_object(&p->w);
	greta_campaign_row_release(&row);
	return 0;
}

/* Whether the statistics have it. */
static bool is_taken(const struct page *p, const struct cell_job *j)
{
	return j->counted && (!j->excluded || p->cells.with_marked);
}

static void job(struct page *p, const struct cell_job *j)
{
	cleanup_buf struct greta_buf text = {0};
	cells_job_text(j, &text);
	greta_jsonw_object(&p->w, NULL);
	greta_jsonw_i64(&p->w, "job", j->id);
	greta_jsonw_i64(&p->w, "repeat", j->repeat + 1);
	greta_jsonw_bool(&p->w, "counted", is_taken(p, j));
	greta_jsonw_bool(&p->w, "verified", j->verified);
	greta_jsonw_str(&p->w, "text", greta_buf_str(&text));
	greta_jsonw_f64(&p->w, "prefill_s", j->prefill_s);
	greta_jsonw_str(&p->w, "node", j->node);
	greta_jsonw_end_object(&p->w);
}

/* The median on each node, for the heat map. A node that is not known is null. */
static void nodes(struct page *p, const struct cell *c)
{
	greta_jsonw_array(&p->w, "nodes");
	for (size_t i = 0; i < c->n; i++) {
		struct stats_sample runs = {0};
		bool first = is_taken(p, &c->jobs[i]);
		for (size_t k = 0; first && k < c->n; k++) {
			if (!is_taken(p, &c->jobs[k]) || !greta_str_eq(c->jobs[k].node, c->jobs[i].node))
				continue;
			first = k >= i;
			stats_add(&runs, c->jobs[k].prefill_s);
		}
		if (first) {
			greta_jsonw_object(&p->w, NULL);
			greta_jsonw_str(&p->w, "node", c->jobs[i].node);
			greta_jsonw_f64(&p->w, "median", stats_median(&runs).median);
			greta_jsonw_end_object(&p->w);
		}
		stats_release(&runs);
	}
	greta_jsonw_end_array(&p->w);
}

static void cells(struct page *p)
{
	greta_jsonw_array(&p->w, "cells");
	for (size_t i = 0; i < p->cells.n; i++) {
		const struct cell *c = &p->cells.items[i];
		greta_jsonw_object(&p->w, NULL);
		greta_jsonw_str(&p->w, "variant", c->variant);
		greta_jsonw_i64(&p->w, "context", c->context);
		greta_jsonw_i64(&p->w, "n", (int64_t)c->prefill.n);
		greta_jsonw_f64(&p->w, "median", c->prefill.median);
		greta_jsonw_f64(&p->w, "low", c->prefill.low);
		greta_jsonw_f64(&p->w, "high", c->prefill.high);
		greta_jsonw_f64(&p->w, "level", c->prefill.level);
		greta_jsonw_f64(&p->w, "tokens_per_s", (double)c->context / c->prefill.median);
		greta_jsonw_f64(&p->w, "tflops", c->flops / c->prefill.median / 1e12);
		greta_jsonw_f64(&p->w, "limit_percent", 100 * c->limit_share);
		greta_jsonw_array(&p->w, "runs");
		for (size_t k = 0; k < c->n; k++)
			job(p, &c->jobs[k]);
		greta_jsonw_end_array(&p->w);
		nodes(p, c);
		greta_jsonw_end_object(&p->w);
	}
	greta_jsonw_end_array(&p->w);
}

static void curve(struct page *p, const struct scaling_line *line)
{
	double from = log((double)line->cells[0]->context), to = log((double)line->cells[line->n - 1]->context);
	greta_jsonw_array(&p->w, "curve");
	for (int i = 0; i <= CURVE_POINTS; i++) {
		double n = exp(from + (to - from) * i / CURVE_POINTS);
		struct fit_value v = fit_predict(&line->fit, n);
		greta_jsonw_array(&p->w, NULL);
		greta_jsonw_f64(&p->w, NULL, n);
		greta_jsonw_f64(&p->w, NULL, v.t);
		greta_jsonw_f64(&p->w, NULL, v.low);
		greta_jsonw_f64(&p->w, NULL, v.high);
		greta_jsonw_end_array(&p->w);
	}
	greta_jsonw_end_array(&p->w);
}

static void fits(struct page *p)
{
	greta_jsonw_array(&p->w, "fits");
	for (size_t i = 0; i < p->scaling.n; i++) {
		const struct scaling_line *line = &p->scaling.lines[i];
		if (!fit_exists(&line->fit))
			continue;
		greta_jsonw_object(&p->w, NULL);
		greta_jsonw_str(&p->w, "variant", line->variant);
		if (line->broke)
			greta_jsonw_i64(&p->w, "broke", line->cells[line->broke]->context);
		curve(p, line);
		greta_jsonw_end_object(&p->w);
	}
	greta_jsonw_end_array(&p->w);
}

/* ---- history */

static void series(struct page *p)
{
	greta_jsonw_array(&p->w, "history");
	for (size_t i = 0; i < p->regress.n_series; i++) {
		const struct regress_series *s = &p->regress.series[i];
		greta_jsonw_object(&p->w, NULL);
		greta_jsonw_str(&p->w, "variant", s->variant);
		greta_jsonw_i64(&p->w, "context", s->context);
		greta_jsonw_array(&p->w, "points");
		for (size_t k = 0; k < s->n; k++) {
			char when[GRETA_ISO_LEN + 1] = "";
			const struct regress_point *x = &s->points[k];
			greta_jsonw_object(&p->w, NULL);
			greta_jsonw_str(&p->w, "campaign", x->campaign);
			greta_jsonw_i64(&p->w, "id", x->campaign_id);
			greta_jsonw_str(&p->w, "ended", x->ended_ns ? greta_clock_iso(when, x->ended_ns) : NULL);
			greta_jsonw_f64(&p->w, "median", x->median);
			greta_jsonw_i64(&p->w, "n", (int64_t)x->n_runs);
			greta_jsonw_end_object(&p->w);
		}
		greta_jsonw_end_array(&p->w);
		greta_jsonw_array(&p->w, "changes");
		for (size_t k = 0; k < s->changes.n; k++) {
			greta_jsonw_object(&p->w, NULL);
			greta_jsonw_i64(&p->w, "at", (int64_t)s->changes.items[k].at);
			greta_jsonw_f64(&p->w, "ratio", s->changes.items[k].ratio);
			greta_jsonw_f64(&p->w, "p", s->changes.items[k].p);
			greta_jsonw_end_object(&p->w);
		}
		greta_jsonw_end_array(&p->w);
		greta_jsonw_end_object(&p->w);
	}
	greta_jsonw_end_array(&p->w);
}

/* ---- telemetry */

/* Times are from first_ns on for all of an attempt's readings: some begin later than others. */
static int readings_of(struct page *p, int64_t attempt_id, const char *name, int64_t n, int64_t first_ns,
		       struct greta_err *e)
{
	int64_t every = n > TELEMETRY_POINTS ? n / TELEMETRY_POINTS : 1, i = 0;
	cleanup_query struct greta_query *q = greta_query_open(
		p->db, e, "SELECT t_ns, value FROM telemetry WHERE attempt_id = ? AND name = ? ORDER BY t_ns", "is", attempt_id,
		name);
	int rc = q ? 0 : -1;
	greta_jsonw_array(&p->w, name);
	while (q && (rc = greta_query_step(q, e)) == 1) {
		if (i++ % every)
			continue;
		greta_jsonw_array(&p->w, NULL);
		greta_jsonw_f64(&p->w, NULL, (double)(greta_query_i64(q, 0) - first_ns) / GRETA_NS_PER_S);
		greta_jsonw_f64(&p->w, NULL, greta_query_f64(q, 1));
		greta_jsonw_end_array(&p->w);
	}
	greta_jsonw_end_array(&p->w);
	return rc;
}

static int readings(struct page *p, int64_t attempt_id, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		p->db, e,
		"SELECT name, n, (SELECT min(t_first_ns) FROM telemetry_chunk WHERE attempt_id = ?1)"
		" FROM telemetry_summary WHERE attempt_id = ?1 ORDER BY name", "i", attempt_id);
	int rc = q ? 0 : -1;
	greta_jsonw_object(&p->w, "readings");
	while (q && (rc = greta_query_step(q, e)) == 1)
		if (readings_of(p, attempt_id, greta_query_str(q, 0), greta_query_i64(q, 1), greta_query_i64(q, 2), e))
			return -1;
	greta_jsonw_end_object(&p->w);
	return rc;
}

static int telemetry(struct page *p, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		p->db, e,
		"SELECT a.id, v.name, j.context, j.repeat, a.outcome FROM job j JOIN variant v ON v.id = j.variant_id"
		" JOIN attempt a ON a.job_id = j.id WHERE j.campaign_id = ?"
		" AND EXISTS (SELECT 1 FROM telemetry_summary t WHERE t.attempt_id = a.id)"
		" ORDER BY a.outcome = 'ok', a.wall_s DESC LIMIT ?", "ii", p->campaign_id, (int64_t)TELEMETRY_ATTEMPTS);
	int rc = q ? 0 : -1;
	greta_jsonw_array(&p->w, "telemetry");
	while (q && (rc = greta_query_step(q, e)) == 1) {
		greta_jsonw_object(&p->w, NULL);
		greta_jsonw_i64(&p->w, "attempt", greta_query_i64(q, 0));
		greta_jsonw_str(&p->w, "variant", greta_query_str(q, 1));
		greta_jsonw_i64(&p->w, "context", greta_query_i64(q, 2));
		greta_jsonw_i64(&p->w, "repeat", greta_query_i64(q, 3) + 1);
		greta_jsonw_str(&p->w, "outcome", greta_query_str(q, 4));
		if (readings(p, greta_query_i64(q, 0), e))
			return -1;
		greta_jsonw_end_object(&p->w);
	}
	greta_jsonw_end_array(&p->w);
	return rc;
}

/* ---- words and tables */

static void summary(struct page *p)
{
	cleanup_buf struct greta_buf text = {0};
	size_t n_jobs = 0, n_counted = 0;
	for (size_t i = 0; i < p->cells.n; i++)
		for (size_t k = 0; k < p->cells.items[i].n; k++) {
			n_jobs++;
			n_counted += p->cells.items[i].jobs[k].counted;
		}
	if (n_jobs)
		greta_buf_addf(&text, "%zu of %zu planned runs have a counted result\n", n_counted, n_jobs);
	else
		greta_buf_adds(&text, "no run is planned in this campaign\n");
	scaling_remarks(&p->scaling, &text);
	greta_jsonw_lines(&p->w, "summary", greta_buf_str(&text));
	greta_buf_clear(&text);
	regress_words(&p->regress, &text);
	greta_jsonw_lines(&p->w, "verdicts", greta_buf_str(&text));
	greta_jsonw_str(&p->w, "against", p->regress.against);
	greta_jsonw_i64(&p->w, "n_slower", (int64_t)regress_count(&p->regress, COMPARE_SLOWER));
}

static void tables(struct page *p)
{
	greta_jsonw_array(&p->w, "tables");
	table(p, "scaling", "Scaling", scaling_table(&p->scaling));
	table(p, "fits", "Fits of t(n) = a + b n + c n^2", scaling_fits(&p->scaling));
	if (regress_has_yardstick(&p->regress)) {
		table(p, "regress", "Each cell (B) against its history (A)", compare_table(&p->regress.cells));
		table(p, "differs", "What differs from history (A before, B now)", envdiff_table(&p->regress.differs));
	}
	greta_jsonw_end_array(&p->w);
}

/* ---- searches for the cause of a hang */

static int cause(struct page *p, int64_t search_id, struct greta_err *e)
{
	struct rca_verdict v;
	if (rca_verdict_make(p->db, search_id, &v, e))
		return -1;
	greta_jsonw_object(&p->w, NULL);
	rca_verdict_json(&v, &p->w);
	greta_jsonw_array(&p->w, "tables");
	table(p, "factors", "What was varied", rca_verdict_factors(&v));
	table(p, "rates", "How often cells hang", rca_verdict_cells(&v));
	greta_jsonw_end_array(&p->w);
	greta_jsonw_end_object(&p->w);
	rca_verdict_release(&v);
	return 0;
}

static int causes(struct page *p, struct greta_err *e)
{
	struct rca_ids ids = {0};
	int rc = rca_verdicts_of(p->db, p->campaign_id, &ids, e);
	greta_jsonw_array(&p->w, "causes");
	for (size_t i = 0; i < ids.n && rc == 0; i++)
		rc = cause(p, ids.items[i], e);
	greta_jsonw_end_array(&p->w);
	free(ids.items);
	return rc;
}

static int write_page(struct page *p, struct greta_err *e)
{
	greta_jsonw_object(&p->w, NULL);
	if (campaign(p, e))
		return -1;
	summary(p);
	cells(p);
	fits(p);
	series(p);
	tables(p);
	if (telemetry(p, e) ||
	    rows(p, "hangs",
		 "SELECT variant, context, repeat, attempt_id, outcome, class, certainty, verdict, blamed, reason,"
		 " phase, breadcrumb, done, total, wall_s, node, evidence FROM hang WHERE campaign_id = ?", e) ||
	    rows(p, "marks",
		 "SELECT variant, context, repeat, attempt_id, kind, reason, prefill_s, node, devices FROM validity"
		 " WHERE campaign_id = ? AND counted ORDER BY kind, variant, context, repeat", e) ||
	    causes(p, e) ||
	    rows(p, "environment",
		 "SELECT key, group_concat(value, ' / ') AS value FROM (SELECT DISTINCT key, value FROM environment_row"
		 " WHERE environment_id IN (SELECT a.environment_id FROM attempt a JOIN job ON job.id = a.job_id"
		 " WHERE job.campaign_id = ?) ORDER BY key, value) GROUP BY key", e))
		return -1;
	greta_jsonw_end_object(&p->w);
	return 0;
}

int html_data(struct greta_db *db, int64_t campaign_id, bool with_marked, struct greta_buf *out, struct greta_err *e)
{
	struct page p = {.db = db, .campaign_id = campaign_id, .w = greta_jsonw(out)};
	if (cells_load(db, campaign_id, &p.cells, e))
		return -1;
	if (with_marked)
		cells_take_marked(&p.cells);
	int rc = regress_make(db, campaign_id, &(struct regress_how){.with_marked = with_marked}, &p.regress, e);
	if (rc == 0) {
		scaling_make(&p.cells, NULL, &p.scaling);
		rc = write_page(&p, e);
		scaling_release(&p.scaling);
		regress_release(&p.regress);
	}
	cells_release(&p.cells);
	return rc;
}

/* ---- the page */

bool html_available(void)
{
#ifdef GRETA_HTML
	return true;
#else
	return false;
#endif
}

#ifdef GRETA_HTML
/* JSON inside a script element: no "</script" and no "<!--" may appear in it. */
static void add_json(struct greta_buf *out, const struct greta_buf *json)
{
	for (const char *s = greta_buf_str(json); *s; s++) {
		if (*s == '<')
			greta_buf_adds(out, "\\u003c");
		else
			greta_buf_addc(out, *s);
	}
}

int html_report(struct greta_db *db, int64_t campaign_id, bool with_marked, struct greta_buf *out, struct greta_err *e)
{
	cleanup_buf struct greta_buf json = {0};
	if (html_data(db, campaign_id, with_marked, &json, e))
		return -1;
	greta_buf_adds(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
			    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
			    "<title>GRETA report</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n");
	greta_buf_adds(out, html_page_css);
	greta_buf_adds(out, "</style>\n</head>\n<body>\n<noscript>This report draws its charts and tables by a script inside this"
			    " file; nothing is loaded from elsewhere.</noscript>\n<main id=\"page\"></main>\n"
			    "<script type=\"application/json\" id=\"data\">");
	add_json(out, &json);
	greta_buf_adds(out, "</script>\n<script>\n");
	greta_buf_adds(out, html_page_js);
	greta_buf_adds(out, "</script>\n</body>\n</html>\n");
	return 0;
}
#else
int html_report(struct greta_db *db, int64_t campaign_id, bool with_marked, struct greta_buf *out, struct greta_err *e)
{
	(void)db;
	(void)campaign_id;
	(void)with_marked;
	(void)out;
	return greta_err_set(e, GRETA_EUNSUPPORTED,
			     "this greta-orch was built without npm, so it has no HTML page: install nodejs and npm and build again,"
			     " or take the Markdown");
}
#endif
