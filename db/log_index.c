#include "db/log_index.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "db/internal.h"
#include "db/log_internal.h"
#include "db/trigrams.h"
#include <endian.h>
#include <string.h>

#define FULL_BYTES (192 * 1024)	    /* of text: a chunk of the usual size is a column of its own */
#define FULL_TRIGRAMS (TRIGRAMS / 4) /* more, and a needle's trigrams are there by chance too often */
#define PARTS 1024		    /* rows of a group */
#define PER_PART (TRIGRAMS / PARTS) /* slices in one */
#define PART_BYTES (PER_PART / 8)   /* of a column's set */
#define SLICE_BYTES (LOG_COLUMNS / 8)
#define NEEDLE_TRIGRAMS 64

_Static_assert(LOG_COLUMNS % 8 == 0, "a slice is whole bytes");
_Static_assert(PART_BYTES == 8, "a part of a set is read as one word");

/* ---- columns */

struct column {
	int64_t id, first, last, n_chunks, raw_bytes;
	bool is_full;
	unsigned char set[TRIGRAMS_BYTES];
};

#define COLUMN_FIELDS "id, first_chunk, last_chunk, n_chunks, raw_bytes, is_full, bits"

static int column_read(struct greta_db *db, struct greta_query *q, struct column *c, struct greta_err *e)
{
	size_t n = 0;
	const void *bits = greta_query_blob(q, 6, &n);

	c->id = greta_query_i64(q, 0);
	c->first = greta_query_i64(q, 1);
	c->last = greta_query_i64(q, 2);
	c->n_chunks = greta_query_i64(q, 3);
	c->raw_bytes = greta_query_i64(q, 4);
	c->is_full = greta_query_i64(q, 5);
	if (n != sizeof c->set)
		return greta_err_set(e, GRETA_EFAIL, "%s: the index of logs is damaged: column %lld", db->path,
				     (long long)c->id);
	memcpy(c->set, bits, n);
	return 0;
}

/* The newest one, if the next chunk may join it; else an empty new one. */
static int column_open(struct greta_db *db, struct column *c, struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(db, e, "SELECT " COLUMN_FIELDS " FROM log_column ORDER BY id DESC LIMIT 1", "");
	int rc = q ? greta_query_step(q, e) : -1;

	if (rc < 0 || (rc == 1 && column_read(db, q, c, e)))
		return -1;
	if (rc == 1 && !c->is_full)
		return 0;
	*c = (struct column){.id = rc == 1 ? c->id + 1 : 1, .first = INT64_MAX};
	return 0;
}

static int column_write(struct greta_db *db, const struct column *c, struct greta_err *e)
{
	const struct greta_buf bits = {.data = (char *)(uintptr_t)c->set, .len = sizeof c->set};

	return greta_db_exec(db, e,
			     "INSERT INTO log_column (" COLUMN_FIELDS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
			     " ON CONFLICT (id) DO UPDATE SET first_chunk = ?2, last_chunk = ?3, n_chunks = ?4,"
			     " raw_bytes = ?5, is_full = ?6, bits = ?7",
			     "iiiiiib", c->id, c->first, c->last, c->n_chunks, c->raw_bytes, (int64_t)c->is_full,
			     &bits);
}

static void column_take(struct column *c, int64_t chunk_id, const char *text, size_t n)
{
	bool more = !text || trigrams_add(c->set, text, n);

	if (!text)
		memset(c->set, 0xff, sizeof c->set);
	c->first = chunk_id < c->first ? chunk_id : c->first;
	c->last = chunk_id > c->last ? chunk_id : c->last;
	c->n_chunks++;
	c->raw_bytes += (int64_t)n;
	c->is_full = c->raw_bytes >= FULL_BYTES || (more && trigrams_count(c->set) >= FULL_TRIGRAMS);
}

/* ---- groups */

/* On disk: from the last chunk of the span before (0 at first) to this one's first, and from there to its last. */
struct stored_span {
	uint32_t step, length; /* step is signed: ids of chunks that were pruned are given again */
};

struct columns {
	struct column *items;
	size_t n;
};

static int columns_load(struct greta_db *db, struct columns *c, struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(db, e, "SELECT " COLUMN_FIELDS " FROM log_column ORDER BY id", "");
	int rc = q ? greta_query_step(q, e) : -1;

	c->items = greta_alloc(LOG_COLUMNS * sizeof *c->items);
	for (; rc == 1 && c->n < LOG_COLUMNS; rc = greta_query_step(q, e))
		if (column_read(db, q, &c->items[c->n++], e))
			return -1;
	return rc < 0 ? -1 : 0;
}

