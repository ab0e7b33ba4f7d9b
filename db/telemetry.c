#include "db/telemetry.h"

#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "db/columns.h"
#include "db/internal.h"
#include "db/telemetry_internal.h"
#include "schemas/json.h"
#include <math.h>

#define SEAL_ROWS 4096 /* loose rows that are joined into one chunk: some 100 KiB of doubles at 3 readings */
#define COLUMNS_MAX 256
#define NAME_MAX_BYTES 64
#define LEVEL 1 /* of zstd: what is left after the column code is small; speed counts */

/* ---- writing */

static bool name_is_plain(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > NAME_MAX_BYTES)
		return false;
	for (; *name; name++)
		if (*name < ' ' || *name > '~' || *name == '"' || *name == '\\')
			return false;
	return true;
}

static int check_columns(const struct greta_telemetry *t, struct greta_err *e)
{
	if (t->n_columns == 0 || t->n_columns > COLUMNS_MAX)
		return greta_err_set(e, GRETA_EPROTO, "telemetry with %zu columns; 1 to %d are allowed", t->n_columns,
				     COLUMNS_MAX);
	for (size_t i = 0; i < t->n_columns; i++) {
		if (!name_is_plain(t->columns[i]))
			return greta_err_set(e, GRETA_EPROTO,
					     "telemetry column %zu: a name is 1 to %d plain characters", i,
					     NAME_MAX_BYTES);
		for (size_t k = 0; k < i; k++)
			if (!strcmp(t->columns[i], t->columns[k]))
				return greta_err_set(e, GRETA_EPROTO, "telemetry column \"%s\" is there twice",
						     t->columns[i]);
	}
	return 0;
}

static void print_columns(const struct greta_telemetry *t, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);

	greta_jsonw_array(&w, NULL);
	for (size_t i = 0; i < t->n_columns; i++)
		greta_jsonw_str(&w, NULL, t->columns[i]);
	greta_jsonw_end_array(&w);
}

/* chunk_no -1: behind the others. */
static int put_chunk(struct greta_db *db, int64_t attempt_id, int64_t chunk_no, bool sealed, const char *columns,
		     const struct greta_telemetry *t, struct greta_err *e)
{
	cleanup_buf struct greta_buf block = {0};
	cleanup_buf struct greta_buf packed = {0};

	if (chunk_no < 0 &&
	    db_get_i64(db, &chunk_no, e,
		       "SELECT coalesce(max(chunk_no) + 1, 0) FROM telemetry_chunk WHERE attempt_id = ?", "i",
		       attempt_id) < 0)
		return -1;
	columns_encode(t->t_ns, t->values, t->n_rows, t->n_columns, &block);
	if (db_pack(db, LEVEL, block.data, block.len, &packed, e))
		return -1;
	return greta_db_exec(
		db, e,
		"INSERT INTO telemetry_chunk (attempt_id, chunk_no, t_first_ns, t_last_ns, n, sealed, columns,"
		" data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (attempt_id, chunk_no) DO UPDATE SET"
		" t_first_ns = ?3, t_last_ns = ?4, n = ?5, sealed = ?6, columns = ?7, data = ?8",
		"iiiiiisb", attempt_id, chunk_no, t->t_ns[0], t->t_ns[t->n_rows - 1], (int64_t)t->n_rows,
		(int64_t)sealed, columns, &packed);
}

static int sum_up_column(struct greta_db *db, int64_t attempt_id, const struct greta_telemetry *t, size_t column,
			 struct greta_err *e)
{
	double low = INFINITY, high = -INFINITY, sum = 0, last = 0;
	int64_t n = 0;

	for (size_t r = 0; r < t->n_rows; r++) {
		double v = t->values[r * t->n_columns + column];

		if (isnan(v))
			continue;
		low = fmin(low, v);
		high = fmax(high, v);
		sum += v;
		last = v;
		n++;
	}
	if (!n)
		return 0;
	return greta_db_exec(db, e,
			     "INSERT INTO telemetry_summary (attempt_id, name, n, min, max, mean, last)"
			     " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (attempt_id, name) DO UPDATE SET"
			     " n = n + ?3, min = min(min, ?4), max = max(max, ?5),"
			     " mean = mean + (?6 - mean) * ?3 / (n + ?3), last = ?7",
			     "isiffff", attempt_id, t->columns[column], n, low, high, sum / (double)n, last);
}

/* What is asked of a node's other attempts, beside the columns by which they are found. */
static int put_engine_cpu(struct greta_db *db, int64_t attempt_id, struct greta_err *e)
{
	return greta_db_exec(db, e,
			     "UPDATE attempt SET engine_cpu_percent = (SELECT mean FROM telemetry_summary WHERE attempt_id = ?1"
			     " AND name = 'engine_cpu_percent') WHERE id = ?1",
			     "i", attempt_id);
}

