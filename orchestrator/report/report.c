#include "orchestrator/report/report.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/version.h"
#include "db/campaigns.h"
#include "db/db.h"
#include "orchestrator/analysis/cells.h"
#include "orchestrator/analysis/reference.h"
#include "orchestrator/analysis/regress.h"
#include "orchestrator/analysis/scaling.h"
#include "orchestrator/print/table.h"
#include "orchestrator/rca/rca_verdict.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct report {
	struct greta_db *db;
	struct greta_campaign_row campaign;
	struct cells cells;
	struct greta_buf *out;
};

static void heading(struct report *r, const char *title)
{
	greta_buf_addf(r->out, "\n## %s\n\n", title);
}

static void add_table(struct report *r, struct table *t)
{
	table_print_markdown(t, r->out);
	table_destroy(t);
}

/* A query of names and values as list items: "- driver: 6.8.5". */
static int list_rows(struct report *r, const char *sql, int64_t *n, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(r->db, e, sql, "i", r->campaign.id);
	int rc = q ? 0 : -1;
	*n = 0;
	while (q && (rc = greta_query_step(q, e)) == 1) {
		const char *name = greta_query_str(q, 0), *value = greta_query_str(q, 1);
		greta_buf_addf(r->out, "- %s: %s\n", name ? name : "?", value ? value : "not known");
		++*n;
	}
	return rc;
}

/* ---- configuration */

static void add_contexts(struct report *r)
{
	greta_buf_adds(r->out, "- contexts:");
	for (size_t i = 0; i < r->cells.n; i++) {
		bool first = true;
		for (size_t k = 0; k < i; k++)
			first &= r->cells.items[k].context != r->cells.items[i].context;
		if (first)
			greta_buf_addf(r->out, " %" PRId64, r->cells.items[i].context);
	}
	greta_buf_adds(r->out, "\n- variants:");
	for (size_t i = 0; i < r->cells.n; i++)
		if (i == 0 || !greta_str_eq(r->cells.items[i].variant, r->cells.items[i - 1].variant))
			greta_buf_addf(r->out, " %s", r->cells.items[i].variant);
	greta_buf_addc(r->out, '\n');
}

static int configuration(struct report *r, struct greta_err *e)
{
	char when[GRETA_ISO_LEN + 1];
	int64_t n;
	heading(r, "Configuration");
	greta_buf_addf(r->out, "- campaign: %s (id %" PRId64 ", %s)\n", r->campaign.name, r->campaign.id,
		       r->campaign.uuid);
	greta_buf_addf(r->out, "- mode: %s, %s, %s\n", r->cells.mode, r->cells.kind, r->cells.state);
	greta_buf_addf(r->out, "- submitted: %s", greta_clock_iso(when, r->campaign.submitted_ns));
	greta_buf_addf(r->out, "%s%s\n", r->campaign.submitted_by ? " by " : "",
		       r->campaign.submitted_by ? r->campaign.submitted_by : "");
	add_contexts(r);
	if (list_rows(r,
		      "SELECT DISTINCT 'node', coalesce(alias.name, node.hostname) FROM attempt a JOIN job ON job.id = a.job_id"
		      " LEFT JOIN alias ON alias.id = a.alias_id LEFT JOIN node ON node.id = a.node_id"
		      " WHERE job.campaign_id = ? AND coalesce(alias.name, node.hostname) IS NOT NULL",
		      &n, e) ||
	    list_rows(r,
		      "SELECT DISTINCT 'model', coalesce(model.name, '') || ' ' || coalesce(model.file_type, '') || ' sha256 '"
		      " || substr(model.file_sha256, 1, 12) FROM attempt a JOIN job ON job.id = a.job_id"
		      " JOIN model ON model.id = a.model_id WHERE job.campaign_id = ?",
		      &n, e) ||
	    list_rows(r,
		      "SELECT DISTINCT 'engine build', coalesce(build.version || ', ', '') || 'sha256 ' ||"
		      " substr(build.build_sha256, 1, 12) FROM attempt a JOIN job ON job.id = a.job_id"
		      " JOIN build ON build.id = a.build_id WHERE job.campaign_id = ?",
		      &n, e))
		return -1;
	if (r->campaign.kind == GRETA_CAMPAIGN_IMPORT)
		greta_buf_adds(r->out, "- imported: node, model, build and environment were not recorded by the executor\n");
	return 0;
}

