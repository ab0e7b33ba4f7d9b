#include "db/attempts.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/internal.h"
#include "db/specs.h"

static const char *const state_names[] = {
#define X(id, name) [GRETA_ATTEMPT_##id] = name,
	GRETA_ATTEMPT_STATES(X)
#undef X
};

const char *greta_attempt_state_name(enum greta_attempt_state s)
{
	return (size_t)s < GRETA_COUNT(state_names) ? state_names[s] : "?";
}

static int no_attempt(int64_t attempt_id, struct greta_err *e)
{
	return greta_err_set(e, GRETA_ENOENT, "there is no attempt %lld", (long long)attempt_id);
}

static int touched(struct greta_db *db, int64_t attempt_id, struct greta_err *e)
{
	return greta_db_changes(db) ? 0 : no_attempt(attempt_id, e);
}

/* ---- planning and placing */

int greta_attempts_plan(struct greta_db *db, const struct greta_new_attempt *a, int64_t *attempt_id,
			struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	const struct greta_attempt_place *p = &a->place;
	char uuid[GRETA_UUID_LEN + 1];
	int64_t spec_id = 0;

	if (greta_txn_begin(db, &txn, e) || (a->spec && specs_record(db, a->spec, &spec_id, e)) ||
	    greta_db_exec(db, e,
			  "INSERT INTO attempt (uuid, job_id, try_no, state, fence, planned_ns, alias_id, node_id,"
			  " environment_id, model_id, build_id, boot_id, spec_id) VALUES (?1, ?2, (SELECT coalesce(max(try_no), 0) + 1"
			  " FROM attempt WHERE job_id = ?2), 'planned', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
			  "siiioooooso", a->uuid ? a->uuid : greta_uuid_next(uuid), a->job_id, db->fence,
			  a->planned_ns ? a->planned_ns : greta_clock_wall_ns(), p->alias_id, p->node_id,
			  p->environment_id, p->model_id, p->build_id, p->boot_id, spec_id))
		return -1;
	*attempt_id = greta_db_inserted(db);
	if (greta_db_exec(db, e, "UPDATE job SET state = 'running' WHERE id = ?", "i", a->job_id))
		return -1;
	return greta_txn_commit(&txn, e);
}

int greta_attempts_place(struct greta_db *db, int64_t attempt_id, const struct greta_attempt_place *p,
			 struct greta_err *e)
{
	int rc = greta_db_exec(db, e,
			       "UPDATE attempt SET alias_id = coalesce(?, alias_id), node_id = coalesce(?, node_id),"
			       " environment_id = coalesce(?, environment_id), model_id = coalesce(?, model_id),"
			       " build_id = coalesce(?, build_id), boot_id = coalesce(?, boot_id) WHERE id = ?",
			       "ooooosi", p->alias_id, p->node_id, p->environment_id, p->model_id, p->build_id,
			       p->boot_id, attempt_id);

	return rc ? rc : touched(db, attempt_id, e);
}

int greta_attempts_exclude(struct greta_db *db, int64_t attempt_id, const char *why, struct greta_err *e)
{
	int rc = greta_db_exec(db, e, "UPDATE attempt SET excluded = ? WHERE id = ?", "si", why, attempt_id);

	return rc ? rc : touched(db, attempt_id, e);
}

/* ---- reading */

void greta_attempt_row_release(struct greta_attempt_row *row)
{
	free(row->variant);
	free(row->cause);
	free(row->reason);
	free(row->alias);
	free(row->boot_id);
	*row = (struct greta_attempt_row){0};
}

void greta_attempt_rows_release(struct greta_attempt_rows *rows)
{
	for (size_t i = 0; i < rows->n; i++)
		greta_attempt_row_release(&rows->items[i]);
	free(rows->items);
	*rows = (struct greta_attempt_rows){0};
}

#define ATTEMPT_SELECT                                                                                                 \
	"SELECT a.id, a.job_id, j.campaign_id, j.variant_id, j.context, j.repeat, a.try_no, a.uuid, a.state,"          \
	" a.outcome, v.name, a.cause, a.reason, j.counted_attempt IS a.id, a.superseded, a.alias_id, a.node_id,"       \
	" a.fence, a.committed_seq, l.name, a.boot_id, a.planned_ns, a.dispatched_ns, a.started_ns, a.ended_ns,"       \
	" a.phase, a.log_bytes FROM attempt a JOIN job j ON j.id = a.job_id JOIN variant v ON v.id = j.variant_id"     \
	" LEFT JOIN alias l ON l.id = a.alias_id"

