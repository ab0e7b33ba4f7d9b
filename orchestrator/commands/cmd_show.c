/* show: one campaign, job or attempt, with all that is stored of it. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/attempts.h"
#include "db/campaigns.h"
#include "db/db.h"
#include "orchestrator/cmd.h"
#include "orchestrator/print/output.h"
#include "orchestrator/print/table.h"
#include "orchestrator/report/excerpt.h"
#include <inttypes.h>
#include <stdio.h>

struct show_values {
	struct cmd_common common;
	const char *attempt, *evidence;
	int64_t job;
};

/* One part of a page: a query whose rows stand under a title. */
struct part {
	const char *key;      /* JSON member */
	const char *title;
	bool one_row;         /* printed as "name  value" lines */
	const char *sql;      /* one parameter: the id */
};

static const struct part campaign_parts[] = {
	{"campaign", "campaign", true,
	 "SELECT id, uuid, name, mode, kind, state, priority, submitted_by, base_dir, text_sha256,"
	 " submitted_ns, finished_ns FROM campaign WHERE id = ?"},
	{"variants", "variants", false, "SELECT name, detail FROM variant WHERE campaign_id = ? ORDER BY position"},
	{"jobs", "jobs", false,
	 "SELECT job.id AS job, variant.name AS variant, context, repeat + 1 AS repeat, block, state, counted_attempt, reason"
	 " FROM job JOIN variant ON variant.id = variant_id WHERE job.campaign_id = ? ORDER BY job.position"},
};

static const struct part job_parts[] = {
	{"job", "job", true,
	 "SELECT job.id, campaign.name AS campaign, job.campaign_id, variant.name AS variant, context, repeat + 1 AS repeat,"
	 " block, job.position, job.state, counted_attempt, reason FROM job JOIN variant ON variant.id = variant_id"
	 " JOIN campaign ON campaign.id = job.campaign_id WHERE job.id = ?"},
	{"attempts", "attempts", false,
	 "SELECT attempt.id AS attempt, uuid, try_no, attempt.state, outcome, prefill_s, wall_s, alias.name AS node,"
	 " attempt.reason FROM attempt LEFT JOIN alias ON alias.id = alias_id WHERE job_id = ? ORDER BY try_no"},
};

static const struct part attempt_parts[] = {
	{"attempt", "attempt", true,
	 "SELECT a.id, a.uuid, a.job_id AS job, variant.name AS variant, job.context, job.repeat + 1 AS repeat,"
	 " a.try_no, a.state, a.outcome, a.cause, a.reason, a.superseded, a.excluded, a.tokens_verified, a.prompt_tokens, a.attn_impl,"
	 " a.prefill_s, a.prefill_min_s, a.prefill_max_s, a.n_samples, a.decode_s, a.model_load_s, a.tokenize_s,"
	 " a.wall_s, a.cpu_user_s, a.cpu_system_s, a.peak_rss_bytes, a.exit_code, a.signal, a.survivors, a.class,"
	 " a.certainty, a.verdict, a.blamed, a.blind, a.fingerprint, a.phase, a.progress, a.progress_dropped, a.log_bytes,"
	 " a.log_dropped, alias.name AS node, node.hostname, a.boot_id, a.fence, a.planned_ns, a.dispatched_ns,"
	 " a.started_ns, a.ended_ns FROM attempt a JOIN job ON job.id = a.job_id JOIN variant ON variant.id = job.variant_id"
	 " LEFT JOIN alias ON alias.id = a.alias_id LEFT JOIN node ON node.id = a.node_id WHERE a.id = ?"},
	{"validity", "why statistics leave it out", false,
	 "SELECT kind, reason FROM validity_mark WHERE attempt_id = ? ORDER BY kind"},
	{"limits", "limits, and what they rest on", false,
	 "SELECT iif(p.key = 'none', 'whole run', p.key) AS phase, nullif(p.value ->> 'silence_s', 0) AS silence_s,"
	 " nullif(p.value ->> 'limit_s', 0) AS limit_s, nullif(p.value ->> 'bound_s', 0) AS bound_s, p.value ->> 'basis' AS basis"
	 " FROM attempt a JOIN spec s ON s.id = a.spec_id, json_each(s.text, '$.phases') p WHERE a.id = ? AND (p.value ->> 'silence_s' > 0"
	 " OR p.value ->> 'limit_s' > 0 OR p.value ->> 'bound_s' > 0)"},
	{"build", "engine build", true,
	 "SELECT build_sha256, engine_sha256, declared_id, version FROM build"
	 " WHERE id = (SELECT build_id FROM attempt WHERE id = ?)"},
	{"model", "model", true,
	 "SELECT name, architecture, file_type, n_params, bytes, file_sha256, data_sha256, metadata_sha256 FROM model"
	 " WHERE id = (SELECT model_id FROM attempt WHERE id = ?)"},
	{"devices", "devices", false,
	 "SELECT device.uuid, kind, name, arch, vram_bytes FROM attempt_device JOIN device ON device.id = device_id"
	 " WHERE attempt_id = ?"},
	{"samples", "samples", false,
	 "SELECT sample_no, name, coalesce(value, text) AS value FROM sample WHERE attempt_id = ? ORDER BY sample_no, name"},
	{"telemetry", "telemetry", false,
	 "SELECT name, n, min, mean, max FROM telemetry_summary WHERE attempt_id = ? ORDER BY name"},
	{"events", "events", false,
	 "SELECT seq, kind, wall_ns, detail FROM event WHERE attempt_id = ? ORDER BY seq"},
	{"evidence", "evidence", false,
	 "SELECT name, sum(raw_bytes) AS bytes, count(*) AS parts FROM evidence_part WHERE attempt_id = ?"
	 " GROUP BY name ORDER BY min(rowid)"},
	{"environment", "environment", false,
	 "SELECT key, value FROM environment_row WHERE environment_id ="
	 " (SELECT environment_id FROM attempt WHERE id = ?) ORDER BY key"},
};

