/* log_grep: lines that match, over all logs or some. A chunk is unpacked only if its trigrams allow a match; chunks
 * whose lines reach into their neighbours have no trigrams and are always looked into, so no match is missed. */
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/log_internal.h"
#include "db/trigrams.h"
#include <ctype.h>
#include <regex.h>

#define LINE_MAX_BYTES (64 * 1024)

struct grep {
	struct greta_db *db;
	const struct greta_grep *g;
	greta_grep_fn *fn;
	void *arg;
	struct greta_grep_stats *stats;
	struct greta_buf literal; /* what every match holds, in lower case if case is ignored; "" if nothing is known */
	regex_t re;
	bool has_re;
	/* the text at hand: the unfinished line of the chunk before, and what it was joined with */
	int64_t attempt_id;
	int64_t offset; /* of text */
	int64_t end;	/* offset that the next chunk has if it goes on from here */
	struct greta_buf text;
	struct runs runs;	 /* of the whole text */
	struct greta_buf folded; /* text in lower case, if case is ignored */
};

/* ---- the pattern */

static bool is_special(char c)
{
	return c && strchr(".[]()*+?{}|^$\\", c);
}

/* The longest run of characters that every match of an extended expression must hold; nothing where alternatives or
 * groups make that hard to tell. */
static void find_literal(const char *pattern, struct greta_buf *out)
{
	size_t best = 0, best_n = 0, n = 0, i;

	if (strpbrk(pattern, "|()[]{}\\"))
		return;
	for (i = 0; pattern[i]; i++) {
		/* a character before ?, * is optional, and before + it is the last one that is sure to follow on */
		bool plain = !is_special(pattern[i]);
		bool loose = plain && pattern[i + 1] && strchr("*?", pattern[i + 1]);

		n = plain && !loose ? n + 1 : 0;
		if (n > best_n) {
			best_n = n;
			best = i + 1 - n;
		}
	}
	greta_buf_add(out, pattern + best, best_n);
}

static void to_lower(struct greta_buf *b)
{
	for (size_t i = 0; i < b->len; i++)
		b->data[i] = (char)tolower((unsigned char)b->data[i]);
}

static int compile(struct grep *s, struct greta_err *e)
{
	int flags = REG_EXTENDED | (s->g->ignore_case ? REG_ICASE : 0);
	char why[200];
	int rc;

	if (!s->g->pattern || !*s->g->pattern)
		return greta_err_set(e, GRETA_EINVAL,
				     "an empty pattern matches everything; `logs` without --grep does that");
	if (s->g->regex) {
		rc = regcomp(&s->re, s->g->pattern, flags);
		if (rc) {
			regerror(rc, &s->re, why, sizeof why);
			return greta_err_set(e, GRETA_EINVAL, "pattern \"%s\": %s", s->g->pattern, why);
		}
		s->has_re = true;
		find_literal(s->g->pattern, &s->literal);
	} else {
		greta_buf_adds(&s->literal, s->g->pattern);
	}
	if (s->g->ignore_case)
		to_lower(&s->literal);
	return 0;
}

static void grep_release(struct grep *s)
{
	if (s->has_re)
		regfree(&s->re);
	greta_buf_release(&s->literal);
	greta_buf_release(&s->text);
	greta_buf_release(&s->folded);
	runs_release(&s->runs);
}

/* ---- lines */

static const char *searched(const struct grep *s)
{
	return s->g->ignore_case ? greta_buf_str(&s->folded) : greta_buf_str(&s->text);
}

static bool line_matches(struct grep *s, size_t start, size_t end)
{
	regmatch_t m = {.rm_so = 0, .rm_eo = (regoff_t)(end - start)};

	if (s->has_re) /* REG_STARTEND: a line needs no NUL behind it */
		return !regexec(&s->re, s->text.data + start, 1, &m, REG_STARTEND);
	return memmem(searched(s) + start, end - start, s->literal.data, s->literal.len) != NULL;
}

static int give_line(struct grep *s, size_t start, size_t end, struct greta_err *e)
{
	const struct greta_grep_hit hit = {
		.attempt_id = s->attempt_id,
		.offset = s->offset + (int64_t)start,
		.stream = runs_at(&s->runs, start),
		.line = s->text.data + start,
		.n = end - start,
	};

	s->stats->n_hits++;
	return s->fn(s->arg, &hit, e);
}

/* Where the next line that may match is, from `at`: by the literal if there is one, else simply the next line. */
static bool next_candidate(const struct grep *s, size_t at, size_t end, size_t *start, size_t *stop)
{
	const char *text = s->text.data, *hit = text + at, *newline;

	if (s->literal.len) {
		const char *found = memmem(searched(s) + at, end - at, s->literal.data, s->literal.len);

		if (!found)
			return false;
		hit = text + (found - searched(s));
	}
	newline = memrchr(text + at, '\n', (size_t)(hit - (text + at)));
	*start = newline ? (size_t)(newline - text) + 1 : at;
	newline = memchr(hit, '\n', end - (size_t)(hit - text));
	*stop = newline ? (size_t)(newline - text) : end;
	return true;
}

static int search_lines(struct grep *s, size_t end, struct greta_err *e)
{
	size_t at = 0, start, stop;
	int rc = 0;

	while (at < end && !rc && next_candidate(s, at, end, &start, &stop)) {
		if (line_matches(s, start, stop))
			rc = give_line(s, start, stop, e);
		at = stop + 1;
	}
	return rc;
}

static void drop_front(struct grep *s, size_t n)
{
	struct runs front = s->runs;

	s->runs = (struct runs){0};
	runs_cut(&front, n, &s->runs);
	runs_release(&front);
	greta_buf_consume(&s->text, n);
	s->offset += (int64_t)n;
}

