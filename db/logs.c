#include "db/logs.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "db/heads.h"
#include "db/internal.h"
#include "db/log_index.h"
#include "db/log_internal.h"
#include "db/runs.h"

#define SEAL_BYTES (256 * 1024) /* of loose text, joined into one compressed chunk */
#define LEVEL 3
#define TAIL_BYTES 4096

/* ---- writing: loose rows */

int log_put(struct greta_db *db, int64_t attempt_id, const struct runs *runs, int64_t offset,
	    const struct greta_buf *text, struct greta_err *e)
{
	cleanup_buf struct greta_buf streams = {0};

	if (text->len == 0)
		return 0;
	runs_print(runs, &streams);
	return greta_db_exec(db, e,
			     "INSERT INTO log_chunk (attempt_id, offset, raw_bytes, streams, ends_line, raw)"
			     " VALUES (?, ?, ?, ?, ?, ?)",
			     "iiisib", attempt_id, offset, (int64_t)text->len, streams.data,
			     (int64_t)(text->data[text->len - 1] == '\n'), text);
}

int log_put_gap(struct greta_db *db, int64_t attempt_id, int64_t offset, int64_t dropped, struct greta_err *e)
{
	if (dropped <= 0)
		return 0;
	return greta_db_exec(db, e,
			     "INSERT INTO log_chunk (attempt_id, offset, raw_bytes, dropped, ends_line)"
			     " VALUES (?, ?, 0, ?, 1)",
			     "iii", attempt_id, offset, dropped);
}

static int log_seal(struct greta_db *db, int64_t attempt_id, bool final, struct greta_err *e);

int log_grown(struct greta_db *db, int64_t attempt_id, int64_t loose_bytes, struct greta_err *e)
{
	return loose_bytes >= SEAL_BYTES ? log_seal(db, attempt_id, false, e) : 0;
}

int greta_logs_add(struct greta_db *db, int64_t attempt_id, enum greta_stream stream, const void *bytes, size_t n,
		   struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	const char *from = bytes;
	int64_t end = 0, sealed = 0;

	if (greta_txn_begin(db, &txn, e) ||
	    db_get_i64(db, &end, e, "SELECT log_bytes FROM attempt WHERE id = ?", "i", attempt_id) < 0)
		return -1;
	while (n > 0) {
		size_t here = n < SEAL_BYTES ? n : SEAL_BYTES;
		const struct greta_buf text = {.data = (char *)(uintptr_t)from, .len = here};
		struct run run = {stream == GRETA_STREAM_ERR ? GRETA_STREAM_ERR : GRETA_STREAM_OUT, here};

		if (log_put(db, attempt_id, &(struct runs){&run, 1, 1}, end, &text, e))
			return -1;
		from += here;
		n -= here;
		end += (int64_t)here;
		if (greta_db_exec(db, e, "UPDATE attempt SET log_bytes = ? WHERE id = ?", "ii", end, attempt_id) ||
		    db_get_i64(db, &sealed, e, "SELECT log_sealed FROM attempt WHERE id = ?", "i", attempt_id) < 0 ||
		    log_grown(db, attempt_id, end - sealed, e))
			return -1;
	}
	return greta_txn_commit(&txn, e);
}

/* ---- reading one chunk */

int log_chunk_text(struct greta_db *db, struct greta_query *q, int first, struct greta_buf *text, struct runs *runs,
		   struct greta_err *e)
{
	int64_t raw_bytes = greta_query_i64(q, first);
	const char *streams = greta_query_str(q, first + 1);
	size_t n, before = text->len;
	const void *bytes;

	if (greta_query_type(q, first + 3) != GRETA_VALUE_NULL) {
		bytes = greta_query_blob(q, first + 3, &n);
		if (db_unpack(db, bytes, n, (size_t)raw_bytes, text, e))
			return -1;
	} else {
		bytes = greta_query_blob(q, first + 2, &n);
		greta_buf_add(text, bytes, n);
	}
	if (text->len - before == (size_t)raw_bytes && !runs_parse(streams ? streams : "", (size_t)raw_bytes, runs))
		return 0;
	return greta_err_set(e, GRETA_EFAIL, "%s: a log chunk is damaged: its size or its streams are not as noted",
			     db->path);
}

/* ---- sealing: neighbouring loose rows become one compressed row */

struct segment { /* loose text without a gap in it */
	int64_t offset;
	struct greta_buf text;
	struct runs runs;
	bool starts_line; /* begins at the start of a line, as far as that is known */
	bool is_last;	  /* what follows is a gap or nothing: no line goes on behind it */
};

