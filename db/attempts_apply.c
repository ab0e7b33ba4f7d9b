/* attempts_apply: one event of a node enters the database, once. Each handler reads and checks its event whole before
 * it writes, and refuses it with EPROTO: so one that makes no sense can be noted and passed over. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/attempts_internal.h"
#include "db/heads.h"
#include "db/log_internal.h"
#include "db/records.h"
#include "db/telemetry_internal.h"
#include "schemas/json.h"
#include <math.h>

#define PROGRESS_MAX 4096
#define PARTS_MAX 4096
#define NAME_MAX_BYTES 64
#define EVIDENCE_LEVEL 3

struct applying {
	struct greta_db *db;
	struct attempt_head head;
	bool grown;	   /* output or telemetry came, and may have to be sealed */
	struct head *held; /* by which alone the event changes its attempt's row; else NULL */
	const struct greta_event *ev;
	const char *detail;
	struct greta_applied *out;
};

typedef int handler(struct applying *a, struct greta_err *e);

static int refuse(const struct applying *a, struct greta_err *e, const char *what)
{
	return greta_err_set(e, GRETA_EPROTO, "event %lld (%s) of attempt %s: %s", (long long)a->ev->seq,
			     greta_event_kind_name(a->ev->kind), a->ev->attempt, what);
}

static struct greta_json *read_detail(struct applying *a, struct greta_err *e)
{
	struct greta_json *j = greta_json_parse("detail", a->detail, strlen(a->detail), e);

	if (j && greta_json_type(greta_json_root(j)) == GRETA_JSON_OBJECT)
		return j;
	greta_json_destroy(j);
	refuse(a, e, "its detail is no JSON object");
	return NULL;
}

static const char *text_of(const struct greta_json_val *object, const char *key)
{
	const char *s = NULL;

	greta_json_str(greta_json_get(object, key), &s);
	return s;
}

static int commit_seq(struct applying *a, struct greta_err *e)
{
	if (a->held) {
		a->held->committed_seq = a->ev->seq;
		heads_grows(a->db, a->held);
		return 0;
	}
	return greta_db_exec(a->db, e, "UPDATE attempt SET committed_seq = ? WHERE id = ?", "ii", a->ev->seq,
			     a->head.id);
}

static int keep_event(struct applying *a, struct greta_err *e)
{
	return greta_db_exec(a->db, e,
			     "INSERT INTO event (attempt_id, seq, kind, boot_ns, wall_ns, detail)"
			     " VALUES (?, ?, ?, ?, ?, ?)",
			     "iisiis", a->head.id, a->ev->seq, greta_event_kind_name(a->ev->kind), a->ev->boot_ns,
			     a->ev->wall_ns, a->detail);
}

/* ---- accepted, waiting, started */

static void begins(struct applying *a, enum greta_attempt_state state)
{
	a->held->committed_seq = a->ev->seq;
	heads_begins(a->db, a->held, state);
}

static int on_accepted(struct applying *a, struct greta_err *e)
{
	if (keep_event(a, e))
		return -1;
	a->held->dispatched_ns = greta_clock_wall_ns();
	begins(a, GRETA_ATTEMPT_DISPATCHED);
	return 0;
}

static int on_waiting(struct applying *a, struct greta_err *e)
{
	if (keep_event(a, e))
		return -1;
	return greta_db_exec(a->db, e, "UPDATE attempt SET committed_seq = ?, phase = 'waiting' WHERE id = ?", "ii",
			     a->ev->seq, a->head.id);
}

/* 0: its file is not known. */
static int model_id(struct greta_db *db, const struct greta_json_val *detail, int64_t *id, struct greta_err *e)
{
	const struct greta_json_val *said = greta_json_get(detail, "model_facts");
	struct greta_model_facts facts = {
		.file_sha256 = text_of(said, "file_sha256"),
		.data_sha256 = text_of(said, "tensors_sha256"),
		.metadata_sha256 = text_of(said, "metadata_sha256"),
		.architecture = text_of(said, "architecture"),
		.file_type = text_of(said, "type"),
	};
	const char *path = text_of(detail, "model"), *slash = path ? strrchr(path, '/') : NULL;

	*id = 0;
	if (!facts.file_sha256)
		return 0;
	facts.name = slash ? slash + 1 : path;
	greta_json_i64(greta_json_get(said, "file_bytes"), &facts.bytes);
	greta_json_i64(greta_json_get(said, "n_params"), &facts.n_params);
	return greta_models_record(db, &facts, id, e);
}

