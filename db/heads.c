#include "db/heads.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/internal.h"
#include "db/log_internal.h"

#define SLOTS 64 /* attempts whose events come mixed in one transaction; those that share a slot push each other out */

struct heads {
	struct head slots[SLOTS]; /* by attempt id */
	bool is_held;
	size_t n_known, n_changed;
};

static void head_clear(struct head *h)
{
	greta_buf_release(&h->progress);
	greta_buf_release(&h->text);
	runs_release(&h->runs);
	*h = (struct head){0};
}

static bool is_changed(const struct head *h)
{
	return h->state || h->grows;
}

bool heads_have(const char *table, const char *column)
{
	static const char *const columns[] = {"committed_seq", "log_bytes", "log_sealed", "log_dropped", "telemetry_loose", "reported",
					      "dispatched_ns", "started_ns", "build_id", "model_id", "state", "phase", "progress"};

	return greta_str_eq(table, "log_chunk") ||
	       (greta_str_eq(table, "attempt") && greta_str_in(column, columns, GRETA_COUNT(columns)));
}

static int head_load(struct greta_db *db, int64_t attempt_id, struct head *h, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e,
		"SELECT job_id, committed_seq, log_bytes, log_sealed, telemetry_loose, reported FROM attempt WHERE id = ?",
		"i", attempt_id);
	int rc = q ? greta_query_step(q, e) : -1;

	if (rc == 0)
		return greta_err_set(e, GRETA_ENOENT, "there is no attempt %lld", (long long)attempt_id);
	if (rc < 0)
		return -1;
	*h = (struct head){
		.id = attempt_id,
		.job_id = greta_query_i64(q, 0),
		.committed_seq = greta_query_i64(q, 1),
		.log_bytes = greta_query_i64(q, 2),
		.log_sealed = greta_query_i64(q, 3),
		.telemetry_loose = greta_query_i64(q, 4),
		.reported = greta_query_i64(q, 5),
	};
	return 0;
}

int heads_put_text(struct greta_db *db, struct head *h, struct greta_err *e)
{
	if (log_put(db, h->id, &h->runs, h->log_bytes - (int64_t)h->text.len, &h->text, e))
		return -1;
	greta_buf_clear(&h->text);
	runs_clear(&h->runs);
	return 0;
}

/* An attempt that the controller gave up stays ended until its node says how it ended. */
static int write_beginning(struct greta_db *db, struct head *h, struct greta_err *e)
{
	if (greta_db_exec(db, e,
			  "UPDATE attempt SET dispatched_ns = coalesce(dispatched_ns, ?), started_ns = coalesce(?, started_ns),"
			  " build_id = coalesce(?, build_id), model_id = coalesce(?, model_id), committed_seq = ?,"
			  " phase = coalesce(?, phase), state = CASE WHEN state = 'planned' OR state = 'dispatched' THEN ?"
			  " ELSE state END WHERE id = ?",
			  "ooooissi", h->dispatched_ns, h->started_ns, h->build_id, h->model_id, h->committed_seq, h->phase,
			  h->state, h->id))
		return -1;
	h->state = NULL;
	h->dispatched_ns = h->started_ns = h->build_id = h->model_id = 0;
	h->phase = NULL;
	return 0;
}

static int write_growth(struct greta_db *db, struct head *h, struct greta_err *e)
{
	const char *progress = h->progress.len ? h->progress.data : NULL;

	if (heads_put_text(db, h, e) ||
	    greta_db_exec(db, e,
			  "UPDATE attempt SET committed_seq = ?, log_bytes = ?, log_sealed = ?, log_dropped = log_dropped + ?,"
			  " telemetry_loose = ?, phase = coalesce(?, phase), progress = coalesce(?, progress) WHERE id = ?",
			  "iiiiissi", h->committed_seq, h->log_bytes, h->log_sealed, h->log_dropped, h->telemetry_loose,
			  h->phase, progress, h->id))
		return -1;
	h->grows = false;
	h->log_dropped = 0;
	h->phase = NULL;
	greta_buf_clear(&h->progress);
	return 0;
}

static int head_write(struct greta_db *db, struct head *h, struct greta_err *e)
{
	int rc;

	if (!is_changed(h))
		return 0;
	heads_hold(db);
	rc = (h->state && write_beginning(db, h, e)) || (h->grows && write_growth(db, h, e)) ? -1 : 0;
	heads_let(db);
	db->heads->n_changed -= !is_changed(h);
	return rc;
}

struct head *heads_get(struct greta_db *db, int64_t attempt_id, struct greta_err *e)
{
	struct head *h;

	if (!db->heads)
		db->heads = greta_alloc(sizeof *db->heads);
	h = &db->heads->slots[(size_t)attempt_id % SLOTS];
	if (h->id == attempt_id)
		return h;
	if (head_write(db, h, e))
		return NULL;
	heads_drop(db, h);
	if (head_load(db, attempt_id, h, e))
		return NULL;
	db->heads->n_known++;
	return h;
}

void heads_begins(struct greta_db *db, struct head *h, enum greta_attempt_state state)
{
	db->heads->n_changed += !is_changed(h);
	h->state = greta_attempt_state_name(state);
}

void heads_grows(struct greta_db *db, struct head *h)
{
	db->heads->n_changed += !is_changed(h);
	h->grows = true;
}

void heads_hold(struct greta_db *db)
{
	db->heads->is_held = true;
}

void heads_let(struct greta_db *db)
{
	db->heads->is_held = false;
}

int heads_write(struct greta_db *db, struct greta_err *e)
{
	struct heads *s = db->heads;
	int rc = 0;

	if (!s || s->is_held || !s->n_changed)
		return 0;
	for (size_t i = 0; i < SLOTS && !rc; i++)
		rc = head_write(db, &s->slots[i], e);
	return rc;
}

void heads_drop(struct greta_db *db, struct head *h)
{
	db->heads->n_known -= h->id != 0;
	db->heads->n_changed -= is_changed(h);
	head_clear(h);
}

void heads_forget(struct greta_db *db)
{
	struct heads *s = db->heads;

	if (!s || s->is_held || !s->n_known)
		return;
	for (size_t i = 0; i < SLOTS; i++)
		if (s->slots[i].id)
			head_clear(&s->slots[i]);
	s->n_known = s->n_changed = 0;
}

void heads_destroy(struct greta_db *db)
{
	heads_forget(db);
	free(db->heads);
	db->heads = NULL;
}