struct sealing {
	struct greta_db *db;
	int64_t attempt_id;
	struct segment *items;
	size_t n, cap;
};

static void sealing_release(struct sealing *s)
{
	for (size_t i = 0; i < s->n; i++) {
		greta_buf_release(&s->items[i].text);
		runs_release(&s->items[i].runs);
	}
	free(s->items);
}

/* columns: offset, dropped, raw_bytes, streams, raw, zstd */
static int gather_row(struct sealing *s, struct greta_query *q, struct greta_err *e)
{
	int64_t offset = greta_query_i64(q, 0);
	struct segment *g = s->n ? &s->items[s->n - 1] : NULL;

	if (greta_query_i64(q, 1)) { /* a gap stays as it is; what follows is a segment of its own */
		if (g)
			g->is_last = true;
		return 0;
	}
	if (!g || offset != g->offset + (int64_t)g->text.len) {
		if (g)
			g->is_last = true;
		g = GRETA_PUSH(s->items, s->n, s->cap);
		g->offset = offset;
		g->starts_line = s->n > 1;
	}
	return log_chunk_text(s->db, q, 2, &g->text, &g->runs, e);
}

static int gather(struct sealing *s, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		s->db, e,
		"SELECT offset, dropped, raw_bytes, streams, raw, zstd FROM log_chunk WHERE attempt_id = ?1"
		" AND offset >= (SELECT log_sealed FROM attempt WHERE id = ?1) AND zstd IS NULL ORDER BY offset",
		"i", s->attempt_id);
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e))
		if (gather_row(s, q, e))
			return -1;
	return rc;
}

/* The first segment starts a line when the row before it ended one. */
static int look_before(struct sealing *s, struct greta_err *e)
{
	int64_t ends_line = 1;
	int rc = 0;

	if (s->items[0].offset)
		rc = db_get_i64(s->db, &ends_line, e,
				"SELECT ends_line FROM log_chunk WHERE attempt_id = ? AND offset < ?"
				" ORDER BY offset DESC LIMIT 1",
				"ii", s->attempt_id, s->items[0].offset);
	s->items[0].starts_line = ends_line;
	return rc < 0 ? -1 : 0;
}

/* The first n bytes as one sealed row. A match does not reach out of it when its lines are whole. */
static int put_sealed(struct sealing *s, const struct segment *g, size_t n, struct greta_err *e)
{
	cleanup_buf struct greta_buf packed = {0};
	cleanup_buf struct greta_buf streams = {0};
	bool ends_line = g->text.data[n - 1] == '\n';
	bool is_whole = g->starts_line && (ends_line || g->is_last);

	runs_print(&g->runs, &streams);
	if (db_pack(s->db, LEVEL, g->text.data, n, &packed, e) ||
	    greta_db_exec(s->db, e,
			  "INSERT INTO log_chunk (attempt_id, offset, raw_bytes, streams, ends_line, zstd)"
			  " VALUES (?, ?, ?, ?, ?, ?)",
			  "iiisib", s->attempt_id, g->offset, (int64_t)n, streams.data, (int64_t)ends_line, &packed))
		return -1;
	return log_index_add(s->db, greta_db_inserted(s->db), is_whole ? g->text.data : NULL, n, e);
}

static int put_rest(struct sealing *s, const struct segment *g, size_t n, const struct runs *rest, struct greta_err *e)
{
	const struct greta_buf raw = {.data = g->text.data + n, .len = g->text.len - n};
	cleanup_buf struct greta_buf streams = {0};

	if (raw.len == 0)
		return 0;
	runs_print(rest, &streams);
	return greta_db_exec(
		s->db, e, "INSERT INTO log_chunk (attempt_id, offset, raw_bytes, streams, raw) VALUES (?, ?, ?, ?, ?)",
		"iiisb", s->attempt_id, g->offset + (int64_t)n, (int64_t)raw.len, streams.data, &raw);
}

/* A segment that may go on is cut behind its last newline, or at its end when it has none. */
static int put_segment(struct sealing *s, struct segment *g, int64_t *sealed, struct greta_err *e)
{
	cleanup_with(runs_release) struct runs rest = {0};
	const char *newline = g->is_last ? NULL : memrchr(g->text.data, '\n', g->text.len);
	size_t n = newline ? (size_t)(newline - g->text.data) + 1 : g->text.len;

	*sealed = g->offset + (int64_t)n;
	runs_cut(&g->runs, n, &rest);
	return put_sealed(s, g, n, e) || put_rest(s, g, n, &rest, e) ? -1 : 0;
}