static int started(struct applying *a, const struct greta_json_val *detail, struct greta_err *e)
{
	const struct greta_json_val *device = greta_json_first(greta_json_get(detail, "devices"));
	const char *uuid;
	int64_t build_id, model;

	if (keep_event(a, e) ||
	    attempt_build_id(a->db, a->head.id, text_of(detail, "build_sha256"), text_of(detail, "engine_sha256"), &build_id,
			     e) ||
	    model_id(a->db, detail, &model, e))
		return -1;
	for (; device; device = greta_json_next(device))
		if (!greta_json_str(device, &uuid) && attempt_add_device(a->db, a->head.id, uuid, e))
			return -1;
	a->held->started_ns = a->ev->wall_ns;
	a->held->build_id = build_id;
	a->held->model_id = model;
	a->held->phase = greta_phase_name(GRETA_PHASE_STARTING);
	begins(a, GRETA_ATTEMPT_RUNNING);
	return 0;
}

static int on_started(struct applying *a, struct greta_err *e)
{
	struct greta_json *j = read_detail(a, e);
	int rc = j ? started(a, greta_json_root(j), e) : -1;

	greta_json_destroy(j);
	return rc;
}

/* ---- progress */

static int on_progress(struct applying *a, struct greta_err *e)
{
	struct greta_progress p;
	size_t n = strlen(a->detail);

	if (n > PROGRESS_MAX)
		return refuse(a, e, "its detail is too long");
	if (greta_progress_parse(a->detail, n, &p, e))
		return -1;
	a->held->phase = greta_phase_name(p.phase);
	greta_buf_clear(&a->held->progress);
	greta_buf_add(&a->held->progress, a->detail, n);
	return commit_seq(a, e);
}

/* ---- output. Its place is where the output that came before ends: the node counts each stream alone. */

static int log_advance(struct applying *a, int64_t n, struct greta_err *e)
{
	a->held->log_bytes += n;
	a->grown = true;
	return commit_seq(a, e);
}

static int on_log(struct applying *a, struct greta_err *e)
{
	struct greta_json *j = read_detail(a, e);
	const char *name = j ? text_of(greta_json_root(j), "stream") : NULL;
	bool is_out = greta_str_eq(name, "out"), is_err = greta_str_eq(name, "err");

	if (j && !is_out && !is_err)
		refuse(a, e, "its stream is neither \"out\" nor \"err\"");
	greta_json_destroy(j);
	if (!is_out && !is_err)
		return -1;
	runs_add(&a->held->runs, is_err ? GRETA_STREAM_ERR : GRETA_STREAM_OUT, a->ev->n_bytes);
	greta_buf_add(&a->held->text, a->ev->bytes, a->ev->n_bytes);
	return log_advance(a, (int64_t)a->ev->n_bytes, e);
}

static int on_log_gap(struct applying *a, struct greta_err *e)
{
	struct greta_json *j = read_detail(a, e);
	int64_t dropped = -1;
	bool said = j && !greta_json_i64(greta_json_get(greta_json_root(j), "dropped"), &dropped);

	greta_json_destroy(j);
	if (!j)
		return -1;
	if (!said || dropped < 0 || dropped > INT64_MAX / 2 - a->held->log_bytes)
		return refuse(a, e, "it does not say how many bytes were dropped");
	if (heads_put_text(a->db, a->held, e) || log_put_gap(a->db, a->head.id, a->held->log_bytes, dropped, e))
		return -1;
	a->held->log_dropped += dropped;
	return log_advance(a, dropped, e);
}

/* ---- telemetry: {"columns":[names],"rows":[[t_ns,values...]]} */

