#include "orchestrator/report/export.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/db.h"
#include "orchestrator/analysis/cells.h"
#include "orchestrator/analysis/history.h"
#include "orchestrator/print/table.h"
#include <gsl/gsl_statistics_double.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- rows of `result` */

static const char result_sql[] =
	"SELECT campaign_id, campaign, mode, variant, context, repeat, try_no, attempt_id, attempt, state, outcome, cause, reason,"
	" counted, superseded, excluded, tokens_verified, n_samples, prefill_s, prefill_min_s, prefill_max_s, tokens_per_s,"
	" prompt_tokens, model_load_s, tokenize_s, decode_s, attn_impl, backend, dtype, wall_s, cpu_user_s, cpu_system_s,"
	" peak_rss_bytes, exit_code, signal, class, certainty, verdict, node, hostname, device_type, devices, build, model,"
	" started, ended FROM result WHERE campaign_id = ? ORDER BY attempt_id";

static void csv_value(struct greta_query *q, int c, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);
	switch (greta_query_type(q, c)) {
	case GRETA_VALUE_INTEGER:
		greta_jsonw_i64(&w, NULL, greta_query_i64(q, c));
		break;
	case GRETA_VALUE_REAL:
		greta_jsonw_f64(&w, NULL, greta_query_f64(q, c));
		break;
	case GRETA_VALUE_TEXT:
		table_add_csv(out, greta_query_str(q, c));
		break;
	default:
		break;
	}
}

int export_csv(struct greta_db *db, int64_t campaign_id, struct greta_buf *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(db, e, result_sql, "i", campaign_id);
	int rc = q ? 0 : -1, n = 0;
	for (int c = 0; q && c < greta_query_columns(q); c++)
		greta_buf_addf(out, "%s%s", c ? "," : "", greta_query_name(q, c));
	greta_buf_adds(out, "\r\n");
	for (; q && (rc = greta_query_step(q, e)) == 1; n++) {
		for (int c = 0; c < greta_query_columns(q); c++) {
			greta_buf_adds(out, c ? "," : "");
			csv_value(q, c, out);
		}
		greta_buf_adds(out, "\r\n");
	}
	return rc < 0 ? -1 : n;
}

int export_jsonl(struct greta_db *db, int64_t campaign_id, struct greta_buf *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(db, e, result_sql, "i", campaign_id);
	int rc = q ? 0 : -1, n = 0;
	for (; q && (rc = greta_query_step(q, e)) == 1; n++) {
		struct greta_jsonw w = greta_jsonw(out);
		greta_jsonw_object(&w, NULL);
		for (int c = 0; c < greta_query_columns(q); c++) {
			const char *name = greta_query_name(q, c);
			enum greta_value type = greta_query_type(q, c);
			if (type == GRETA_VALUE_INTEGER)
				greta_jsonw_i64(&w, name, greta_query_i64(q, c));
			else if (type == GRETA_VALUE_REAL)
				greta_jsonw_f64(&w, name, greta_query_f64(q, c));
			else
				greta_jsonw_str(&w, name, greta_query_str(q, c));
		}
		greta_jsonw_end_object(&w);
		greta_buf_addc(out, '\n');
	}
	return rc < 0 ? -1 : n;
}

/* ---- Prometheus */

static void add_label(struct greta_buf *out, const char *name, const char *value)
{
	greta_buf_addf(out, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			greta_buf_addc(out, '\\');
		if (*value == '\n')
			greta_buf_adds(out, "\\n");
		else
			greta_buf_addc(out, *value);
	}
	greta_buf_addc(out, '"');
}

static void add_labels(const struct cells *all, const struct cell *c, struct greta_buf *out)
{
	greta_buf_addc(out, '{');
	add_label(out, "campaign", all->campaign);
	greta_buf_addc(out, ',');
	add_label(out, "mode", all->mode);
	greta_buf_addc(out, ',');
	add_label(out, "variant", c->variant);
	greta_buf_addf(out, ",context=\"%" PRId64 "\"", c->context);
}

static void add_gauge(const struct cells *all, const char *name, const char *help, double (*of)(const struct cell *),
		      struct greta_buf *out)
{
	greta_buf_addf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
	for (size_t i = 0; i < all->n; i++) {
		double value = of(&all->items[i]);
		if (isnan(value))
			continue;
		greta_buf_adds(out, name);
		add_labels(all, &all->items[i], out);
		greta_buf_addf(out, "} %.17g\n", value);
	}
}

static double median_of(const struct cell *c)
{
	return c->prefill.median;
}

static double low_of(const struct cell *c)
{
	return c->prefill.low;
}

static double high_of(const struct cell *c)
{
	return c->prefill.high;
}

static double speed_of(const struct cell *c)
{
	return (double)c->context / c->prefill.median;
}

static double runs_of(const struct cell *c)
{
	return (double)c->prefill.n;
}

