/* attempts_end: what an attempt came to, and which result of a job counts. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "base/str.h"
#include "db/attempts_internal.h"
#include "db/hangs.h"
#include "db/heads.h"
#include "db/logs.h"
#include "db/records.h"
#include "db/telemetry.h"
#include <math.h>
#include <string.h>

/* ---- samples, and what they sum up to */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct spread {
	double median, low, high; /* NAN when there is none */
	int64_t n;
};

/* Over the timed samples; the warm-up is sample 0. */
static struct spread spread_of(const struct greta_samples *samples, const char *name)
{
	struct spread s = {NAN, NAN, NAN, 0};
	double *v = greta_alloc((samples->n + 1) * sizeof *v);
	size_t n = 0;

	for (size_t i = 0; i < samples->n; i++) {
		double value = samples->items[i].sample_no > 0 ? greta_sample_number(&samples->items[i], name) : NAN;

		if (!isnan(value))
			v[n++] = value;
	}
	if (n) {
		qsort(v, n, sizeof *v, by_value);
		s = (struct spread){(v[(n - 1) / 2] + v[n / 2]) / 2, v[0], v[n - 1], (int64_t)n};
	}
	free(v);
	return s;
}

static const char *first_text(const struct greta_samples *samples, const char *name)
{
	for (size_t i = 0; i < samples->n; i++) {
		const struct greta_metric *m = greta_sample_get(&samples->items[i], name);

		if (samples->items[i].sample_no > 0 && m && m->text)
			return m->text;
	}
	return NULL;
}

static int put_sample(struct greta_db *db, int64_t attempt_id, const struct greta_sample *s, struct greta_err *e)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct greta_metric *m = &s->metrics[i];

		if (greta_db_exec(
			    db, e,
			    "INSERT INTO sample (attempt_id, sample_no, name, value, text) VALUES (?, ?, ?, ?, ?)",
			    "iisfs", attempt_id, s->sample_no, m->name, m->text ? NAN : m->value, m->text))
			return -1;
	}
	return 0;
}

static int put_samples(struct greta_db *db, int64_t attempt_id, const struct greta_samples *samples,
		       struct greta_err *e)
{
	for (size_t i = 0; i < samples->n; i++)
		if (put_sample(db, attempt_id, &samples->items[i], e))
			return -1;
	return 0;
}

/* ---- build and devices */

int attempt_build_id(struct greta_db *db, int64_t attempt_id, const char *build_sha256, const char *engine_sha256,
		     int64_t *build_id, struct greta_err *e)
{
	struct greta_build_facts facts = {.build_sha256 = build_sha256, .engine_sha256 = engine_sha256};
	char hex[GRETA_SHA256_HEX + 1];
	cleanup_query struct greta_query *named = greta_query_open(
		db, e,
		"SELECT CASE WHEN instr(v.detail, '\"build_id\"') THEN json_extract(v.detail, '$.build_id') END" /* few have one */
		" FROM attempt a JOIN job j ON j.id = a.job_id JOIN variant v ON v.id = j.variant_id WHERE a.id = ?",
		"i", attempt_id);
	int rc = named ? greta_query_step(named, e) : -1;

	*build_id = 0;
	if (rc < 0)
		return -1;
	if (rc > 0 && (facts.declared_id = greta_query_str(named, 0)) != NULL)
		facts.build_sha256 = greta_sha256_of(facts.declared_id, strlen(facts.declared_id), hex);
	return facts.build_sha256 && *facts.build_sha256 ? greta_builds_record(db, &facts, build_id, e) : 0;
}

/* A device that no facts told of yet is noted with its UUID alone. */
static int device_id(struct greta_db *db, int64_t attempt_id, const char *uuid, int64_t *id, struct greta_err *e)
{
	int rc = db_get_i64(db, id, e, "SELECT id FROM device WHERE uuid = ?", "s", uuid);

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (greta_db_exec(db, e,
			  "INSERT INTO device (uuid, kind, node_id, first_seen_ns, last_seen_ns)"
			  " SELECT ?1, 'unknown', node_id, ?2, ?2 FROM attempt WHERE id = ?3",
			  "sii", uuid, greta_clock_wall_ns(), attempt_id))
		return -1;
	*id = greta_db_inserted(db);
	return 0;
}

int attempt_add_device(struct greta_db *db, int64_t attempt_id, const char *uuid, struct greta_err *e)
{
	int64_t id = 0;

	if (device_id(db, attempt_id, uuid, &id, e))
		return -1;
	return greta_db_exec(db, e,
			     "INSERT INTO attempt_device (attempt_id, device_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
			     "ii", attempt_id, id);
}

