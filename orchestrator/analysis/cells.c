#include "orchestrator/analysis/cells.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/db.h"
#include <math.h>
#include <stdlib.h>

/* One row a job, with its counted attempt or, failing that, its last. */
static const char cells_sql[] =
	"SELECT variant.name, job.context, job.id, job.repeat, job.state, job.reason,"
	"       (SELECT count(*) FROM attempt WHERE job_id = job.id),"
	"       a.id, a.state, a.outcome, a.id = job.counted_attempt, a.tokens_verified, a.reason, a.excluded,"
	"       a.attn_impl, coalesce(alias.name, node.hostname), a.class, a.n_samples, a.prefill_s, a.prefill_min_s,"
	"       a.prefill_max_s, a.model_load_s, a.decode_s, a.wall_s,"
	"       (SELECT max(value) FROM sample WHERE attempt_id = a.id AND name = 'flops'),"
	"       coalesce((SELECT max(value) FROM sample WHERE attempt_id = a.id AND name = 'limit_tflops'),"
	"                CAST(json_extract(alias.labels, '$.limit_tflops') AS REAL)),"
	"       (SELECT group_concat(reason, '; ') FROM validity_mark WHERE attempt_id = a.id)"
	" FROM job JOIN variant ON variant.id = job.variant_id"
	" LEFT JOIN attempt a ON a.id = coalesce(job.counted_attempt, (SELECT max(id) FROM attempt WHERE job_id = job.id))"
	" LEFT JOIN alias ON alias.id = a.alias_id LEFT JOIN node ON node.id = a.node_id"
	" WHERE job.campaign_id = ?"
	" ORDER BY variant.position, variant.id, job.context, job.repeat";

enum column {
	C_VARIANT, C_CONTEXT, C_JOB, C_REPEAT, C_STATE, C_REASON, C_ATTEMPTS, C_ATTEMPT, C_ATTEMPT_STATE, C_OUTCOME,
	C_COUNTED, C_VERIFIED, C_WHY, C_EXCLUDED, C_ATTN, C_NODE, C_CLASS, C_SAMPLES, C_PREFILL, C_PREFILL_MIN,
	C_PREFILL_MAX, C_LOAD, C_DECODE, C_WALL, C_FLOPS, C_LIMIT,
	C_EXCLUDED_REASON,
};

static char *text(struct greta_query *q, int column)
{
	return greta_strdup(greta_query_str(q, column));
}

static void read_job(struct greta_query *q, struct cell_job *j)
{
	const char *state = greta_query_str(q, C_ATTEMPT_STATE);
	*j = (struct cell_job){
		.id = greta_query_i64(q, C_JOB),
		.repeat = greta_query_i64(q, C_REPEAT),
		.n_attempts = greta_query_i64(q, C_ATTEMPTS),
		.attempt_id = greta_query_i64(q, C_ATTEMPT),
		.attempt_open = state && !greta_str_eq(state, "ended") && !greta_str_eq(state, "pruned"),
		.outcome = greta_outcome_parse(greta_query_str(q, C_OUTCOME)),
		.counted = greta_query_i64(q, C_COUNTED) != 0,
		.verified = greta_query_i64(q, C_VERIFIED) != 0,
		.n_samples = greta_query_i64(q, C_SAMPLES),
		.prefill_s = greta_query_f64(q, C_PREFILL),
		.prefill_min_s = greta_query_f64(q, C_PREFILL_MIN),
		.prefill_max_s = greta_query_f64(q, C_PREFILL_MAX),
		.model_load_s = greta_query_f64(q, C_LOAD),
		.decode_s = greta_query_f64(q, C_DECODE),
		.wall_s = greta_query_f64(q, C_WALL),
		.flops = greta_query_f64(q, C_FLOPS),
		.limit_tflops = greta_query_f64(q, C_LIMIT),
	};
	j->state = text(q, C_STATE);
	j->reason = text(q, C_REASON);
	j->why = text(q, C_WHY);
	j->excluded = text(q, C_EXCLUDED);
	j->excluded_reason = text(q, C_EXCLUDED_REASON);
	j->attn_impl = text(q, C_ATTN);
	j->node = text(q, C_NODE);
	j->class_ = text(q, C_CLASS);
}

static struct cell *cell_of(struct cells *c, const char *variant, int64_t context)
{
	struct cell *last = c->n ? &c->items[c->n - 1] : NULL;
	if (last && last->context == context && greta_str_eq(last->variant, variant))
		return last;
	last = GRETA_PUSH(c->items, c->n, c->cap);
	*last = (struct cell){.variant = greta_strdup(variant), .context = context};
	return last;
}

static int load_campaign(struct greta_db *db, struct cells *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e, "SELECT name, mode, state, kind FROM campaign WHERE id = ?", "i", out->campaign_id);
	if (!q)
		return -1;
	int rc = greta_query_step(q, e);
	if (rc == 0)
		return greta_err_set(e, GRETA_ENOENT, "there is no campaign %lld", (long long)out->campaign_id);
	if (rc < 0)
		return -1;
	out->campaign = text(q, 0);
	out->mode = text(q, 1);
	out->state = text(q, 2);
	out->kind = text(q, 3);
	return 0;
}