static int sum_up(struct greta_db *db, int64_t attempt_id, const struct greta_telemetry *t, struct greta_err *e)
{
	for (size_t i = 0; i < t->n_columns; i++)
		if (sum_up_column(db, attempt_id, t, i, e))
			return -1;
	return put_engine_cpu(db, attempt_id, e);
}

static int put_sealed(struct greta_db *db, int64_t attempt_id, const char *columns, const struct greta_telemetry *t,
		      struct greta_err *e)
{
	return put_chunk(db, attempt_id, -1, true, columns, t, e) || sum_up(db, attempt_id, t, e) ? -1 : 0;
}

int telemetry_put(struct greta_db *db, int64_t attempt_id, const struct greta_telemetry *t, int64_t *loose,
		  struct greta_err *e)
{
	cleanup_buf struct greta_buf columns = {0};

	if (check_columns(t, e))
		return -1;
	if (t->n_rows == 0)
		return 0;
	print_columns(t, &columns);
	if (*loose == 0 && t->n_rows >= SEAL_ROWS)
		return put_sealed(db, attempt_id, columns.data, t, e);
	*loose += (int64_t)t->n_rows;
	return put_chunk(db, attempt_id, -1, false, columns.data, t, e);
}

int telemetry_grown(struct greta_db *db, int64_t attempt_id, int64_t loose, struct greta_err *e)
{
	return loose >= SEAL_ROWS ? greta_telemetry_seal(db, attempt_id, e) : 0;
}

int greta_telemetry_add(struct greta_db *db, int64_t attempt_id, const struct greta_telemetry *t, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	int64_t loose = 0;

	if (greta_txn_begin(db, &txn, e) ||
	    db_get_i64(db, &loose, e, "SELECT telemetry_loose FROM attempt WHERE id = ?", "i", attempt_id) < 0 ||
	    telemetry_put(db, attempt_id, t, &loose, e) ||
	    greta_db_exec(db, e, "UPDATE attempt SET telemetry_loose = ? WHERE id = ?", "ii", loose, attempt_id) ||
	    telemetry_grown(db, attempt_id, loose, e))
		return -1;
	return greta_txn_commit(&txn, e);
}

/* ---- reading chunks back */

struct chunk {
	int64_t chunk_no;
	struct greta_strs names;
	struct columns c;
};

static void chunk_release(struct chunk *c)
{
	greta_strs_release(&c->names);
	columns_release(&c->c);
}

static int read_names(const char *json, struct greta_strs *out, struct greta_err *e)
{
	struct greta_json *doc = greta_json_parse("telemetry columns", json, strlen(json), e);
	const struct greta_json_val *v = doc ? greta_json_first(greta_json_root(doc)) : NULL;
	const char *name;

	for (; v; v = greta_json_next(v))
		if (!greta_json_str(v, &name))
			greta_strs_add(out, name);
	greta_json_destroy(doc);
	return doc ? 0 : -1;
}

/* columns: chunk_no, columns, data */
static int chunk_read(struct greta_db *db, struct greta_query *q, struct chunk *out, struct greta_err *e)
{
	cleanup_buf struct greta_buf raw = {0};
	size_t n;
	const void *data = greta_query_blob(q, 2, &n);
	unsigned long long said = ZSTD_getFrameContentSize(data, n);

	out->chunk_no = greta_query_i64(q, 0);
	if (read_names(greta_query_str(q, 1), &out->names, e))
		return -1;
	if (said > (1u << 30) || db_unpack(db, data, n, (size_t)said, &raw, e) ||
	    columns_decode(raw.data, raw.len, &out->c) || out->c.m != out->names.n)
		return greta_err_set(e, GRETA_EFAIL, "%s: telemetry chunk %lld is damaged", db->path,
				     (long long)out->chunk_no);
	return 0;
}

static struct greta_telemetry chunk_rows(const struct chunk *c)
{
	return (struct greta_telemetry){.columns = (const char *const *)c->names.items,
					.n_columns = c->names.n,
					.t_ns = c->c.t_ns,
					.values = c->c.values,
					.n_rows = c->c.n};
}

int greta_telemetry_read(struct greta_db *db, int64_t attempt_id, greta_telemetry_fn *fn, void *arg,
			 struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e, "SELECT chunk_no, columns, data FROM telemetry_chunk WHERE attempt_id = ? ORDER BY chunk_no",
		"i", attempt_id);
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e)) {
		cleanup_with(chunk_release) struct chunk c = {0};
		struct greta_telemetry t;

		if (chunk_read(db, q, &c, e))
			return -1;
		t = chunk_rows(&c);
		rc = fn(arg, &t, e);
		if (rc)
			return rc < 0 ? -1 : 0;
	}
	return rc;
}