static int put_devices(struct greta_db *db, int64_t attempt_id, const struct greta_strs *devices, struct greta_err *e)
{
	for (size_t i = 0; i < devices->n; i++)
		if (attempt_add_device(db, attempt_id, devices->items[i], e))
			return -1;
	return 0;
}

static int add_types(struct greta_query *q, struct greta_strs *out, struct greta_err *e)
{
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e))
		greta_strs_add(out, greta_query_str(q, 0));
	return rc;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What kind of thing it ran on: "MI300X", or the CPU's name when it held no device. Each kind once, in order. */
static int read_device_type(struct greta_db *db, int64_t attempt_id, struct greta_buf *out, struct greta_err *e)
{
	cleanup_strs struct greta_strs types = {0};
	cleanup_query struct greta_query *of_cpu = NULL;
	cleanup_query struct greta_query *of_devices = greta_query_open(
		db, e,
		"SELECT coalesce(d.name, d.arch, d.kind) FROM attempt_device t JOIN device d ON d.id = t.device_id"
		" WHERE t.attempt_id = ?",
		"i", attempt_id);

	if (add_types(of_devices, &types, e))
		return -1;
	if (!types.n) {
		of_cpu = greta_query_open(db, e,
					  "SELECT value FROM environment_row WHERE environment_id = (SELECT"
					  " environment_id FROM attempt WHERE id = ?) AND key = 'cpu.model'",
					  "i", attempt_id);
		if (add_types(of_cpu, &types, e))
			return -1;
	}
	if (types.n)
		qsort(types.items, types.n, sizeof *types.items, by_name);
	for (size_t i = 0; i < types.n; i++)
		if (i == 0 || strcmp(types.items[i], types.items[i - 1]) != 0)
			greta_buf_addf(out, "%s%s", out->len ? ", " : "", types.items[i]);
	return 0;
}

/* ---- which result counts */

/* *counted: 0 when none counts yet. */
static int results_so_far(struct greta_db *db, int64_t job_id, int64_t *counted, bool *contradicted, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e,
		"SELECT counted_attempt, EXISTS (SELECT 1 FROM attempt WHERE job_id = job.id AND cause = 'contradiction')"
		" FROM job WHERE id = ?",
		"i", job_id);
	int rc = q ? greta_query_step(q, e) : -1;

	*counted = rc == 1 ? greta_query_i64(q, 0) : 0;
	*contradicted = rc == 1 && greta_query_i64(q, 1);
	return rc < 0 ? -1 : 0;
}

/* True of two attempts that ran the same thing on the same kind of device: then even the bits have to agree. */
#define SAME_SETUP                                                                                                     \
	"(SELECT x.build_id = y.build_id AND x.model_id IS y.model_id AND (SELECT group_concat(DISTINCT d.arch)"       \
	" FROM attempt_device t JOIN device d ON d.id = t.device_id WHERE t.attempt_id = x.id) IS"                     \
	" (SELECT group_concat(DISTINCT d.arch) FROM attempt_device t JOIN device d ON d.id = t.device_id"             \
	" WHERE t.attempt_id = y.id) AND (x.node_id IS y.node_id OR EXISTS"                                            \
	" (SELECT 1 FROM attempt_device WHERE attempt_id = x.id)) FROM attempt x, attempt y"                           \
	" WHERE x.id = ?1 AND y.id = ?2)"

/* What both say and say differently: "top1 is 17 in one and 23 in the other". Empty: nothing. */
static int compare(struct greta_db *db, int64_t one, int64_t other, struct greta_buf *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e,
		"SELECT a.name, coalesce(a.text, format('%.15g', a.value)),"
		" coalesce(b.text, format('%.15g', b.value)) FROM sample a JOIN sample b"
		" USING (sample_no, name) WHERE a.attempt_id = ?1 AND b.attempt_id = ?2 AND sample_no > 0"
		" AND (a.name IN ('prompt_tokens', 'attn_impl', 'top1') OR (a.name = 'logits_sha256' AND " SAME_SETUP
		")) AND (a.text IS NOT b.text OR a.value IS NOT b.value) ORDER BY sample_no, a.name LIMIT 1",
		"ii", one, other);
	int rc = q ? greta_query_step(q, e) : -1;

	if (rc == 1)
		greta_buf_addf(out, "%s is %s in one and %s in the other", greta_query_str(q, 0), greta_query_str(q, 1),
			       greta_query_str(q, 2));
	return rc < 0 ? -1 : 0;
}