static int load_jobs(struct greta_db *db, struct cells *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(db, e, cells_sql, "i", out->campaign_id);
	int rc = q ? 0 : -1;
	while (q && (rc = greta_query_step(q, e)) == 1) {
		struct cell *cell = cell_of(out, greta_query_str(q, C_VARIANT), greta_query_i64(q, C_CONTEXT));
		read_job(q, GRETA_PUSH(cell->jobs, cell->n, cell->cap));
	}
	return rc;
}

static void sum_up(struct cell *cell, bool with_marked, struct validity_tally *marked)
{
	struct stats_sample shares = {0};
	stats_release(&cell->runs);
	cell->flops = NAN;
	for (size_t i = 0; i < cell->n; i++) {
		const struct cell_job *j = &cell->jobs[i];
		if (!j->counted)
			continue;
		validity_tally_add(marked, j->excluded);
		if (j->excluded && !with_marked)
			continue;
		stats_add(&cell->runs, j->prefill_s);
		if (!isnan(j->flops))
			cell->flops = j->flops;
		if (j->limit_tflops > 0)
			stats_add(&shares, j->flops / j->prefill_s / 1e12 / j->limit_tflops);
	}
	cell->limit_share = stats_median(&shares).median;
	stats_release(&shares);
	cell->prefill = stats_median(&cell->runs);
}

static void sum_all_up(struct cells *c)
{
	validity_tally_release(&c->marked);
	for (size_t i = 0; i < c->n; i++)
		sum_up(&c->items[i], c->with_marked, &c->marked);
}

int cells_load(struct greta_db *db, int64_t campaign_id, struct cells *out, struct greta_err *e)
{
	*out = (struct cells){.campaign_id = campaign_id};
	if (load_campaign(db, out, e) || load_jobs(db, out, e)) {
		cells_release(out);
		return -1;
	}
	sum_all_up(out);
	return 0;
}

void cells_take_marked(struct cells *c)
{
	c->with_marked = true;
	sum_all_up(c);
}

static void job_release(struct cell_job *j)
{
	free(j->state);
	free(j->reason);
	free(j->why);
	free(j->excluded);
	free(j->excluded_reason);
	free(j->attn_impl);
	free(j->node);
	free(j->class_);
}

void cells_release(struct cells *c)
{
	for (size_t i = 0; i < c->n; i++) {
		for (size_t k = 0; k < c->items[i].n; k++)
			job_release(&c->items[i].jobs[k]);
		stats_release(&c->items[i].runs);
		free(c->items[i].jobs);
		free(c->items[i].variant);
	}
	validity_tally_release(&c->marked);
	free(c->items);
	free(c->campaign);
	free(c->mode);
	free(c->state);
	free(c->kind);
	*c = (struct cells){0};
}

void cells_keep_node(struct cells *c, const char *node)
{
	for (size_t i = 0; i < c->n; i++) {
		struct cell *cell = &c->items[i];
		size_t kept = 0;
		for (size_t k = 0; k < cell->n; k++) {
			if (greta_str_eq(cell->jobs[k].node, node))
				cell->jobs[kept++] = cell->jobs[k];
			else
				job_release(&cell->jobs[k]);
		}
		cell->n = kept;
	}
	sum_all_up(c);
}

static bool comparable(const struct cells *c, size_t i, size_t k)
{
	return greta_str_eq(c->items[i].variant, c->items[k].variant) && c->items[k].prefill.n > 0;
}

const struct cell *cells_previous(const struct cells *c, size_t i)
{
	for (size_t k = i; k-- > 0;)
		if (comparable(c, i, k))
			return &c->items[k];
	return NULL;
}

const struct cell *cells_first(const struct cells *c, size_t i)
{
	for (size_t k = 0; k <= i; k++)
		if (comparable(c, i, k))
			return &c->items[k];
	return NULL;
}

void cells_job_outcome(const struct cell_job *j, struct greta_buf *out)
{
	const char *why = j->why;
	if (j->attempt_id == 0 || greta_str_eq(j->state, "skipped") || greta_str_eq(j->state, "cancelled")) {
		greta_buf_adds(out, j->attempt_id || !greta_str_eq(j->state, "queued") ? j->state : "never ran");
		why = j->reason;
	} else if (j->attempt_open) {
		greta_buf_adds(out, "running");
	} else {
		greta_buf_adds(out, greta_outcome_name(j->outcome));
		if (j->class_ && j->outcome != GRETA_OUTCOME_GOOD)
			greta_buf_addf(out, " (%s)", j->class_);
	}
	if (why)
		greta_buf_addf(out, ": %s", why);
}

void cells_job_text(const struct cell_job *j, struct greta_buf *out)
{
	cells_job_outcome(j, out);
	if (j->excluded)
		greta_buf_addf(out, " [left out: %s]", j->excluded_reason ? j->excluded_reason : j->excluded);
}

bool cells_all_good(const struct cells *c)
{
	for (size_t i = 0; i < c->n; i++)
		for (size_t k = 0; k < c->items[i].n; k++)
			if (!c->items[i].jobs[k].counted)
				return false;
	return true;
}