static void add_cell(struct table *t, struct greta_query *q, int c)
{
	const char *name = greta_query_name(q, c);
	char when[GRETA_ISO_LEN + 1];
	switch (greta_query_type(q, c)) {
	case GRETA_VALUE_INTEGER:
		table_int(t, greta_query_i64(q, c));
		if (greta_str_ends(name, "_ns"))
			table_note(t, greta_clock_iso(when, greta_query_i64(q, c)));
		break;
	case GRETA_VALUE_REAL:
		table_num(t, greta_query_f64(q, c));
		break;
	case GRETA_VALUE_NULL:
		table_none(t);
		break;
	default:
		table_str(t, greta_query_str(q, c));
	}
}

#define COLUMNS_MAX 64

static struct table *read_part(struct greta_query *q, struct table_column columns[COLUMNS_MAX], struct greta_err *e)
{
	size_t n = (size_t)greta_query_columns(q);
	for (size_t c = 0; c < n && c < COLUMNS_MAX; c++)
		columns[c] = (struct table_column){greta_query_name(q, (int)c), greta_query_name(q, (int)c),
						   TABLE_GENERAL, 0};
	struct table *t = table_create(columns, n);
	int rc;
	while ((rc = greta_query_step(q, e)) == 1) {
		table_row(t);
		for (size_t c = 0; c < n; c++)
			add_cell(t, q, (int)c);
	}
	if (rc == 0)
		return t;
	table_destroy(t);
	return NULL;
}

static void print_part(const struct part *p, const struct table *t, const struct output *o, struct greta_jsonw *w,
		       struct greta_buf *out)
{
	if (o->form == OUTPUT_JSON) {
		table_write_json(t, w, p->key);
	} else if (table_rows(t)) {
		greta_buf_addc(out, '\n');
		term_add(&o->term, out, TERM_BOLD, p->title);
		greta_buf_addc(out, '\n');
		if (p->one_row)
			table_print_record(t, out);
		else
			table_print(t, &o->term, out);
	}
}

static int show_parts(struct cmd_ctx *ctx, const struct part *parts, size_t n, int64_t id, struct greta_err *e)
{
	struct output o = output_of(ctx, NULL);
	cleanup_buf struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);
	if (ctx->json)
		greta_jsonw_object(&w, NULL);
	for (size_t i = 0; i < n; i++) {
		struct table_column columns[COLUMNS_MAX];
		cleanup_query struct greta_query *q = greta_query_open(ctx->db, e, parts[i].sql, "i", id);
		struct table *t = q ? read_part(q, columns, e) : NULL;
		if (!t)
			return -1;
		print_part(&parts[i], t, &o, &w, &out);
		table_destroy(t);
	}
	if (ctx->json) {
		greta_jsonw_end_object(&w);
		greta_buf_addc(&out, '\n');
	}
	fputs(greta_buf_str(&out), stdout);
	return CMD_OK;
}

static int find_attempt(struct greta_db *db, const char *which, int64_t *id, struct greta_err *e)
{
	cleanup_with(greta_attempt_row_release) struct greta_attempt_row row = {0};
	if (greta_attempts_find(db, which, &row, e))
		return -1;
	*id = row.id;
	return 0;
}

/* ---- evidence */

static const char names_sql[] =
	"SELECT name FROM evidence_part WHERE attempt_id = ? GROUP BY name ORDER BY min(rowid)";

/* Tells what there is, when something else was asked for. */
static int no_such_evidence(struct greta_db *db, int64_t id, const char *why, struct greta_err *e)
{
	cleanup_buf struct greta_buf names = {0};
	cleanup_query struct greta_query *q = greta_query_open(db, e, names_sql, "i", id);
	int rc = q ? greta_query_step(q, e) : -1;
	for (; rc == 1; rc = greta_query_step(q, e))
		greta_buf_addf(&names, " %s", greta_query_str(q, 0));
	return rc < 0 ? -1 : greta_err_set(e, GRETA_ENOENT, "%s; there is%s", why, names.len ? names.data : " none");
}