static int invalidate(struct greta_db *db, int64_t attempt_id, const char *reason, struct greta_err *e)
{
	return greta_db_exec(
		db, e,
		"UPDATE attempt SET outcome = 'invalid', cause = 'contradiction', reason = ?, superseded = 0"
		" WHERE id = ?",
		"si", reason, attempt_id);
}

/* Neither is believed, nor any other good result of that job. */
static int contradict(struct greta_db *db, const struct attempt_head *h, const char *how, struct greta_applied *out,
		      struct greta_err *e)
{
	cleanup_free char *reason = greta_format("two good results of this job contradict each other: %s", how);

	out->outcome = GRETA_OUTCOME_INVALID;
	out->contradicts = true;
	if (greta_db_exec(db, e,
			  "UPDATE attempt SET outcome = 'invalid', cause = 'contradiction', reason = ?, superseded = 0"
			  " WHERE job_id = ? AND outcome = 'ok'",
			  "si", reason, h->job_id))
		return -1;
	return greta_db_exec(db, e, "UPDATE job SET counted_attempt = NULL, reason = ? WHERE id = ?", "si", reason,
			     h->job_id);
}

static int count_first(struct greta_db *db, const struct attempt_head *h, struct greta_applied *out,
		       struct greta_err *e)
{
	out->counted = true;
	return greta_db_exec(db, e, "UPDATE job SET counted_attempt = ? WHERE id = ?", "ii", h->id, h->job_id);
}

static int count_later(struct greta_db *db, const struct attempt_head *h, int64_t first, struct greta_applied *out,
		       struct greta_err *e)
{
	cleanup_buf struct greta_buf how = {0};

	if (compare(db, first, h->id, &how, e))
		return -1;
	if (how.len)
		return contradict(db, h, how.data, out, e);
	out->superseded = true;
	return greta_db_exec(db, e, "UPDATE attempt SET superseded = 1 WHERE id = ?", "i", h->id);
}

static int count_result(struct greta_db *db, const struct attempt_head *h, struct greta_applied *out,
			struct greta_err *e)
{
	int64_t counted;
	bool contradicted;

	if (results_so_far(db, h->job_id, &counted, &contradicted, e))
		return -1;
	if (contradicted) {
		out->outcome = GRETA_OUTCOME_INVALID;
		out->contradicts = true;
		return invalidate(db, h->id, "earlier good results of this job contradict each other", e);
	}
	return counted ? count_later(db, h, counted, out, e) : count_first(db, h, out, e);
}

/* ---- the end */

int attempt_check_samples(const struct greta_samples *samples, struct greta_err *e)
{
	for (size_t i = 0; i < samples->n; i++)
		for (size_t k = 0; k <= i; k++)
			if (samples->items[i].sample_no < 0 ||
			    (k < i && samples->items[k].sample_no == samples->items[i].sample_no))
				return greta_err_set(e, GRETA_EPROTO, "an outcome with sample %lld twice, or below 0",
						     (long long)samples->items[i].sample_no);
	return 0;
}

/* As an INTEGER column takes it: NAN becomes NULL. */
static double whole(double v)
{
	return fabs(v) < 9007199254740992.0 ? floor(v) : NAN;
}

/* How it ended, what the samples, the build and the devices sum up to, and what the head has that was not written. */
static int put_end(struct greta_db *db, const struct head *h, const struct greta_end *end, int64_t committed_seq,
		   struct greta_err *e)
{
	const struct greta_samples *s = &end->samples;
	const struct spread prefill = spread_of(s, "prefill_s");
	cleanup_buf struct greta_buf progress = {0};
	cleanup_buf struct greta_buf device_type = {0};
	int64_t build_id;