/* The bits of an 8 x 8 matrix, a byte a row, the other way round (Hacker's Delight, 7-3). */
static uint64_t transpose8(uint64_t x)
{
	x = (x & UINT64_C(0xaa55aa55aa55aa55)) | (x & UINT64_C(0x00aa00aa00aa00aa)) << 7 |
	    (x >> 7 & UINT64_C(0x00aa00aa00aa00aa));
	x = (x & UINT64_C(0xcccc3333cccc3333)) | (x & UINT64_C(0x0000cccc0000cccc)) << 14 |
	    (x >> 14 & UINT64_C(0x0000cccc0000cccc));
	return (x & UINT64_C(0xf0f0f0f00f0f0f0f)) | (x & UINT64_C(0x00000000f0f0f0f0)) << 28 |
	       (x >> 28 & UINT64_C(0x00000000f0f0f0f0));
}

/* slices[trigram][column / 8]: from eight columns and eight trigrams at a time. */
static void turn_part(const struct columns *c, size_t part, unsigned char slices[PER_PART][SLICE_BYTES])
{
	for (size_t k = 0; k < SLICE_BYTES; k++)
		for (size_t b = 0; b < PART_BYTES; b++) {
			uint64_t x = 0;

			for (size_t i = 0; i < 8; i++)
				x |= (uint64_t)c->items[k * 8 + i].set[part * PART_BYTES + b] << (8 * i);
			x = transpose8(x);
			for (size_t i = 0; i < 8; i++)
				slices[b * 8 + i][k] = (unsigned char)(x >> (8 * i));
		}
}

static int put_slices(struct greta_db *db, const struct columns *c, int64_t group, struct greta_err *e)
{
	unsigned char slices[PER_PART][SLICE_BYTES];
	const struct greta_buf bits = {.data = (char *)slices, .len = sizeof slices};

	for (size_t part = 0; part < PARTS; part++) {
		turn_part(c, part, slices);
		if (greta_db_exec(db, e, "INSERT INTO log_slice (id, bits) VALUES (?, ?)", "ib",
				  group * PARTS + (int64_t)part, &bits))
			return -1;
	}
	return 0;
}

static int put_group(struct greta_db *db, const struct columns *c, int64_t *group, struct greta_err *e)
{
	struct stored_span spans[LOG_COLUMNS];
	const struct greta_buf stored = {.data = (char *)spans, .len = sizeof spans};
	int64_t first = INT64_MAX, last = 0, before = 0, n_chunks = 0, raw_bytes = 0;

	for (size_t i = 0; i < LOG_COLUMNS; i++) {
		const struct column *k = &c->items[i];

		spans[i].step = htole32((uint32_t)(k->first - before));
		spans[i].length = htole32((uint32_t)(k->last - k->first));
		before = k->last;
		first = k->first < first ? k->first : first;
		last = k->last > last ? k->last : last;
		n_chunks += k->n_chunks;
		raw_bytes += k->raw_bytes;
	}
	if (greta_db_exec(db, e,
			  "INSERT INTO log_group (first_chunk, last_chunk, n_chunks, raw_bytes, spans)"
			  " VALUES (?, ?, ?, ?, ?)",
			  "iiiib", first, last, n_chunks, raw_bytes, &stored))
		return -1;
	*group = greta_db_inserted(db);
	return 0;
}

static void columns_release(struct columns *c)
{
	free(c->items);
}

/* 4 MB are written at once, after 128 MB of output: some 20 ms. */
static int make_group(struct greta_db *db, struct greta_err *e)
{
	cleanup_with(columns_release) struct columns c = {0};
	int64_t group;

	if (columns_load(db, &c, e))
		return -1;
	if (c.n < LOG_COLUMNS)
		return 0;
	if (put_group(db, &c, &group, e) || put_slices(db, &c, group, e))
		return -1;
	return greta_db_exec(db, e, "DELETE FROM log_column WHERE id <= ?", "i", c.items[c.n - 1].id);
}

int log_index_add(struct greta_db *db, int64_t chunk_id, const char *text, size_t n, struct greta_err *e)
{
	struct column c;
	int64_t waiting = 0;

	if (column_open(db, &c, e))
		return -1;
	/* what has all trigrams would take the others of its column with it */
	if (!text && c.n_chunks) {
		c.is_full = true;
		if (column_write(db, &c, e))
			return -1;
		c = (struct column){.id = c.id + 1, .first = INT64_MAX};
	}
	column_take(&c, chunk_id, text, n);
	if (column_write(db, &c, e))
		return -1;
	if (!c.is_full)
		return 0;
	if (db_get_i64(db, &waiting, e, "SELECT count(*) FROM log_column", "") < 0)
		return -1;
	return waiting >= LOG_COLUMNS ? make_group(db, e) : 0;
}