static int put_all(struct sealing *s, struct greta_err *e)
{
	int64_t sealed = 0;

	if (look_before(s, e) ||
	    greta_db_exec(s->db, e,
			  "DELETE FROM log_chunk WHERE attempt_id = ?1 AND zstd IS NULL AND dropped = 0"
			  " AND offset >= (SELECT log_sealed FROM attempt WHERE id = ?1)",
			  "i", s->attempt_id))
		return -1;
	for (size_t i = 0; i < s->n; i++)
		if (put_segment(s, &s->items[i], &sealed, e))
			return -1;
	return greta_db_exec(s->db, e, "UPDATE attempt SET log_sealed = ? WHERE id = ?", "ii", sealed, s->attempt_id);
}

static int log_seal(struct greta_db *db, int64_t attempt_id, bool final, struct greta_err *e)
{
	cleanup_with(sealing_release) struct sealing s = {.db = db, .attempt_id = attempt_id};

	if (gather(&s, e))
		return -1;
	if (s.n == 0)
		return 0;
	if (final)
		s.items[s.n - 1].is_last = true;
	return put_all(&s, e);
}

/* ---- the tail in plain text, for the shell */

static int add_piece(void *arg, const struct greta_log_piece *piece, struct greta_err *e)
{
	(void)e;
	if (piece->bytes)
		greta_buf_add(arg, piece->bytes, piece->n);
	return 0;
}

/* Starts at a character of UTF-8, and holds no NUL, at which a text would end. */
static void make_plain(struct greta_buf *tail)
{
	size_t skip = 0;

	while (skip < tail->len && skip < 4 && ((unsigned char)tail->data[skip] & 0xc0) == 0x80)
		skip++;
	greta_buf_consume(tail, skip);
	for (size_t i = 0; i < tail->len; i++)
		if (!tail->data[i])
			tail->data[i] = ' ';
}

static int put_tail(struct greta_db *db, int64_t attempt_id, struct greta_buf *tail, struct greta_err *e)
{
	make_plain(tail);
	return greta_db_exec(db, e,
			     "INSERT INTO attempt_tail (attempt_id, log_tail) VALUES (?1, ?2)"
			     " ON CONFLICT (attempt_id) DO UPDATE SET log_tail = ?2",
			     "is", attempt_id, greta_buf_str(tail));
}

static int read_tail(struct greta_db *db, int64_t attempt_id, struct greta_err *e)
{
	cleanup_buf struct greta_buf tail = {0};
	int64_t end = 0;

	if (db_get_i64(db, &end, e, "SELECT log_bytes FROM attempt WHERE id = ?", "i", attempt_id) < 0)
		return -1;
	if (end == 0)
		return 0;
	if (greta_logs_read(db, attempt_id, GRETA_STREAM_ALL, end > TAIL_BYTES ? end - TAIL_BYTES : 0, NULL, add_piece,
			    &tail, e))
		return -1;
	return put_tail(db, attempt_id, &tail, e);
}

int log_seal_at_hand(struct greta_db *db, struct head *h, bool *done, struct greta_err *e)
{
	cleanup_buf struct greta_buf tail = {0};
	struct segment g = {.offset = h->log_bytes - (int64_t)h->text.len, .text = h->text, .runs = h->runs, .is_last = true};
	struct sealing s = {.db = db, .attempt_id = h->id, .items = &g, .n = 1}; /* borrows */
	size_t skip = h->text.len > TAIL_BYTES ? h->text.len - TAIL_BYTES : 0;

	if (!h->text.len || h->log_sealed != g.offset || (g.offset && !skip))
		return 0;
	greta_buf_add(&tail, h->text.data + skip, h->text.len - skip);
	if (look_before(&s, e) || put_sealed(&s, &g, h->text.len, e) || put_tail(db, h->id, &tail, e))
		return -1;
	greta_buf_clear(&h->text);
	runs_clear(&h->runs);
	h->log_sealed = h->log_bytes;
	heads_grows(db, h);
	*done = true;
	return 0;
}

int greta_logs_seal(struct greta_db *db, int64_t attempt_id, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;

	if (greta_txn_begin(db, &txn, e) || log_seal(db, attempt_id, true, e) || read_tail(db, attempt_id, e))
		return -1;
	return greta_txn_commit(&txn, e);
}

/* ---- reading */

struct reading {
	int64_t from;
	enum greta_stream stream;
	greta_log_fn *fn;
	void *arg;
};

static bool is_wanted(enum greta_stream wanted, enum greta_stream stream)
{
	return wanted == GRETA_STREAM_ALL || wanted == stream;
}