/* Searches the text at hand: all of it, or up to its last newline, behind which a line may go on. */
static int search_text(struct grep *s, bool all, struct greta_err *e)
{
	const char *newline = all || !s->text.len ? NULL : memrchr(s->text.data, '\n', s->text.len);
	size_t end = newline ? (size_t)(newline - s->text.data) + 1 : s->text.len;
	int rc;

	if (!all && !newline && s->text.len < LINE_MAX_BYTES)
		return 0;
	if (s->g->ignore_case) {
		greta_buf_clear(&s->folded);
		greta_buf_add(&s->folded, greta_buf_str(&s->text), s->text.len);
		to_lower(&s->folded);
	}
	rc = search_lines(s, end, e);
	drop_front(s, end);
	return rc;
}

static int flush(struct grep *s, struct greta_err *e)
{
	return s->text.len ? search_text(s, true, e) : 0;
}

/* ---- chunks */

/* Keeps only the wanted stream's bytes. Offsets in what is left are then a little low: they count from the chunk's
 * start as if the other stream's bytes were not there. */
static void keep_stream(struct grep *s, size_t from, struct runs *runs)
{
	char *to = s->text.data + from, *at = to;
	struct runs kept = {0};

	for (size_t i = 0; i < runs->n; i++) {
		size_t n = runs->items[i].n;

		if (runs->items[i].stream == s->g->stream) {
			memmove(to, at, n);
			to += n;
			runs_add(&kept, s->g->stream, n);
		}
		at += n;
	}
	s->text.len = (size_t)(to - s->text.data);
	runs_release(runs);
	*runs = kept;
}

static int take_text(struct grep *s, struct greta_query *q, int first, struct greta_err *e)
{
	cleanup_with(runs_release) struct runs runs = {0};
	size_t before = s->text.len;

	if (log_chunk_text(s->db, q, first, &s->text, &runs, e))
		return -1;
	if (s->g->stream != GRETA_STREAM_ALL)
		keep_stream(s, before, &runs);
	for (size_t i = 0; i < runs.n; i++)
		runs_add(&s->runs, runs.items[i].stream, runs.items[i].n);
	return search_text(s, false, e);
}

static bool may_match(const struct grep *s, struct greta_query *q, int column)
{
	size_t n = 0;
	const void *set = greta_query_blob(q, column, &n);

	return trigrams_may_have(set, n, greta_buf_str(&s->literal), s->literal.len);
}

/* columns: attempt_id, offset, dropped, bits, raw_bytes, streams, raw, zstd */
static int take_chunk(struct grep *s, struct greta_query *q, struct greta_err *e)
{
	int64_t attempt_id = greta_query_i64(q, 0), offset = greta_query_i64(q, 1), n = greta_query_i64(q, 4);
	int rc = 0;

	if (attempt_id != s->attempt_id || offset != s->end) {
		rc = flush(s, e);
		s->attempt_id = attempt_id;
		s->offset = offset;
	}
	if (s->text.len == 0)
		s->offset = offset;
	s->end = offset + n;
	s->stats->n_chunks++;
	if (s->g->progress && (s->stats->bytes + n) / GRETA_GREP_PROGRESS > s->stats->bytes / GRETA_GREP_PROGRESS)
		s->g->progress(s->arg, s->stats);
	s->stats->bytes += n;
	if (rc || greta_query_i64(q, 2) || !may_match(s, q, 3))
		return rc;
	s->stats->n_chunks_read++;
	s->stats->bytes_read += n;
	return take_text(s, q, 4, e);
}

#define GREP_COLUMNS                                                                                                   \
	"SELECT c.attempt_id, c.offset, c.dropped, f.bits, c.raw_bytes, c.streams, c.raw, c.zstd"                      \
	" FROM log_chunk c LEFT JOIN log_filter f ON f.chunk_id = c.id"

static struct greta_query *open_chunks(struct grep *s, struct greta_err *e)
{
	if (s->g->attempt_id)
		return greta_query_open(s->db, e, GREP_COLUMNS " WHERE c.attempt_id = ? ORDER BY c.offset", "i",
					s->g->attempt_id);
	if (s->g->campaign_id)
		return greta_query_open(s->db, e,
					GREP_COLUMNS " WHERE c.attempt_id IN (SELECT a.id FROM attempt a JOIN job j ON"
						     " j.id = a.job_id WHERE j.campaign_id = ?1 AND (NOT ?2 OR"
						     " j.counted_attempt = a.id)) ORDER BY c.attempt_id, c.offset",
					"ii", s->g->campaign_id, (int64_t)s->g->counted_only);
	return greta_query_open(s->db, e,
				GREP_COLUMNS " WHERE NOT ?1 OR c.attempt_id IN (SELECT counted_attempt FROM job)"
					     " ORDER BY c.attempt_id, c.offset",
				"i", (int64_t)s->g->counted_only);
}

static int grep_run(struct grep *s, struct greta_err *e)
{
	cleanup_query struct greta_query *q = open_chunks(s, e);
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e)) {
		rc = take_chunk(s, q, e);
		if (rc)
			return rc;
	}
	return rc ? rc : flush(s, e);
}

int greta_logs_grep(struct greta_db *db, const struct greta_grep *g, greta_grep_fn *fn, void *arg,
		    struct greta_grep_stats *stats, struct greta_err *e)
{
	struct greta_grep_stats own = {0};
	cleanup_with(grep_release) struct grep s = {
		.db = db, .g = g, .fn = fn, .arg = arg, .stats = stats ? stats : &own};

	*s.stats = (struct greta_grep_stats){0};
	if (compile(&s, e))
		return -1;
	return grep_run(&s, e) < 0 ? -1 : 0;
}