struct readings {
	const char **columns; /* borrowed from the document */
	int64_t *t_ns;
	double *values;
	size_t n_columns, n_rows;
};

static void readings_release(struct readings *r)
{
	free(r->columns);
	free(r->t_ns);
	free(r->values);
}

/* null, or anything that is no number, is a missing reading. A row may be short. */
static int read_row(struct readings *r, size_t row, const struct greta_json_val *v)
{
	const struct greta_json_val *cell = greta_json_first(v);

	if (greta_json_i64(cell, &r->t_ns[row]))
		return -1;
	cell = greta_json_next(cell);
	for (size_t c = 0; c < r->n_columns; c++) {
		double *value = &r->values[row * r->n_columns + c];

		if (!cell || greta_json_f64(cell, value))
			*value = NAN;
		cell = cell ? greta_json_next(cell) : NULL;
	}
	return cell ? -1 : 0;
}

static int read_readings(struct readings *r, const struct greta_json_val *detail)
{
	const struct greta_json_val *columns = greta_json_get(detail, "columns"),
				    *rows = greta_json_get(detail, "rows");
	const struct greta_json_val *v;
	size_t i = 0;

	r->n_columns = columns ? greta_json_size(columns) : 0;
	r->n_rows = rows ? greta_json_size(rows) : 0;
	r->columns = greta_try_alloc(r->n_columns + 1, sizeof *r->columns);
	r->t_ns = greta_try_alloc(r->n_rows + 1, sizeof *r->t_ns);
	r->values = greta_try_alloc(r->n_rows * r->n_columns + 1, sizeof *r->values);
	if (!columns || !rows || !r->columns || !r->t_ns || !r->values)
		return -1;
	for (v = greta_json_first(columns); v; v = greta_json_next(v))
		if (greta_json_str(v, &r->columns[i++]))
			return -1;
	for (v = greta_json_first(rows), i = 0; v; v = greta_json_next(v), i++)
		if (greta_json_type(v) != GRETA_JSON_ARRAY || read_row(r, i, v))
			return -1;
	return 0;
}

static int on_telemetry(struct applying *a, struct greta_err *e)
{
	cleanup_with(readings_release) struct readings r = {0};
	struct greta_json *j = read_detail(a, e);
	struct greta_telemetry t;
	int rc = -1;

	if (!j)
		return -1;
	if (read_readings(&r, greta_json_root(j))) {
		refuse(a, e, "its columns and rows can't be read");
	} else {
		t = (struct greta_telemetry){.columns = r.columns,
					     .n_columns = r.n_columns,
					     .t_ns = r.t_ns,
					     .values = r.values,
					     .n_rows = r.n_rows};
		rc = telemetry_put(a->db, a->head.id, &t, &a->held->telemetry_loose, e) || commit_seq(a, e) ? -1 : 0;
		a->grown = true;
	}
	greta_json_destroy(j);
	return rc;
}

/* ---- verdict and evidence */

static int verdict(struct applying *a, const struct greta_json_val *detail, struct greta_err *e)
{
	const char *class = text_of(detail, "class"), *certainty = text_of(detail, "certainty");

	if (keep_event(a, e))
		return -1;
	return greta_db_exec(a->db, e,
			     "UPDATE attempt SET committed_seq = ?, class = nullif(?, 'none'),"
			     " certainty = nullif(?, 'none'), verdict = ? WHERE id = ?",
			     "isssi", a->ev->seq, greta_class_name(greta_class_parse(class ? class : "")),
			     greta_certainty_name(greta_certainty_parse(certainty ? certainty : "")),
			     text_of(detail, "text"), a->head.id);
}

static int on_verdict(struct applying *a, struct greta_err *e)
{
	struct greta_json *j = read_detail(a, e);
	int rc = j ? verdict(a, greta_json_root(j), e) : -1;

	greta_json_destroy(j);
	return rc;
}

static bool is_plain_name(const char *s)
{
	size_t n = s ? strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") : 0;

	return n > 0 && n <= NAME_MAX_BYTES && !s[n];
}