static int environment(struct report *r, struct greta_err *e)
{
	int64_t n;
	greta_buf_adds(r->out, "\n### Environment\n\n");
	if (list_rows(r,
		      "SELECT key, group_concat(value, ' / ') FROM (SELECT DISTINCT key, value FROM environment_row"
		      " WHERE environment_id IN (SELECT a.environment_id FROM attempt a JOIN job ON job.id = a.job_id"
		      " WHERE job.campaign_id = ?) ORDER BY key, value) GROUP BY key",
		      &n, e))
		return -1;
	if (n == 0)
		greta_buf_adds(r->out, "Not known.\n");
	return 0;
}

/* ---- key metrics, performance */

static const struct cell *fastest_at_largest(const struct cells *c)
{
	const struct cell *best = NULL;
	for (size_t i = 0; i < c->n; i++) {
		const struct cell *x = &c->items[i];
		if (!x->prefill.n)
			continue;
		if (!best || x->context > best->context ||
		    (x->context == best->context && x->prefill.median < best->prefill.median))
			best = x;
	}
	return best;
}

static void key_metrics(struct report *r)
{
	size_t n_jobs = 0, n_counted = 0;
	for (size_t i = 0; i < r->cells.n; i++)
		for (size_t k = 0; k < r->cells.items[i].n; k++) {
			n_jobs++;
			n_counted += r->cells.items[i].jobs[k].counted;
		}
	heading(r, "Key metrics");
	if (n_jobs)
		greta_buf_addf(r->out, "- %zu of %zu planned runs have a counted result\n", n_counted, n_jobs);
	else
		greta_buf_adds(r->out, "- no run is planned in this campaign\n");
	const struct cell *best = fastest_at_largest(&r->cells);
	if (best)
		greta_buf_addf(r->out,
			       "- largest context that ran: %" PRId64 "; the fastest there is %s with %.4g s (%.1f tokens/s, n = %zu)\n",
			       best->context, best->variant, best->prefill.median,
			       (double)best->context / best->prefill.median, best->prefill.n);
}

static const struct table_column performance_columns[] = {
	{"variant", "variant", TABLE_TEXT, 0},     {"context", "context", TABLE_INT, 0},
	{"n", "n", TABLE_INT, 0},                  {"prefill_s", "prefill s (median)", TABLE_SIGNIF, 6},
	{"min", "min", TABLE_SIGNIF, 6},           {"max", "max", TABLE_SIGNIF, 6},
	{"tokens_per_s", "tokens/s", TABLE_FIXED, 1}, {"of_reference", "of reference", TABLE_RATIO, 0},
	{"outcomes", "outcomes", TABLE_TEXT, 0},
};

static void outcomes_of(const struct cell *c, struct greta_buf *out)
{
	int n[GRETA_OUTCOME_COUNT] = {0}, never = 0;
	for (size_t i = 0; i < c->n; i++) {
		if (c->jobs[i].attempt_id && !c->jobs[i].attempt_open)
			n[c->jobs[i].outcome]++;
		else
			never++;
	}
	for (int o = 0; o < GRETA_OUTCOME_COUNT; o++)
		if (n[o])
			greta_buf_addf(out, "%s%d %s", out->len ? ", " : "", n[o], greta_outcome_name(o));
	if (never)
		greta_buf_addf(out, "%s%d never ran", out->len ? ", " : "", never);
}

/* NAN: there is nothing to compare with. */
static double ratio_to(const struct cells *cells, const char *reference, const struct cell *c)
{
	for (size_t i = 0; i < cells->n && reference; i++)
		if (cells->items[i].context == c->context && greta_str_eq(cells->items[i].variant, reference))
			return c->prefill.median / cells->items[i].prefill.median;
	return NAN;
}

static int performance(struct report *r, struct greta_err *e)
{
	cleanup_free char *reference = NULL;
	if (reference_of_campaign(r->db, r->campaign.id, &reference, e))
		return -1;
	heading(r, "Performance summary");
	struct table *t = table_create(performance_columns, sizeof performance_columns / sizeof *performance_columns);
	for (size_t i = 0; i < r->cells.n; i++) {
		const struct cell *c = &r->cells.items[i];
		cleanup_buf struct greta_buf outcomes = {0};
		outcomes_of(c, &outcomes);
		table_row(t);
		table_str(t, c->variant);
		table_int(t, c->context);
		table_int(t, (int64_t)c->prefill.n);
		table_num(t, c->prefill.median);
		table_num(t, c->prefill.min);
		table_num(t, c->prefill.max);
		table_num(t, (double)c->context / c->prefill.median);
		table_num(t, ratio_to(&r->cells, reference, c));
		table_str(t, greta_buf_str(&outcomes));
	}
	add_table(r, t);
	if (reference)
		greta_buf_addf(r->out, "\nRatios of medians, to the reference variant %s.\n", reference);
	return 0;
}