	if (attempt_build_id(db, h->id, end->build_sha256, end->engine_sha256, &build_id, e) ||
	    put_devices(db, h->id, &end->devices, e) || read_device_type(db, h->id, &device_type, e))
		return -1;
	if (end->progress.phase != GRETA_PHASE_NONE)
		greta_progress_print(&end->progress, &progress);
	else
		greta_buf_add(&progress, h->progress.data, h->progress.len);
	return greta_db_exec(
		db, e,
		"UPDATE attempt SET state = 'ended', reported = 1, committed_seq = ?1, outcome = ?2, cause = ?3,"
		" reason = ?4, started_ns = coalesce(?5, started_ns), ended_ns = coalesce(?6, ?7), wall_s = ?8,"
		" cpu_user_s = ?9, cpu_system_s = ?10, peak_rss_bytes = ?11, exit_code = ?12, signal = ?13, survivors = ?14,"
		" tokens_verified = ?15, class = coalesce(nullif(?16, 'none'), class),"
		" certainty = coalesce(nullif(?17, 'none'), certainty), blamed = ?18, blind = ?19,"
		" phase = coalesce(?20, phase), progress = coalesce(nullif(?21, ''), progress),"
		" progress_dropped = ?22, log_dropped = max(log_dropped + ?37, ?23), n_samples = ?24, prefill_s = ?25,"
		" prefill_min_s = ?26, prefill_max_s = ?27, decode_s = ?28, model_load_s = ?29, tokenize_s = ?30,"
		" prompt_tokens = ?31, attn_impl = ?32, backend = ?33, dtype = ?34, device_type = nullif(?35, ''),"
		" build_id = coalesce(?36, build_id), model_id = coalesce(?38, model_id),"
		" dispatched_ns = coalesce(dispatched_ns, ?39), log_bytes = ?40, log_sealed = ?41, telemetry_loose = ?42"
		" WHERE id = ?43",
		"isssooifffuuoiissssssiiifffffffssssoiooiiii",
		committed_seq, greta_outcome_name(end->outcome), end->cause, end->reason,
		end->started_wall_ns ? end->started_wall_ns : h->started_ns,
		end->finished_wall_ns, greta_clock_wall_ns(), end->wall_s, end->cpu_user_s, end->cpu_system_s,
		end->peak_rss_bytes, (int64_t)end->exit_code, (int64_t)end->signal, (int64_t)end->survivors,
		(int64_t)end->tokens_verified, greta_class_name(end->class_), greta_certainty_name(end->certainty),
		end->blamed, end->blind,
		end->progress.phase != GRETA_PHASE_NONE ? greta_phase_name(end->progress.phase) : h->phase,
		greta_buf_str(&progress), end->progress_dropped, end->log_dropped, prefill.n, prefill.median, prefill.low, prefill.high,
		spread_of(s, "decode_s").median, spread_of(s, "model_load_s").median, spread_of(s, "tokenize_s").median,
		whole(spread_of(s, "prompt_tokens").median), first_text(s, "attn_impl"), first_text(s, "backend"),
		first_text(s, "dtype"), greta_buf_str(&device_type), build_id ? build_id : h->build_id,
		h->log_dropped, h->model_id, h->dispatched_ns, h->log_bytes, h->log_sealed, h->telemetry_loose, h->id);
}

/* ---- kernels */

/* 1 for the first attempt of a build that comes with the evidence item "kernels". */
static int has_news(struct greta_db *db, int64_t attempt_id, int64_t *build_id, struct greta_err *e)
{
	return db_get_i64(db, build_id, e,
			  "SELECT build_id FROM attempt a WHERE id = ? AND build_id IS NOT NULL AND EXISTS (SELECT 1 FROM"
			  " evidence_part WHERE attempt_id = a.id AND name = 'kernels') AND NOT EXISTS (SELECT 1 FROM"
			  " code_object WHERE build_id = a.build_id)",
			  "i", attempt_id);
}

/* What can't be read stays as evidence, and the build without figures. */
static int put_kernels(struct greta_db *db, int64_t attempt_id, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};
	cleanup_with(greta_kernels_release) struct greta_kernels kernels = {0};
	int64_t build_id;
	int rc = has_news(db, attempt_id, &build_id, e);

	if (rc <= 0)
		return rc;
	if (greta_evidence_read(db, attempt_id, "kernels", &text, e) < 0)
		return -1;
	greta_kernels_parse(greta_buf_str(&text), text.len, &kernels, NULL);
	for (size_t i = 0; i < kernels.n; i++)
		if (greta_builds_add_kernel(db, build_id, &kernels.items[i], e) < 0)
			return -1;
	return 0;
}

static int end_held(struct greta_db *db, const struct attempt_head *h, struct head *held, const struct greta_end *end,
		    int64_t committed_seq, struct greta_applied *out, struct greta_err *e)
{
	if (heads_put_text(db, held, e) || put_end(db, held, end, committed_seq, e))
		return -1;
	heads_drop(db, held);
	if (put_samples(db, h->id, &end->samples, e) || put_kernels(db, h->id, e) ||
	    (!h->log_is_done && greta_logs_seal(db, h->id, e)) || (!h->telemetry_is_done && greta_telemetry_seal(db, h->id, e)) ||
	    greta_hangs_store_fingerprint(db, h->id, e))
		return -1;
	return end->outcome == GRETA_OUTCOME_GOOD ? count_result(db, h, out, e) : 0;
}