static int put_part(struct applying *a, const char *name, int64_t part, int64_t parts, struct greta_err *e)
{
	cleanup_buf struct greta_buf packed = {0};

	if (db_pack(a->db, EVIDENCE_LEVEL, a->ev->bytes, a->ev->n_bytes, &packed, e))
		return -1;
	/* Whoever gathers twice under one name replaces what was there. */
	if (greta_db_exec(a->db, e,
			  "INSERT OR REPLACE INTO evidence_part (attempt_id, name, part, parts, raw_bytes, zstd)"
			  " VALUES (?, ?, ?, ?, ?, ?)",
			  "isiiib", a->head.id, name, part, parts, (int64_t)a->ev->n_bytes, &packed))
		return -1;
	return commit_seq(a, e);
}

static int on_evidence(struct applying *a, struct greta_err *e)
{
	struct greta_json *j = read_detail(a, e);
	const struct greta_json_val *detail = j ? greta_json_root(j) : NULL;
	int64_t part = 1, parts = 1;
	const char *name;
	int rc;

	if (!j)
		return -1;
	name = text_of(detail, "name");
	greta_json_i64(greta_json_get(detail, "part"), &part);
	greta_json_i64(greta_json_get(detail, "parts"), &parts);
	if (!is_plain_name(name) || part < 1 || part > parts || parts > PARTS_MAX)
		rc = refuse(a, e, "its name or its parts are of no use");
	else
		rc = put_part(a, name, part, parts, e);
	greta_json_destroy(j);
	return rc;
}

/* ---- outcome */

/* Output that came in the transaction in which the attempt ends was never written loose. */
static int seal_log(struct applying *a, struct greta_err *e)
{
	struct head *h = heads_get(a->db, a->head.id, e);
	int rc;

	if (!h)
		return -1;
	heads_hold(a->db);
	rc = log_seal_at_hand(a->db, h, &a->head.log_is_done, e);
	heads_let(a->db);
	return rc;
}

static int on_outcome(struct applying *a, struct greta_err *e)
{
	cleanup_with(greta_end_release) struct greta_end end = {0};

	if (greta_end_parse(a->detail, strlen(a->detail), &end, e)) {
		if (e)
			e->code = GRETA_EPROTO;
		return -1;
	}
	if (attempt_check_samples(&end.samples, e) || seal_log(a, e))
		return -1;
	return attempt_end(a->db, &a->head, &end, a->ev->seq, a->out, e);
}

/* ---- which is which */

static handler *const handlers[GRETA_EVENT_COUNT] = {
	[GRETA_EVENT_ACCEPTED] = on_accepted,
	[GRETA_EVENT_WAITING] = on_waiting,
	[GRETA_EVENT_STARTED] = on_started,
	[GRETA_EVENT_PROGRESS] = on_progress,
	[GRETA_EVENT_LOG] = on_log,
	[GRETA_EVENT_LOG_GAP] = on_log_gap,
	[GRETA_EVENT_TELEMETRY] = on_telemetry,
	[GRETA_EVENT_VERDICT] = on_verdict,
	[GRETA_EVENT_EVIDENCE] = on_evidence,
	[GRETA_EVENT_OUTCOME] = on_outcome,
};

int attempt_head_load(struct greta_db *db, int64_t attempt_id, struct attempt_head *out, struct greta_err *e)
{
	const struct head *h = heads_get(db, attempt_id, e);

	if (!h)
		return -1;
	*out = (struct attempt_head){h->id, h->job_id, h->committed_seq, h->reported, h->log_bytes == 0,
				     h->telemetry_loose == 0};
	return 0;
}

static int no_handler(struct applying *a, struct greta_err *e)
{
	return refuse(a, e, "of no kind that this greta knows");
}

static handler *handler_of(enum greta_event_kind kind)
{
	return (size_t)kind < GRETA_EVENT_COUNT && handlers[kind] ? handlers[kind] : no_handler;
}