/* Of each sealed chunk, whether its lines are whole: it starts one, and ends one or has nothing behind it. */
int log_index_build(struct greta_db *db, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e,
		"SELECT c.id, coalesce((SELECT p.ends_line FROM log_chunk p WHERE p.attempt_id = c.attempt_id AND"
		" p.offset < c.offset ORDER BY p.offset DESC LIMIT 1), 1) AND (c.ends_line OR coalesce((SELECT n.dropped > 0"
		" FROM log_chunk n WHERE n.attempt_id = c.attempt_id AND n.offset > c.offset ORDER BY n.offset LIMIT 1),"
		" (SELECT reported FROM attempt WHERE id = c.attempt_id))),"
		" c.raw_bytes, c.streams, c.raw, c.zstd FROM log_chunk c WHERE c.zstd IS NOT NULL ORDER BY c.id",
		"");
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e)) {
		cleanup_buf struct greta_buf text = {0};
		cleanup_with(runs_release) struct runs runs = {0};
		bool is_whole = greta_query_i64(q, 1);

		if (log_chunk_text(db, q, 2, &text, &runs, e) ||
		    log_index_add(db, greta_query_i64(q, 0), is_whole ? greta_buf_str(&text) : NULL, text.len, e))
			return -1;
	}
	return rc;
}

static int drop_group(struct greta_db *db, int64_t group, struct greta_err *e)
{
	if (greta_db_exec(db, e, "DELETE FROM log_slice WHERE id BETWEEN ? AND ?", "ii", group * PARTS,
			  group * PARTS + PARTS - 1))
		return -1;
	return greta_db_exec(db, e, "DELETE FROM log_group WHERE id = ?", "i", group);
}

#define ALL_GONE "NOT EXISTS (SELECT 1 FROM log_chunk c WHERE c.id BETWEEN first_chunk AND last_chunk)"

int log_index_prune(struct greta_db *db, struct greta_err *e)
{
	int64_t group;
	int rc;

	if (greta_db_exec(db, e, "DELETE FROM log_column WHERE " ALL_GONE, ""))
		return -1;
	while ((rc = db_get_i64(db, &group, e, "SELECT id FROM log_group WHERE " ALL_GONE " LIMIT 1", "")) == 1)
		if (drop_group(db, group, e))
			return -1;
	return rc;
}

/* ---- searching */

struct finding {
	struct greta_db *db;
	struct log_spans *out;
	uint16_t trigrams[NEEDLE_TRIGRAMS]; /* those that are in the fewest columns first, as far as that is known */
	size_t seen[NEEDLE_TRIGRAMS];	    /* the columns that have it, over the groups that it was looked up in, */
	size_t asked[NEEDLE_TRIGRAMS];	    /* and those groups */
	size_t n;
};

static void add_span(struct log_spans *s, int64_t first, int64_t last)
{
	*GRETA_PUSH(s->items, s->n, s->cap) = (struct log_span){first, last};
}

static size_t count_bits(const unsigned char *bits, size_t n)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		found += (size_t)__builtin_popcount(bits[i]);
	return found;
}

/* Leaves in `left` the columns that have a trigram, too. */
static int sift(struct finding *f, int64_t group, size_t t, unsigned char left[SLICE_BYTES], struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(f->db, e, "SELECT bits FROM log_slice WHERE id = ?", "i",
				 group * PARTS + f->trigrams[t] / PER_PART);
	int rc = q ? greta_query_step(q, e) : -1;
	size_t n = 0;
	const unsigned char *slice = rc == 1 ? greta_query_blob(q, 0, &n) : NULL;

	if (rc < 0)
		return -1;
	if (n != PER_PART * SLICE_BYTES)
		return greta_err_set(e, GRETA_EFAIL, "%s: the index of logs is damaged: group %lld", f->db->path,
				     (long long)group);
	slice += f->trigrams[t] % PER_PART * SLICE_BYTES;
	f->seen[t] += count_bits(slice, SLICE_BYTES);
	f->asked[t]++;
	for (size_t i = 0; i < SLICE_BYTES; i++)
		left[i] &= slice[i];
	return 0;
}