/* Of this attempt there is nothing in memory any more once its row is written, and of others nothing is asked that is. */
int attempt_end(struct greta_db *db, const struct attempt_head *h, const struct greta_end *end, int64_t committed_seq,
		struct greta_applied *out, struct greta_err *e)
{
	struct head *held = heads_get(db, h->id, e);
	int rc;

	if (!held)
		return -1;
	out->what = GRETA_APPLY_ENDED;
	out->outcome = end->outcome;
	out->wall_s = end->wall_s;
	out->quarantined = end->quarantined.n > 0;
	heads_hold(db);
	rc = end_held(db, h, held, end, committed_seq, out, e);
	heads_let(db);
	return rc;
}

int greta_attempts_end(struct greta_db *db, int64_t attempt_id, const struct greta_end *end, struct greta_applied *out,
		       struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	struct greta_applied own;
	struct attempt_head head;

	if (!out)
		out = &own;
	*out = (struct greta_applied){0};
	if (attempt_head_load(db, attempt_id, &head, e))
		return -1;
	if (head.reported)
		return greta_err_set(e, GRETA_EEXIST, "attempt %lld has its outcome already", (long long)attempt_id);
	if (attempt_check_samples(&end->samples, e))
		return -1;
	if (greta_txn_begin(db, &txn, e) || attempt_end(db, &head, end, head.committed_seq, out, e))
		return -1;
	return greta_txn_commit(&txn, e);
}

int greta_attempts_end_here(struct greta_db *db, int64_t attempt_id, enum greta_outcome outcome, const char *cause,
			    const char *reason, struct greta_err *e)
{
	struct attempt_head head;

	if (outcome == GRETA_OUTCOME_GOOD)
		return greta_err_set(e, GRETA_EINVAL, "only a node can say that an attempt went well");
	if (attempt_head_load(db, attempt_id, &head, e))
		return -1;
	if (head.reported)
		return greta_err_set(e, GRETA_EEXIST, "attempt %lld has its outcome already", (long long)attempt_id);
	return greta_db_exec(db, e,
			     "UPDATE attempt SET state = 'ended', outcome = ?, cause = ?, reason = ?, ended_ns = ?"
			     " WHERE id = ?",
			     "sssii", greta_outcome_name(outcome), cause, reason, greta_clock_wall_ns(), attempt_id);
}

/* ---- gates */

/* The job whose counted attempt the bound one is: found by its own job, since counted attempts have no index. */
#define IS_COUNTED "(id, counted_attempt) = (SELECT job_id, id FROM attempt WHERE id = ?)"

/* Of the good results that came later, the first. */
static int count_next(struct greta_db *db, int64_t attempt_id, int64_t *now_counted, struct greta_err *e)
{
	int64_t next = 0;

	if (db_get_i64(db, &next, e,
		       "SELECT id FROM attempt WHERE job_id = (SELECT job_id FROM attempt WHERE id = ?)"
		       " AND outcome = 'ok' AND superseded = 1 ORDER BY id LIMIT 1",
		       "i", attempt_id) < 0)
		return -1;
	*now_counted = next;
	if (greta_db_exec(db, e, "UPDATE job SET counted_attempt = ? WHERE " IS_COUNTED, "oi", next, attempt_id))
		return -1;
	return greta_db_exec(db, e, "UPDATE attempt SET superseded = 0 WHERE id = ?", "i", next);
}

int greta_attempts_reject(struct greta_db *db, int64_t attempt_id, const char *cause, const char *reason,
			  int64_t *now_counted, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	int64_t one = 0, next = 0;
	int rc;

	rc = db_get_i64(db, &one, e, "SELECT 1 FROM attempt WHERE id = ? AND outcome = 'ok'", "i", attempt_id);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return greta_err_set(e, GRETA_EINVAL, "attempt %lld is no good result, so it can't be rejected",
				     (long long)attempt_id);
	if (greta_txn_begin(db, &txn, e) ||
	    greta_db_exec(db, e,
			  "UPDATE attempt SET outcome = 'invalid', cause = ?, reason = ?, superseded = 0 WHERE id = ?",
			  "ssi", cause, reason, attempt_id))
		return -1;
	rc = db_get_i64(db, &one, e, "SELECT 1 FROM job WHERE " IS_COUNTED, "i", attempt_id);
	if (rc < 0 || (rc == 1 && count_next(db, attempt_id, &next, e)))
		return -1;
	if (now_counted)
		*now_counted = next;
	return greta_txn_commit(&txn, e);
}