static void list_lines(struct report *r, const char *lines)
{
	while (*lines) {
		size_t n = strcspn(lines, "\n");
		greta_buf_addf(r->out, "- %.*s\n", (int)n, lines);
		lines += n + (lines[n] == '\n');
	}
}

static void scaling(struct report *r)
{
	cleanup_buf struct greta_buf remarks = {0};
	struct scaling s;
	heading(r, "Scaling");
	scaling_make(&r->cells, NULL, &s);
	add_table(r, scaling_table(&s));
	greta_buf_adds(r->out, "\nRatios are to each variant's smallest context; the exponent is k in t ~ n^k from the context before.\n\n");
	struct table *fits = scaling_fits(&s);
	if (table_rows(fits)) {
		table_print_markdown(fits, r->out);
		greta_buf_adds(r->out, "\nThe fit is t(n) = a + b n + c n^2 without negative terms; intervals cover 95 %.\n\n");
	}
	table_destroy(fits);
	scaling_remarks(&s, &remarks);
	list_lines(r, greta_buf_str(&remarks));
	scaling_release(&s);
}

/* ---- history */

static int history(struct report *r, struct greta_err *e)
{
	cleanup_buf struct greta_buf words = {0};
	struct regress against;
	heading(r, "Against history");
	if (regress_make(r->db, r->campaign.id, &(struct regress_how){.with_marked = r->cells.with_marked}, &against, e))
		return -1;
	regress_words(&against, &words);
	list_lines(r, greta_buf_str(&words));
	if (regress_has_yardstick(&against)) {
		greta_buf_addf(r->out, "\nA is %s, B is this campaign.\n\n", against.against);
		add_table(r, compare_table(&against.cells));
		greta_buf_addc(r->out, '\n');
		if (against.differs.n)
			add_table(r, envdiff_table(&against.differs));
	}
	regress_release(&against);
	return 0;
}

static int hangs(struct report *r, struct greta_err *e)
{
	int64_t n;
	heading(r, "Hangs and timeouts");
	if (list_rows(r,
		      "SELECT variant || ' ' || context || ' #' || repeat, outcome || coalesce(', ' || class, '') ||"
		      " coalesce(', ' || certainty, '') || coalesce(': ' || verdict, ': ' || reason, '') ||"
		      " coalesce(', last at ' || breadcrumb, '') || coalesce(', on ' || node, '') ||"
		      " coalesce(', evidence: ' || evidence, '') FROM hang WHERE campaign_id = ?",
		      &n, e))
		return -1;
	if (n == 0)
		greta_buf_adds(r->out, "None.\n");
	return 0;
}

/* ---- causes of hangs */

static int cause(struct report *r, int64_t search_id, struct greta_err *e)
{
	cleanup_buf struct greta_buf words = {0};
	struct rca_verdict v;
	if (rca_verdict_make(r->db, search_id, &v, e))
		return -1;
	greta_buf_addf(r->out, "Campaign %" PRId64 " looked for what made attempt %" PRId64 " hang:\n\n", search_id, v.rca.explains);
	rca_verdict_words(&v, &words);
	list_lines(r, greta_buf_str(&words));
	greta_buf_addc(r->out, '\n');
	struct table *factors = rca_verdict_factors(&v);
	if (table_rows(factors)) {
		table_print_markdown(factors, r->out);
		greta_buf_adds(r->out, "\nIntervals hold at any number of runs; a factor matters from an e-value of ");
		greta_buf_addf(r->out, "%.0f on, %.0f less for each that was found before it.\n\n",
			       (double)v.rca.design.n_factors / RCA_ALPHA, 1 / RCA_ALPHA);
	}
	table_destroy(factors);
	add_table(r, rca_verdict_cells(&v));
	rca_verdict_release(&v);
	return 0;
}

static int causes(struct report *r, struct greta_err *e)
{
	struct rca_ids ids = {0};
	int rc = rca_verdicts_of(r->db, r->campaign.id, &ids, e);
	if (rc == 0 && ids.n)
		heading(r, "Causes of hangs");
	for (size_t i = 0; i < ids.n && rc == 0; i++)
		rc = cause(r, ids.items[i], e);
	free(ids.items);
	return rc;
}

/* ---- validation, anomalies, artifacts */