/* An outcome that says nothing still is the end. */
static int end_unreadable(struct applying *a, const char *why, struct greta_err *e)
{
	cleanup_with(greta_end_release) struct greta_end end = {
		.outcome = GRETA_OUTCOME_INVALID,
		.cause = greta_strdup("unreadable"),
		.reason = greta_strdup(why),
		.exit_code = -1,
		.wall_s = NAN,
		.cpu_user_s = NAN,
		.cpu_system_s = NAN,
		.peak_rss_bytes = -1,
	};

	return attempt_end(a->db, &a->head, &end, a->ev->seq, a->out, e);
}

/* Notes an event that makes no sense in place of what it should have said. */
static int pass_over(struct applying *a, const char *why, struct greta_err *e)
{
	cleanup_buf struct greta_buf note = {0};
	struct greta_jsonw w = greta_jsonw(&note);

	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "unreadable", why);
	greta_jsonw_end_object(&w);
	a->detail = greta_buf_str(&note);
	a->out->unreadable = true;
	if (keep_event(a, e))
		return -1;
	return a->ev->kind == GRETA_EVENT_OUTCOME ? end_unreadable(a, why, e) : commit_seq(a, e);
}

static int handle(struct applying *a, struct greta_err *e)
{
	struct greta_err why = {0};

	if (!handler_of(a->ev->kind)(a, &why))
		return 0;
	if (why.code == GRETA_EPROTO)
		return pass_over(a, why.text, e);
	if (e)
		*e = why;
	return -1;
}

static bool is_held(enum greta_event_kind kind)
{
	return kind == GRETA_EVENT_ACCEPTED || kind == GRETA_EVENT_STARTED || kind == GRETA_EVENT_PROGRESS ||
	       kind == GRETA_EVENT_LOG || kind == GRETA_EVENT_LOG_GAP || kind == GRETA_EVENT_TELEMETRY;
}

static int handle_held(struct applying *a, struct greta_err *e)
{
	int64_t loose_log, loose_telemetry;
	int rc;

	a->held = heads_get(a->db, a->head.id, e);
	heads_hold(a->db);
	rc = handle(a, e);
	heads_let(a->db);
	if (rc || !a->grown)
		return rc;
	loose_log = a->held->log_bytes - a->held->log_sealed;
	loose_telemetry = a->held->telemetry_loose;
	a->held = NULL; /* sealing lets it go */
	return log_grown(a->db, a->head.id, loose_log, e) ||
			       telemetry_grown(a->db, a->head.id, loose_telemetry, e)
		       ? -1
		       : 0;
}

static int apply(struct applying *a, struct greta_err *e)
{
	if (attempt_head_load(a->db, a->head.id, &a->head, e))
		return -1;
	if (a->ev->seq <= a->head.committed_seq || a->head.reported)
		return 0;
	if (a->ev->seq != a->head.committed_seq + 1)
		return greta_err_set(e, GRETA_EPROTO, "event %lld of attempt %s: the one expected is %lld, some are missing",
				     (long long)a->ev->seq, a->ev->attempt, (long long)a->head.committed_seq + 1);
	a->out->what = GRETA_APPLY_DONE;
	return is_held(a->ev->kind) ? handle_held(a, e) : handle(a, e);
}

/* A gap is refused before anything was written, so a transaction around this one may go on. Any other failure leaves
 * this one without commit: half an event must not be committed by those around it. */
int greta_attempts_apply(struct greta_db *db, int64_t attempt_id, const struct greta_event *ev,
			 struct greta_applied *out, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	struct greta_applied own;
	struct greta_err why = {0};
	struct applying a = {.db = db,
			     .head.id = attempt_id,
			     .ev = ev,
			     .detail = ev->detail ? ev->detail : "{}",
			     .out = out ? out : &own};

	*a.out = (struct greta_applied){.what = GRETA_APPLY_STALE};
	if (greta_txn_begin(db, &txn, e))
		return -1;
	if (!apply(&a, &why))
		return greta_txn_commit(&txn, e);
	if (e)
		*e = why;
	if (why.code == GRETA_EPROTO || why.code == GRETA_ENOENT)
		greta_txn_commit(&txn, NULL);
	return -1;
}