/* ---- sealing: loose chunks of the same columns become one */

struct sealing {
	struct greta_db *db;
	int64_t attempt_id, first, last; /* the chunks gathered */
	struct greta_strs names;
	struct greta_buf columns; /* the same as JSON */
	struct greta_buf t_ns, values;
};

static void sealing_clear(struct sealing *s)
{
	greta_strs_release(&s->names);
	greta_buf_clear(&s->columns);
	greta_buf_clear(&s->t_ns);
	greta_buf_clear(&s->values);
}

static void sealing_release(struct sealing *s)
{
	sealing_clear(s);
	greta_buf_release(&s->columns);
	greta_buf_release(&s->t_ns);
	greta_buf_release(&s->values);
}

/* They become one, in the first one's place. One alone is good as it is. */
static int replace_chunks(struct sealing *s, const struct greta_telemetry *t, struct greta_err *e)
{
	int rc;

	if (s->first == s->last)
		rc = greta_db_exec(s->db, e,
				   "UPDATE telemetry_chunk SET sealed = 1 WHERE attempt_id = ? AND chunk_no = ?", "ii",
				   s->attempt_id, s->first);
	else
		rc = greta_db_exec(s->db, e,
				   "DELETE FROM telemetry_chunk WHERE attempt_id = ? AND chunk_no BETWEEN ? AND ?",
				   "iii", s->attempt_id, s->first + 1, s->last) ||
		     put_chunk(s->db, s->attempt_id, s->first, true, s->columns.data, t, e);
	return rc || sum_up(s->db, s->attempt_id, t, e) ? -1 : 0;
}

static int sealing_flush(struct sealing *s, struct greta_err *e)
{
	struct greta_telemetry t = {
		.columns = (const char *const *)s->names.items,
		.n_columns = s->names.n,
		.t_ns = (const int64_t *)(const void *)s->t_ns.data,
		.values = (const double *)(const void *)s->values.data,
		.n_rows = s->t_ns.len / sizeof(int64_t),
	};
	int rc = t.n_rows ? replace_chunks(s, &t, e) : 0;

	sealing_clear(s);
	return rc;
}

static bool same_names(const struct greta_strs *a, const struct greta_strs *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->items[i], b->items[i]))
			return false;
	return true;
}

static int sealing_take(struct sealing *s, const struct chunk *c, struct greta_err *e)
{
	struct greta_telemetry t = chunk_rows(c);

	if (s->names.n && !same_names(&s->names, &c->names) && sealing_flush(s, e))
		return -1;
	if (!s->names.n) {
		s->first = c->chunk_no;
		for (size_t i = 0; i < c->names.n; i++)
			greta_strs_add(&s->names, c->names.items[i]);
		print_columns(&t, &s->columns);
	}
	greta_buf_add(&s->t_ns, t.t_ns, t.n_rows * sizeof *t.t_ns);
	greta_buf_add(&s->values, t.values, t.n_rows * t.n_columns * sizeof *t.values);
	s->last = c->chunk_no;
	return 0;
}

static int sealing_run(struct sealing *s, struct greta_err *e)
{
	for (int64_t after = -1;;) {
		cleanup_with(chunk_release) struct chunk c = {0};
		struct greta_query *q = greta_query_open(
			s->db, e,
			"SELECT chunk_no, columns, data FROM telemetry_chunk WHERE attempt_id = ? AND chunk_no > ?"
			" AND sealed = 0 ORDER BY chunk_no LIMIT 1",
			"ii", s->attempt_id, after);
		int rc = q ? greta_query_step(q, e) : -1;

		if (rc == 1 && chunk_read(s->db, q, &c, e))
			rc = -1;
		greta_query_close(q);
		if (rc <= 0)
			return rc;
		if (sealing_take(s, &c, e))
			return -1;
		after = c.chunk_no;
	}
}

int greta_telemetry_seal(struct greta_db *db, int64_t attempt_id, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	cleanup_with(sealing_release) struct sealing s = {.db = db, .attempt_id = attempt_id};
	int64_t loose = 0;

	if (greta_txn_begin(db, &txn, e) ||
	    db_get_i64(db, &loose, e, "SELECT telemetry_loose FROM attempt WHERE id = ?", "i", attempt_id) < 0)
		return -1;
	if (loose && (sealing_run(&s, e) || sealing_flush(&s, e) ||
		      greta_db_exec(db, e, "UPDATE attempt SET telemetry_loose = 0 WHERE id = ?", "i", attempt_id)))
		return -1;
	return greta_txn_commit(&txn, e);
}