static int marks(struct report *r, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};
	int64_t n;
	validity_tally_text(&r->cells.marked, false, &text);
	list_lines(r, text.len ? text.data : "counted results that are left out of the statistics: 0\n");
	return list_rows(r,
			 "SELECT variant || ' ' || context || ' #' || repeat || ' (' || kind || ')', reason FROM validity"
			 " WHERE campaign_id = ? AND counted ORDER BY kind, variant, context, repeat",
			 &n, e);
}

static int validation(struct report *r, struct greta_err *e)
{
	size_t n_unverified = 0, n_invalid = 0, n_never = 0;
	for (size_t i = 0; i < r->cells.n; i++)
		for (size_t k = 0; k < r->cells.items[i].n; k++) {
			const struct cell_job *j = &r->cells.items[i].jobs[k];
			n_unverified += j->counted && !j->verified;
			n_invalid += j->attempt_id && j->outcome == GRETA_OUTCOME_INVALID;
			n_never += j->attempt_id == 0;
		}
	heading(r, "Validation status");
	greta_buf_addf(r->out, "- every planned run has a counted result: %s\n", cells_all_good(&r->cells) ? "yes" : "**no**");
	greta_buf_addf(r->out, "- runs whose result can't be true (invalid): %zu\n", n_invalid);
	greta_buf_addf(r->out, "- counted runs that do not say how many tokens they prefilled: %zu\n", n_unverified);
	greta_buf_addf(r->out, "- planned runs that never ran: %zu\n", n_never);
	return marks(r, e);
}

static void anomalies(struct report *r)
{
	size_t n = 0;
	heading(r, "Anomalies");
	for (size_t i = 0; i < r->cells.n; i++)
		for (size_t k = 0; k < r->cells.items[i].n; k++) {
			const struct cell_job *j = &r->cells.items[i].jobs[k];
			if (j->counted && !j->excluded)
				continue;
			cleanup_buf struct greta_buf text = {0};
			cells_job_text(j, &text);
			greta_buf_addf(r->out, "- %s %" PRId64 " #%" PRId64 " (job %" PRId64 "): %s\n",
				       r->cells.items[i].variant, r->cells.items[i].context, j->repeat + 1, j->id,
				       greta_buf_str(&text));
			n++;
		}
	if (n == 0)
		greta_buf_adds(r->out, "None: every run is counted.\n");
}

static void artifacts(struct report *r)
{
	heading(r, "Artifacts");
	greta_buf_addf(r->out,
		       "- database: `%s`\n- logs: `greta-orch logs --job JOB`; all results: `greta-orch results %" PRId64 " --csv`\n",
		       greta_db_path(r->db), r->campaign.id);
	if (r->campaign.base_dir)
		greta_buf_addf(r->out, "- %s: `%s`\n",
			       r->campaign.kind == GRETA_CAMPAIGN_IMPORT ? "imported from" : "submitted in",
			       r->campaign.base_dir);
}

static int write_sections(struct report *r, struct greta_err *e)
{
	char now[GRETA_ISO_LEN + 1];
	greta_buf_addf(r->out, "# %s\n\nBy greta-orch %s, %s.\n", r->campaign.name, GRETA_VERSION,
		       greta_clock_iso(now, greta_clock_wall_ns()));
	if (configuration(r, e) || environment(r, e))
		return -1;
	/* Nobody looks for speed in runs that were made to find a hang. */
	if (r->campaign.kind != GRETA_CAMPAIGN_RCA) {
		key_metrics(r);
		if (performance(r, e))
			return -1;
		scaling(r);
		if (history(r, e))
			return -1;
	}
	if (causes(r, e) || hangs(r, e))
		return -1;
	if (r->campaign.kind != GRETA_CAMPAIGN_RCA) { /* of which most jobs are never needed */
		if (validation(r, e))
			return -1;
		anomalies(r);
	}
	artifacts(r);
	return 0;
}

int report_markdown(struct greta_db *db, int64_t campaign_id, bool with_marked, struct greta_buf *out,
		    struct greta_err *e)
{
	struct report r = {.db = db, .out = out};
	if (greta_campaigns_get(db, campaign_id, &r.campaign, e))
		return -1;
	int rc = cells_load(db, campaign_id, &r.cells, e);
	if (rc == 0 && with_marked)
		cells_take_marked(&r.cells);
	if (rc == 0)
		rc = write_sections(&r, e);
	cells_release(&r.cells);
	greta_campaign_row_release(&r.campaign);
	return rc;
}
