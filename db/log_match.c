#include "db/log_match.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"
#include <ctype.h>

#define LINE_MAX_BYTES (64 * 1024)

/* ---- the pattern */

/* One step of an expression: what it must hold there, if anything. */
struct step {
	size_t length; /* in the expression */
	char c;	       /* the one character that it stands for; 0: nothing sure */
};

/* Behind the bracket expression that begins at s. */
static size_t bracket_length(const char *s)
{
	size_t i = 1;

	i += s[i] == '^';
	i += s[i] == ']';
	while (s[i] && s[i] != ']') {
		if (s[i] == '[' && s[i + 1] && strchr(".:=", s[i + 1])) { /* [:alpha:] and its like */
			const char end[] = {s[i + 1], ']', 0};
			const char *close = strstr(s + i + 2, end);

			i = close ? (size_t)(close - s) + 2 : strlen(s);
		} else {
			i++;
		}
	}
	return i + (s[i] == ']');
}

static size_t group_length(const char *s)
{
	size_t i = 0, depth = 0;

	do {
		if (s[i] == '[') {
			i += bracket_length(s + i);
			continue;
		}
		depth += s[i] == '(';
		depth -= s[i] == ')';
		i += s[i] == '\\' && s[i + 1] ? 2 : 1;
	} while (depth && s[i]);
	return i;
}

static struct step step_at(const char *s)
{
	switch (*s) {
	case '[':
		return (struct step){bracket_length(s), 0};
	case '(':
		return (struct step){group_length(s), 0};
	case '\\': /* a character that would be special; \w and its like are extensions, and not looked at */
		return (struct step){s[1] ? 2 : 1, ispunct((unsigned char)s[1]) && !strchr("<>`'", s[1]) ? s[1] : '\0'};
	case '{':
		return (struct step){strcspn(s, "}") + (strchr(s, '}') != NULL), 0};
	default:
		return (struct step){1, strchr(".^$*+?)}|", *s) ? '\0' : *s};
	}
}

static bool has_alternatives(const char *pattern)
{
	for (size_t i = 0; pattern[i]; i += step_at(pattern + i).length)
		if (pattern[i] == '|')
			return true;
	return false;
}

/* The longest run of characters that every match of an extended expression must hold; nothing where there are
 * alternatives. What stands in groups and brackets is not looked at. */
static void find_literal(const char *pattern, struct greta_buf *out)
{
	cleanup_buf struct greta_buf run = {0};

	if (has_alternatives(pattern))
		return;
	for (const char *s = pattern; *s;) {
		struct step step = step_at(s);
		char next = s[step.length];
		/* before ?, * and {0} a character is optional; before + it is there, but others may follow it */
		bool is_sure = step.c && !(next && strchr("?*{", next));

		if (is_sure)
			greta_buf_addc(&run, step.c);
		if (run.len > out->len) {
			greta_buf_clear(out);
			greta_buf_add(out, run.data, run.len);
		}
		if (!is_sure || next == '+')
			greta_buf_clear(&run);
		s += step.length;
	}
}

static void to_lower(struct greta_buf *b)
{
	for (size_t i = 0; i < b->len; i++)
		b->data[i] = (char)tolower((unsigned char)b->data[i]);
}

static int compile(struct log_match *s, struct greta_err *e)
{
	int flags = REG_EXTENDED | REG_NOSUB | (s->g->ignore_case ? REG_ICASE : 0);
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

/* ---- lines */

static const char *searched(const struct log_match *s)
{
	return s->g->ignore_case ? greta_buf_str(&s->folded) : greta_buf_str(&s->text);
}

static bool line_matches(struct log_match *s, size_t start, size_t end)
{
	regmatch_t m = {.rm_so = 0, .rm_eo = (regoff_t)(end - start)};

	if (s->has_re) /* REG_STARTEND: a line needs no NUL behind it */
		return !regexec(&s->re, s->text.data + start, 1, &m, REG_STARTEND);
	return memmem(searched(s) + start, end - start, s->literal.data, s->literal.len) != NULL;
}

static int give_line(struct log_match *s, size_t start, size_t end, struct greta_err *e)
{
	const struct greta_grep_hit hit = {
		.attempt_id = s->attempt_id,
		.offset = s->offset + (int64_t)start,
		.stream = runs_at(&s->runs, start),
		.line = s->text.data + start,
		.n = end - start,
	};

	return s->fn(s->arg, &hit, e);
}

/* Where the next line that may match is, from `at`: by the literal if there is one, else simply the next line. */
static bool next_candidate(const struct log_match *s, size_t at, size_t end, size_t *start, size_t *stop)
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

static int search_lines(struct log_match *s, size_t end, struct greta_err *e)
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

static void drop_front(struct log_match *s, size_t n)
{
	struct runs front = s->runs;

	s->runs = (struct runs){0};
	runs_cut(&front, n, &s->runs);
	runs_release(&front);
	greta_buf_consume(&s->text, n);
	s->offset += (int64_t)n;
}

/* Searches the text at hand: all of it, or up to its last newline, behind which a line may go on. */
static int search_text(struct log_match *s, bool all, struct greta_err *e)
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

int log_match_flush(struct log_match *s, struct greta_err *e)
{
	return s->text.len ? search_text(s, true, e) : 0;
}

/* ---- chunks */

/* Keeps only the wanted stream's bytes. Offsets in what is left are then a little low: they count from the chunk's
 * start as if the other stream's bytes were not there. */
static void keep_stream(struct log_match *s, size_t from, struct runs *runs)
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

int log_match_take(struct log_match *s, struct greta_db *db, int64_t attempt_id, int64_t offset, struct greta_query *q,
		   int first, struct greta_err *e)
{
	cleanup_with(runs_release) struct runs runs = {0};
	size_t before;

	if (attempt_id != s->attempt_id || offset != s->end) {
		int rc = log_match_flush(s, e);

		if (rc)
			return rc;
		s->attempt_id = attempt_id;
	}
	if (s->text.len == 0)
		s->offset = offset;
	s->end = offset + greta_query_i64(q, first);
	before = s->text.len;
	if (log_chunk_text(db, q, first, &s->text, &runs, e))
		return -1;
	if (s->g->stream != GRETA_STREAM_ALL)
		keep_stream(s, before, &runs);
	for (size_t i = 0; i < runs.n; i++)
		runs_add(&s->runs, runs.items[i].stream, runs.items[i].n);
	return search_text(s, false, e);
}

/* ---- all of it */

int log_match_init(struct log_match *s, const struct greta_grep *g, greta_grep_fn *fn, void *arg, struct greta_err *e)
{
	*s = (struct log_match){.g = g, .fn = fn, .arg = arg};
	return compile(s, e);
}

void log_match_release(struct log_match *s)
{
	if (s->has_re)
		regfree(&s->re);
	greta_buf_release(&s->literal);
	greta_buf_release(&s->text);
	greta_buf_release(&s->folded);
	runs_release(&s->runs);
}