static bool is_rarer(const struct finding *f, size_t a, size_t b)
{
	return f->asked[a] && f->asked[b] && f->seen[a] * f->asked[b] < f->seen[b] * f->asked[a];
}

static void swap_trigrams(struct finding *f, size_t a, size_t b)
{
	uint16_t trigram = f->trigrams[a];
	size_t seen = f->seen[a], asked = f->asked[a];

	f->trigrams[a] = f->trigrams[b];
	f->seen[a] = f->seen[b];
	f->asked[a] = f->asked[b];
	f->trigrams[b] = trigram;
	f->seen[b] = seen;
	f->asked[b] = asked;
}

static void rarest_first(struct finding *f)
{
	for (size_t i = 1; i < f->n; i++)
		for (size_t k = i; k > 0 && is_rarer(f, k, k - 1); k--)
			swap_trigrams(f, k, k - 1);
}

static void add_columns(struct log_spans *out, const struct stored_span *spans, const unsigned char left[SLICE_BYTES])
{
	int64_t before = 0;

	for (size_t i = 0; i < LOG_COLUMNS; i++) {
		int64_t first = before + (int32_t)le32toh(spans[i].step), last = first + le32toh(spans[i].length);

		if (left[i / 8] & 1u << (i % 8))
			add_span(out, first, last);
		before = last;
	}
}

static int find_in_group(struct finding *f, int64_t group, const struct stored_span *spans, struct greta_err *e)
{
	unsigned char left[SLICE_BYTES];

	memset(left, 0xff, sizeof left);
	for (size_t t = 0; t < f->n && count_bits(left, sizeof left); t++)
		if (sift(f, group, t, left, e))
			return -1;
	rarest_first(f);
	add_columns(f->out, spans, left);
	return 0;
}

static int find_in_groups(struct finding *f, struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(f->db, e, "SELECT id, n_chunks, raw_bytes, spans FROM log_group ORDER BY id", "");
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e)) {
		struct stored_span spans[LOG_COLUMNS];
		size_t n = 0;
		const void *stored = greta_query_blob(q, 3, &n);

		if (n != sizeof spans)
			return greta_err_set(e, GRETA_EFAIL, "%s: the index of logs is damaged: group %lld",
					     f->db->path, (long long)greta_query_i64(q, 0));
		memcpy(spans, stored, n);
		f->out->n_chunks += greta_query_i64(q, 1);
		f->out->raw_bytes += greta_query_i64(q, 2);
		if (find_in_group(f, greta_query_i64(q, 0), spans, e))
			return -1;
	}
	return rc;
}

static bool column_may_have(const struct column *c, const struct finding *f)
{
	for (size_t t = 0; t < f->n; t++)
		if (!(c->set[f->trigrams[t] / 8] & 1u << (f->trigrams[t] % 8)))
			return false;
	return true;
}

static int find_in_columns(struct finding *f, struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(f->db, e, "SELECT " COLUMN_FIELDS " FROM log_column ORDER BY id", "");
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e)) {
		struct column c;

		if (column_read(f->db, q, &c, e))
			return -1;
		f->out->n_chunks += c.n_chunks;
		f->out->raw_bytes += c.raw_bytes;
		if (column_may_have(&c, f))
			add_span(f->out, c.first, c.last);
	}
	return rc;
}

static int by_first(const void *a, const void *b)
{
	const struct log_span *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

/* Spans that touch become one. */
static void join_spans(struct log_spans *s)
{
	size_t n = 0;

	if (s->n)
		qsort(s->items, s->n, sizeof *s->items, by_first);
	for (size_t i = 0; i < s->n; i++) {
		if (n && s->items[i].first <= s->items[n - 1].last + 1) {
			if (s->items[i].last > s->items[n - 1].last)
				s->items[n - 1].last = s->items[i].last;
		} else {
			s->items[n++] = s->items[i];
		}
	}
	s->n = n;
}

int log_index_find(struct greta_db *db, const char *needle, size_t n, struct log_spans *out, struct greta_err *e)
{
	struct finding f = {.db = db, .out = out};

	f.n = trigrams_of(needle, n, f.trigrams, NEEDLE_TRIGRAMS);
	if (find_in_groups(&f, e) || find_in_columns(&f, e))
		return -1;
	join_spans(out);
	return 0;
}

bool log_spans_have(const struct log_spans *s, int64_t chunk_id)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (s->items[mid].last < chunk_id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < s->n && s->items[low].first <= chunk_id;
}

void log_spans_release(struct log_spans *s)
{
	free(s->items);
	*s = (struct log_spans){0};
}