static void read_row(struct greta_query *q, struct greta_attempt_row *row)
{
	const char *outcome = greta_query_str(q, 9), *phase = greta_query_str(q, 25);

	*row = (struct greta_attempt_row){
		.id = greta_query_i64(q, 0),
		.job_id = greta_query_i64(q, 1),
		.campaign_id = greta_query_i64(q, 2),
		.variant_id = greta_query_i64(q, 3),
		.context = greta_query_i64(q, 4),
		.repeat = greta_query_i64(q, 5),
		.try_no = greta_query_i64(q, 6),
		.state = (enum greta_attempt_state)db_word(q, 8, state_names, GRETA_COUNT(state_names)),
		.outcome = greta_outcome_parse(outcome ? outcome : ""),
		.variant = db_dup(q, 10),
		.cause = db_dup(q, 11),
		.reason = db_dup(q, 12),
		.counted = greta_query_i64(q, 13),
		.superseded = greta_query_i64(q, 14),
		.alias_id = greta_query_i64(q, 15),
		.node_id = greta_query_i64(q, 16),
		.fence = greta_query_i64(q, 17),
		.committed_seq = greta_query_i64(q, 18),
		.alias = db_dup(q, 19),
		.boot_id = db_dup(q, 20),
		.planned_ns = greta_query_i64(q, 21),
		.dispatched_ns = greta_query_i64(q, 22),
		.started_ns = greta_query_i64(q, 23),
		.ended_ns = greta_query_i64(q, 24),
		.phase = greta_phase_parse(phase ? phase : ""),
		.log_bytes = greta_query_i64(q, 26),
	};
	db_copy_uuid(row->uuid, q, 7);
}

static int read_rows(struct greta_query *q, struct greta_attempt_rows *out, struct greta_err *e)
{
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e))
		read_row(q, GRETA_PUSH(out->items, out->n, out->cap));
	return rc;
}

int greta_attempts_open(struct greta_db *db, struct greta_attempt_rows *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e, ATTEMPT_SELECT " WHERE a.state <> 'ended' AND a.state <> 'pruned' ORDER BY a.id", "");

	return read_rows(q, out, e);
}

int greta_attempts_get(struct greta_db *db, int64_t attempt_id, struct greta_attempt_row *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(db, e, ATTEMPT_SELECT " WHERE a.id = ?", "i", attempt_id);
	int rc = q ? greta_query_step(q, e) : -1;

	if (rc == 1)
		read_row(q, out);
	return rc == 0 ? no_attempt(attempt_id, e) : rc < 0 ? -1 : 0;
}

/* The start of a uuid as a range, which the index on uuid serves. */
static int find_uuid(struct greta_db *db, const char *which, int64_t *id, struct greta_err *e)
{
	cleanup_buf struct greta_buf end = {0};

	greta_buf_adds(&end, which);
	greta_buf_addc(&end, '~');
	return db_get_i64(db, id, e, "SELECT id FROM attempt WHERE uuid >= ? AND uuid < ? LIMIT 1", "ss", which,
			  end.data);
}

int greta_attempts_find(struct greta_db *db, const char *which, struct greta_attempt_row *out, struct greta_err *e)
{
	int64_t id = 0, number;
	int rc = 0;

	if (strlen(which) >= 8)
		rc = find_uuid(db, which, &id, e);
	if (rc == 0 && !greta_str_i64(which, &number))
		rc = db_get_i64(db, &id, e, "SELECT id FROM attempt WHERE id = ?", "i", number);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return greta_err_set(e, GRETA_ENOENT, "no attempt \"%s\" in %s; `greta-orch results` lists them", which,
				     db->path);
	return greta_attempts_get(db, id, out, e);
}

int greta_attempts_spec(struct greta_db *db, int64_t attempt_id, struct greta_buf *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(db, e, "SELECT spec FROM result WHERE attempt_id = ?", "i", attempt_id);
	int rc = q ? greta_query_step(q, e) : -1;

	if (rc < 0)
		return -1;
	if (rc == 0 || greta_query_type(q, 0) == GRETA_VALUE_NULL)
		return greta_err_set(e, GRETA_ENOENT, "attempt %lld has no specification", (long long)attempt_id);
	greta_buf_adds(out, greta_query_str(q, 0));
	return 0;
}

/* ---- evidence */

static int add_part(struct greta_db *db, struct greta_query *q, int64_t *expected, struct greta_buf *out,
		    struct greta_err *e)
{
	int64_t part = greta_query_i64(q, 0);
	size_t n;
	const void *packed = greta_query_blob(q, 3, &n);

	for (; *expected < part; ++*expected)
		greta_buf_addf(out, "\n[part %lld of %lld is missing]\n", (long long)*expected,
			       (long long)greta_query_i64(q, 1));
	++*expected;
	return db_unpack(db, packed, n, (size_t)greta_query_i64(q, 2), out, e);
}

int greta_evidence_read(struct greta_db *db, int64_t attempt_id, const char *name, struct greta_buf *out,
			struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(db, e,
							       "SELECT part, parts, raw_bytes, zstd FROM evidence_part "
							       "WHERE attempt_id = ? AND name = ? ORDER BY part",
							       "is", attempt_id, name);
	int rc = q ? greta_query_step(q, e) : -1;
	int64_t expected = 1, parts = 0;

	if (rc == 0)
		return greta_err_set(e, GRETA_ENOENT, "attempt %lld has no evidence \"%s\"", (long long)attempt_id,
				     name);
	for (; rc == 1; rc = greta_query_step(q, e)) {
		parts = greta_query_i64(q, 1);
		if (add_part(db, q, &expected, out, e))
			return -1;
	}
	for (; rc == 0 && expected <= parts; expected++)
		greta_buf_addf(out, "\n[part %lld of %lld is missing]\n", (long long)expected, (long long)parts);
	return rc;
}