static int show_raw(struct cmd_ctx *ctx, int64_t id, const char *name, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};
	struct greta_err why = {0};
	if (greta_evidence_read(ctx->db, id, name, &text, &why))
		return why.code == GRETA_ENOENT ? no_such_evidence(ctx->db, id, why.text, e)
						: greta_err_set(e, why.code, "%s", why.text);
	fwrite(greta_buf_str(&text), 1, text.len, stdout);
	return CMD_OK;
}

static int add_excerpt(struct cmd_ctx *ctx, int64_t id, const char *name, struct greta_buf *out, struct greta_err *e)
{
	const struct output o = output_of(ctx, NULL);
	cleanup_buf struct greta_buf text = {0}, part = {0};
	if (greta_evidence_read(ctx->db, id, name, &text, e))
		return -1;
	if (!excerpt_of(name, greta_buf_str(&text), &part))
		return 0;
	greta_buf_addc(out, '\n');
	term_add(&o.term, out, TERM_BOLD, name);
	greta_buf_addf(out, " (all of it: --evidence %s)\n%s", name, greta_buf_str(&part));
	return 0;
}

static int show_excerpts(struct cmd_ctx *ctx, int64_t id, struct greta_err *e)
{
	cleanup_buf struct greta_buf out = {0};
	cleanup_query struct greta_query *q = greta_query_open(ctx->db, e, names_sql, "i", id);
	int rc = q ? greta_query_step(q, e) : -1;
	for (; rc == 1; rc = greta_query_step(q, e))
		if (add_excerpt(ctx, id, greta_query_str(q, 0), &out, e))
			return -1;
	fputs(greta_buf_str(&out), stdout);
	return rc;
}

static int show_attempt(struct cmd_ctx *ctx, int64_t id, const char *evidence, struct greta_err *e)
{
	if (evidence)
		return show_raw(ctx, id, evidence, e);
	int rc = show_parts(ctx, attempt_parts, GRETA_COUNT(attempt_parts), id, e);
	return rc == CMD_OK && !ctx->json ? show_excerpts(ctx, id, e) : rc;
}

static int show_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct show_values *v = values;
	const char *operand = ctx->operands.n ? ctx->operands.items[0] : NULL;
	struct greta_err why = {0};
	int64_t id;
	if (v->attempt)
		return find_attempt(ctx->db, v->attempt, &id, e) ? -1 : show_attempt(ctx, id, v->evidence, e);
	if (v->job) {
		struct greta_job_row row;
		if (greta_jobs_get(ctx->db, v->job, &row, e))
			return -1;
		return show_parts(ctx, job_parts, GRETA_COUNT(job_parts), v->job, e);
	}
	if (greta_campaigns_find(ctx->db, operand, &id, &why) == 0 && !v->evidence)
		return show_parts(ctx, campaign_parts, GRETA_COUNT(campaign_parts), id, e);
	if (operand && (why.code == GRETA_ENOENT || v->evidence) && find_attempt(ctx->db, operand, &id, NULL) == 0)
		return show_attempt(ctx, id, v->evidence, e);
	return v->evidence ? greta_err_set(e, GRETA_EINVAL, "--evidence is of an attempt, which is to be named")
			   : greta_err_set(e, why.code, "%s", why.text);
}

static const struct greta_opt show_opts[] = {
	{"attempt", 'a', GRETA_OPT_STR, offsetof(struct show_values, attempt), "ATTEMPT", "this attempt (id or uuid)"},
	{"evidence", 0, GRETA_OPT_STR, offsetof(struct show_values, evidence), "NAME",
	 "of an attempt: one item of its evidence, as it was gathered"},
	{"job", 'j', GRETA_OPT_I64, offsetof(struct show_values, job), "JOB", "this job and its attempts"},
	{0},
};

const struct cmd cmd_show = {
	.name = "show",
	.group = "Ask",
	.summary = "one campaign, job or attempt, with all that is stored of it",
	.operands = "[CAMPAIGN|ATTEMPT]",
	.max_operands = 1,
	.details = "A name or number is a campaign's before it is an attempt's; --attempt is always an attempt.\n"
		   "Of an attempt that did not end well, the telling parts of its evidence follow: stacks, logs, the black box.\n\n"
		   "  greta-orch show --attempt 17\n"
		   "  greta-orch show 8f3e21aa --evidence debugger\n"
		   "  greta-orch show b3_89 --json\n",
	.opts = show_opts,
	.values_size = sizeof(struct show_values),
	.needs = CMD_NEEDS_READER,
	.exec = show_exec,
};