static void add_outcomes(const struct cells *all, struct greta_buf *out)
{
	greta_buf_adds(out, "# HELP greta_runs Planned runs by what became of them.\n# TYPE greta_runs gauge\n");
	for (size_t i = 0; i < all->n; i++) {
		const struct cell *c = &all->items[i];
		int count[GRETA_OUTCOME_COUNT] = {0}, open = 0;
		for (size_t k = 0; k < c->n; k++) {
			if (c->jobs[k].attempt_id && !c->jobs[k].attempt_open)
				count[c->jobs[k].outcome]++;
			else
				open++;
		}
		for (int o = 0; o <= GRETA_OUTCOME_COUNT; o++) {
			int n = o < GRETA_OUTCOME_COUNT ? count[o] : open;
			if (!n)
				continue;
			greta_buf_adds(out, "greta_runs");
			add_labels(all, c, out);
			greta_buf_addf(out, ",outcome=\"%s\"} %d\n", o < GRETA_OUTCOME_COUNT ? greta_outcome_name(o) : "not ended", n);
		}
	}
}

int export_prometheus(struct greta_db *db, int64_t campaign_id, struct greta_buf *out, struct greta_err *e)
{
	struct cells all;
	if (cells_load(db, campaign_id, &all, e))
		return -1;
	add_gauge(&all, "greta_prefill_seconds", "Median prefill time over counted runs.", median_of, out);
	add_gauge(&all, "greta_prefill_low_seconds", "Lower end of the median's interval.", low_of, out);
	add_gauge(&all, "greta_prefill_high_seconds", "Upper end of the median's interval.", high_of, out);
	add_gauge(&all, "greta_prefill_tokens_per_second", "Context over median prefill time.", speed_of, out);
	add_gauge(&all, "greta_prefill_counted_runs", "Runs that the median rests on.", runs_of, out);
	add_outcomes(&all, out);
	int n = (int)all.n;
	cells_release(&all);
	return n;
}

/* ---- llama-bench */

static void add_sample_list(struct greta_jsonw *w, const char *key, const struct stats_sample *s, double tokens)
{
	greta_jsonw_array(w, key);
	for (size_t i = 0; i < s->n; i++) {
		if (tokens > 0)
			greta_jsonw_f64(w, NULL, tokens / s->x[i]);
		else
			greta_jsonw_i64(w, NULL, (int64_t)llround(s->x[i] * 1e9));
	}
	greta_jsonw_end_array(w);
}

/* Nanoseconds, or tokens a second where tokens are given. */
static void mean_and_deviation(const struct stats_sample *s, double tokens, double *mean, double *deviation)
{
	double *x = greta_alloc((s->n + 1) * sizeof *x);
	for (size_t i = 0; i < s->n; i++)
		x[i] = tokens > 0 ? tokens / s->x[i] : s->x[i] * 1e9;
	*mean = gsl_stats_mean(x, 1, s->n);
	*deviation = s->n > 1 ? gsl_stats_sd_m(x, 1, s->n, *mean) : 0;
	free(x);
}

static void add_test_time(struct greta_jsonw *w, int64_t ended_ns)
{
	char text[32] = "";
	time_t t = (time_t)(ended_ns / 1000000000);
	struct tm tm;
	if (ended_ns && gmtime_r(&t, &tm))
		strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	greta_jsonw_str(w, "test_time", text);
}

static void add_test(struct greta_jsonw *w, const struct cell *c, const struct history_run *run)
{
	double tokens = (double)c->context, ns, ns_off, ts, ts_off;
	mean_and_deviation(&c->runs, 0, &ns, &ns_off);
	mean_and_deviation(&c->runs, tokens, &ts, &ts_off);
	greta_jsonw_object(w, NULL);
	greta_jsonw_str(w, "build_commit", run && run->kind->build ? run->kind->build : "");
	greta_jsonw_str(w, "gpu_info", run && run->kind->device_type ? run->kind->device_type : "");
	greta_jsonw_str(w, "model_filename", run && run->kind->model ? run->kind->model : "");
	greta_jsonw_i64(w, "n_prompt", c->context);
	greta_jsonw_i64(w, "n_gen", 0);
	add_test_time(w, run ? run->ended_ns : 0);
	greta_jsonw_i64(w, "avg_ns", (int64_t)llround(ns));
	greta_jsonw_i64(w, "stddev_ns", (int64_t)llround(ns_off));
	greta_jsonw_f64(w, "avg_ts", ts);
	greta_jsonw_f64(w, "stddev_ts", ts_off);
	add_sample_list(w, "samples_ns", &c->runs, 0);
	add_sample_list(w, "samples_ts", &c->runs, tokens);
	greta_jsonw_str(w, "greta_variant", c->variant);
	greta_jsonw_end_object(w);
}

int export_llama_bench(struct greta_db *db, int64_t campaign_id, struct greta_buf *out, struct greta_err *e)
{
	struct history_filter f = {.campaign_id = campaign_id};
	struct history runs = {0};
	struct cells all = {0};
	struct greta_jsonw w = greta_jsonw(out);
	int rc = history_load(db, &f, &runs, e) || cells_load(db, campaign_id, &all, e) ? -1 : 0, n = 0;
	greta_jsonw_array(&w, NULL);
	for (size_t i = 0; rc == 0 && i < all.n; i++) {
		const struct cell *c = &all.items[i];
		const struct history_run *last = NULL;
		for (size_t k = 0; k < runs.n; k++)
			if (runs.items[k].context == c->context && greta_str_eq(runs.items[k].kind->variant, c->variant))
				last = &runs.items[k];
		if (!c->runs.n)
			continue;
		add_test(&w, c, last);
		n++;
	}
	greta_jsonw_end_array(&w);
	greta_buf_addc(out, '\n');
	cells_release(&all);
	history_release(&runs);
	return rc ? -1 : n;
}