/* A chunk's runs, one piece each, without what lies before reading->from. */
static int give_runs(const struct reading *r, int64_t offset, const struct greta_buf *text, const struct runs *runs,
		     struct greta_err *e)
{
	const char *at = text->data;
	int rc = 0;

	for (size_t i = 0; i < runs->n && !rc; i++) {
		size_t n = runs->items[i].n;
		size_t skip = offset < r->from ? (size_t)(r->from - offset) : 0;
		struct greta_log_piece piece = {.offset = offset + (int64_t)skip, .stream = runs->items[i].stream};

		if (skip < n && is_wanted(r->stream, piece.stream)) {
			piece.bytes = at + skip;
			piece.n = n - skip;
			rc = r->fn(r->arg, &piece, e);
		}
		at += n;
		offset += (int64_t)n;
	}
	return rc;
}

/* columns: offset, dropped, raw_bytes, streams, raw, zstd */
static int give_chunk(struct greta_db *db, const struct reading *r, struct greta_query *q, int64_t *next,
		      struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};
	cleanup_with(runs_release) struct runs runs = {0};
	struct greta_log_piece gap = {.offset = greta_query_i64(q, 0), .dropped = greta_query_i64(q, 1)};

	*next = gap.offset + gap.dropped + greta_query_i64(q, 2);
	if (gap.dropped)
		return r->fn(r->arg, &gap, e);
	if (log_chunk_text(db, q, 2, &text, &runs, e))
		return -1;
	return give_runs(r, gap.offset, &text, &runs, e);
}

int greta_logs_read(struct greta_db *db, int64_t attempt_id, enum greta_stream stream, int64_t from, int64_t *next,
		    greta_log_fn *fn, void *arg, struct greta_err *e)
{
	const struct reading r = {.from = from, .stream = stream, .fn = fn, .arg = arg};
	int64_t end = from;
	cleanup_query struct greta_query *q = greta_query_open(
		db, e,
		"SELECT offset, dropped, raw_bytes, streams, raw, zstd FROM log_chunk WHERE attempt_id = ?1"
		" AND offset >= coalesce((SELECT max(offset) FROM log_chunk WHERE attempt_id = ?1 AND offset <= ?2), 0)"
		" AND offset + dropped + raw_bytes > ?2 ORDER BY offset",
		"ii", attempt_id, from);
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e)) {
		rc = give_chunk(db, &r, q, &end, e);
		if (rc)
			break;
	}
	if (next)
		*next = end;
	return rc < 0 ? -1 : 0;
}

/* ---- the last lines */

struct tail {
	enum greta_stream stream;
	int64_t lines;	/* still to be found */
	int64_t offset; /* where the last lines begin, as far as they are found */
	bool at_end;	/* nothing wanted was seen yet: a newline here ends the last line, and starts none */
};

/* From the end of a chunk backwards, run by run. */
static bool tail_look(struct tail *t, int64_t offset, const struct greta_buf *text, const struct runs *runs)
{
	size_t end = text->len;

	for (size_t i = runs->n; i-- > 0; end -= runs->items[i].n) {
		size_t start = end - runs->items[i].n;

		if (!is_wanted(t->stream, runs->items[i].stream))
			continue;
		for (size_t k = end; k-- > start;) {
			bool newline = text->data[k] == '\n';

			if (newline && !t->at_end && --t->lines == 0)
				return true;
			t->at_end = false;
			t->offset = offset + (int64_t)k;
		}
	}
	return false;
}

int greta_logs_tail_offset(struct greta_db *db, int64_t attempt_id, enum greta_stream stream, int64_t n_lines,
			   int64_t *offset, struct greta_err *e)
{
	struct tail t = {.stream = stream, .lines = n_lines, .at_end = true};
	cleanup_query struct greta_query *q = greta_query_open(
		db, e,
		"SELECT offset, raw_bytes, streams, raw, zstd FROM log_chunk WHERE attempt_id = ? AND dropped = 0"
		" ORDER BY offset DESC",
		"i", attempt_id);
	int rc;

	if (db_get_i64(db, &t.offset, e, "SELECT log_bytes FROM attempt WHERE id = ?", "i", attempt_id) < 0)
		return -1;
	rc = q ? greta_query_step(q, e) : -1;
	for (; rc == 1 && t.lines > 0; rc = greta_query_step(q, e)) {
		cleanup_buf struct greta_buf text = {0};
		cleanup_with(runs_release) struct runs runs = {0};

		if (log_chunk_text(db, q, 1, &text, &runs, e))
			return -1;
		if (tail_look(&t, greta_query_i64(q, 0), &text, &runs))
			break;
	}
	*offset = t.offset;
	return rc < 0 ? -1 : 0;
}
