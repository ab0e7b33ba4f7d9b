/* A scan checks the grammar strictly, blanks comments, and notes where every value stands, in document order. What a string or
 * a number means is left to cJSON (which knows no places, loses integers beyond 2^53, and takes several things that are no
 * JSON), and asked only of those that are read: of most documents that is a part. */
#include "schemas/json.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 60  /* cJSON reads at most 63 characters of a number */
#define FEW_MEMBERS 32 /* comparing each with each is quicker than sorting them */

/* A document's values lie in one array, parents before their children, so the first child follows its parent. */
struct greta_json_val {
	const char *text;     /* of the value, in the document */
	const char *key_text; /* opening quote of a member's key; NULL: an element */
	uint32_t len;
	uint32_t key_len;     /* between the quotes */
	uint32_t n_children;
	uint32_t next; /* distance to the next sibling; 0: the last */
	enum greta_json_type type;
	bool key_is_plain;    /* it means what is written */
	cJSON *item, *key;    /* decoded; NULL: not asked for yet */
};

struct greta_json {
	char *text; /* comments blanked, NUL-terminated */
	size_t len;
	struct greta_json_val *vals;
	size_t n_vals, cap_vals;
};

/* ---- the scan */

struct scan {
	struct greta_json *j;
	const char *name;
	char *at, *end;
	int depth;
	struct greta_problems *slips; /* NULL: a slip is an error as any other */
	struct greta_err *e;
};

static void place_of(const struct greta_json *j, const char *at, int *line, int *column)
{
	*line = *column = 1;
	for (const char *c = j->text; c < at; c++) {
		if (*c == '\n') {
			++*line;
			*column = 1;
		} else if (((unsigned char)*c & 0xc0) != 0x80) {
			++*column;
		}
	}
}

static int complain(const struct scan *s, bool slip, const char *at, const char *fmt, va_list ap)
{
	cleanup_buf struct greta_buf what = {0};
	int line, column;

	greta_buf_vaddf(&what, fmt, ap);
	for (size_t i = 0; i < what.len; i++) /* a key that is quoted goes to a terminal */
		if ((unsigned char)what.data[i] < 0x20 || what.data[i] == 0x7f)
			what.data[i] = '?';
	place_of(s->j, at, &line, &column);
	if (slip && s->slips) {
		greta_problems_add(s->slips, false, line, column, NULL, "%s", what.data);
		return 0;
	}
	return greta_err_set(s->e, GRETA_EINVAL, "%s:%d:%d: %s", s->name, line, column, what.data);
}

__attribute__((format(printf, 3, 4))) static int fail(const struct scan *s, const char *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(s, false, at, fmt, ap);
	va_end(ap);
	return -1;
}

/* What can be read past: 0 when it was noted, -1 where slips are errors. */
__attribute__((format(printf, 3, 4))) static int slip(const struct scan *s, const char *at, const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = complain(s, true, at, fmt, ap);
	va_end(ap);
	return rc;
}

/* Length of the comment at s->at, 0 if there is none, -1 if it never ends. */
static ptrdiff_t comment_len(const struct scan *s)
{
	size_t left = (size_t)(s->end - s->at);
	const char *close;

	if (left < 2 || s->at[0] != '/')
		return 0;
	if (s->at[1] == '/') {
		close = memchr(s->at, '\n', left);
		return close ? close - s->at : (ptrdiff_t)left;
	}
	if (s->at[1] != '*')
		return 0;
	close = memmem(s->at + 2, left - 2, "*/", 2);
	return close ? close + 2 - s->at : -1;
}

static void blank_out(char *at, ptrdiff_t n)
{
	for (ptrdiff_t i = 0; i < n; i++)
		if (at[i] != '\n')
			at[i] = ' ';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int skip_all_blank(struct scan *s)
{
	for (;;) {
		ptrdiff_t n;

		while (s->at < s->end && is_blank(*s->at))
			s->at++;
		n = comment_len(s);
		if (n < 0)
			return fail(s, s->at, "this comment never ends; expected */");
		if (n == 0)
			return 0;
		blank_out(s->at, n);
		s->at += n;
	}
}

/* Mostly there is none; at the end of the text there is a NUL. */
static int skip_blank(struct scan *s)
{
	return (unsigned char)*s->at > ' ' && *s->at != '/' ? 0 : skip_all_blank(s);
}

static bool take(struct scan *s, char c)
{
	if (s->at >= s->end || *s->at != c)
		return false;
	s->at++;
	return true;
}

/* The four hex digits at c, or -1. */
static int hex4(const char *c, const char *end)
{
	int v = 0;

	if (end - c < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int ch = tolower((unsigned char)c[i]);

		if (!isxdigit(ch))
			return -1;
		v = v * 16 + (ch <= '9' ? ch - '0' : ch - 'a' + 10);
	}
	return v;
}

/* s->at is at the 'u' of \uXXXX. */
static int scan_unicode_escape(struct scan *s)
{
	const char *at = s->at - 1;
	int high = hex4(s->at + 1, s->end);

	if (high < 0)
		return fail(s, at, "\\u needs four hex digits");
	if (high == 0)
		return fail(s, at, "\\u0000 is not allowed");
	s->at += 5;
	if (high < 0xd800 || high > 0xdfff)
		return 0;
	if (high < 0xdc00 && s->end - s->at >= 6 && s->at[0] == '\\' && s->at[1] == 'u') {
		int low = hex4(s->at + 2, s->end);

		if (low >= 0xdc00 && low <= 0xdfff) {
			s->at += 6;
			return 0;
		}
	}
	return fail(s, at, "half of a surrogate pair");
}

static int scan_escape(struct scan *s)
{
	s->at++;
	if (s->at < s->end && *s->at == 'u')
		return scan_unicode_escape(s);
	if (s->at >= s->end || !*s->at || !strchr("\"\\/bfnrt", *s->at))
		return fail(s, s->at - 1, "no such escape; a backslash is written \\\\");
	s->at++;
	return 0;
}

/* What of a string is no plain text: an escape, a character beyond ASCII, or nothing that may stand in one. */
static int scan_odd_char(struct scan *s, const char *open)
{
	size_t n;

	if (*s->at == '\\')
		return scan_escape(s);
	if (*s->at == '\n')
		return fail(s, open, "this string is not closed on its line; expected \"");
	if ((unsigned char)*s->at < 0x20)
		return fail(s, s->at, "a control character inside a string; write it as an escape");
	n = greta_str_utf8_len(s->at, (size_t)(s->end - s->at));
	if (n == 0)
		return fail(s, s->at, "not valid UTF-8");
	s->at += n;
	return 0;
}

static int scan_string(struct scan *s)
{
	const char *open = s->at++;

	for (;;) {
		s->at += greta_str_plain(s->at, (size_t)(s->end - s->at));
		if (s->at >= s->end)
			return fail(s, open, "this string is not closed; expected \"");
		if (take(s, '"'))
			return 0;
		if (scan_odd_char(s, open))
			return -1;
	}
}

static bool digits(struct scan *s)
{
	const char *begin = s->at;

	while (s->at < s->end && isdigit((unsigned char)*s->at))
		s->at++;
	return s->at > begin;
}

static int scan_number(struct scan *s)
{
	const char *begin = s->at;
	bool ok, has_exponent = false;

	take(s, '-');
	ok = take(s, '0') || digits(s);
	if (ok && take(s, '.'))
		ok = digits(s);
	if (ok && (take(s, 'e') || take(s, 'E'))) {
		has_exponent = true;
		if (!take(s, '+'))
			take(s, '-');
		ok = digits(s);
	}
	if (!ok || (s->at < s->end && (isalnum((unsigned char)*s->at) || *s->at == '.')))
		return fail(s, begin, "not a number as JSON writes it (1, -2.5, 3e-4)");
	if (s->at - begin > NUMBER_MAX)
		return fail(s, begin, "a number of more than %d characters", NUMBER_MAX);
	if (has_exponent && !isfinite(strtod(begin, NULL)))
		return fail(s, begin, "a number beyond the range of a double");
	return 0;
}

static int scan_value(struct scan *s, struct greta_json_val v);

/* Where a value or a closing bracket was expected. */
static int fail_at_value(const struct scan *s)
{
	if (s->at >= s->end)
		return fail(s, s->at, "the text ends too early; expected a value");
	if (*s->at == '\'')
		return fail(s, s->at, "strings are written in double quotes");
	if (strchr("]},", *s->at) && *s->at)
		return fail(s, s->at, "expected a value here");
	return fail(s, s->at, "expected a value: a string, a number, true, false, null, [ or {");
}

static int scan_word(struct scan *s, enum greta_json_type *type)
{
	static const struct {
		const char *word;
		enum greta_json_type type;
	} words[] = {{"null", GRETA_JSON_NULL}, {"true", GRETA_JSON_BOOL}, {"false", GRETA_JSON_BOOL}};
	size_t n = 0;

	while (s->at + n < s->end && (isalnum((unsigned char)s->at[n]) || s->at[n] == '_'))
		n++;
	for (size_t i = 0; i < GRETA_COUNT(words); i++) {
		if (n == strlen(words[i].word) && !memcmp(s->at, words[i].word, n)) {
			s->at += n;
			*type = words[i].type;
			return 0;
		}
	}
	if ((n == 3 && !strncasecmp(s->at, "nan", 3)) || (n && !strncasecmp(s->at, "inf", 3)))
		return fail(s, s->at, "JSON has no NaN and no infinity");
	return fail_at_value(s);
}

/* Behind a comma: the same as scan_separator. A comma too many is blanked: what is printed again is JSON. */
static int scan_behind_comma(struct scan *s, char close)
{
	char *comma = s->at - 1;

	if (skip_blank(s))
		return -1;
	if (s->at >= s->end || *s->at != close)
		return 1;
	if (slip(s, s->at, "expected %s (a trailing comma is not allowed)",
		 close == '}' ? "another key" : "a value here"))
		return -1;
	*comma = ' ';
	s->at++;
	return 0;
}

/* Another element begins here without a comma, and a blank before it can become one (not a newline: lines are counted). */
static bool lacks_comma(const struct scan *s, char close)
{
	if (!s->slips || s->at >= s->end || !*s->at || !strchr(" \t", s->at[-1]))
		return false;
	return *s->at == '"' || (close == ']' && (strchr("-{[", *s->at) || isalnum((unsigned char)*s->at)));
}

/* Behind an element: 1 when another follows, 0 at the closing bracket, -1. */
static int scan_separator(struct scan *s, char close)
{
	if (skip_blank(s))
		return -1;
	if (take(s, close))
		return 0;
	if (take(s, ','))
		return scan_behind_comma(s, close);
	if (lacks_comma(s, close)) {
		slip(s, s->at, "expected , or %c here", close);
		s->at[-1] = ',';
		return 1;
	}
	return fail(s, s->at, "expected , or %c here%s", close, s->at >= s->end ? ", where the text ends" : "");
}

static int scan_key(struct scan *s, struct greta_json_val *v)
{
	if (skip_blank(s))
		return -1;
	if (s->at >= s->end || *s->at != '"')
		return fail(s, s->at, "expected a key in double quotes");
	v->key_text = s->at;
	if (scan_string(s))
		return -1;
	v->key_len = (uint32_t)(s->at - v->key_text - 2);
	v->key_is_plain = !memchr(v->key_text + 1, '\\', v->key_len);
	if (skip_blank(s))
		return -1;
	return take(s, ':') ? 0 : fail(s, s->at, "expected : after the key");
}

/* The values of one container, from behind its opening bracket to behind its closing one. */
static int scan_children(struct scan *s, size_t parent, char close)
{
	size_t previous = 0;
	int more = 1;

	if (++s->depth > GRETA_JSON_DEPTH_MAX)
		return fail(s, s->at, "nested more than %d deep", GRETA_JSON_DEPTH_MAX);
	if (skip_blank(s))
		return -1;
	if (take(s, close))
		more = 0;
	while (more > 0) {
		size_t child = s->j->n_vals;
		struct greta_json_val v = {0};

		if ((close == '}' && scan_key(s, &v)) || scan_value(s, v))
			return -1;
		if (previous)
			s->j->vals[previous].next = (uint32_t)(child - previous);
		previous = child;
		s->j->vals[parent].n_children++;
		more = scan_separator(s, close);
	}
	s->depth--;
	return more;
}

/* v: with its key. */
static int scan_value(struct scan *s, struct greta_json_val v)
{
	size_t self = s->j->n_vals;
	int rc;

	if (skip_blank(s))
		return -1;
	if (s->at >= s->end)
		return fail_at_value(s);
	v.text = s->at;
	*GRETA_PUSH(s->j->vals, s->j->n_vals, s->j->cap_vals) = v;
	if (*v.text == '{' || *v.text == '[') {
		v.type = *v.text == '{' ? GRETA_JSON_OBJECT : GRETA_JSON_ARRAY;
		s->at++;
		rc = scan_children(s, self, *v.text == '{' ? '}' : ']');
	} else if (*v.text == '"') {
		v.type = GRETA_JSON_STRING;
		rc = scan_string(s);
	} else if (*v.text == '-' || isdigit((unsigned char)*v.text)) {
		v.type = GRETA_JSON_NUMBER;
		rc = scan_number(s);
	} else {
		rc = scan_word(s, &v.type);
	}
	s->j->vals[self].type = v.type;
	s->j->vals[self].len = (uint32_t)(s->at - v.text);
	return rc;
}

static int scan_document(struct scan *s)
{
	if (skip_blank(s))
		return -1;
	if (s->at >= s->end)
		return greta_err_set(s->e, GRETA_EINVAL, "%s: is empty; expected JSON", s->name);
	if (scan_value(s, (struct greta_json_val){0}) || skip_blank(s))
		return -1;
	return s->at < s->end ? fail(s, s->at, "more text behind the end of the JSON value") : 0;
}

/* ---- what is written means */

static const cJSON *decoded(cJSON **item, const char *text, size_t n)
{
	if (!*item)
		*item = cJSON_ParseWithLengthOpts(text, n, NULL, 0);
	return *item;
}

static const cJSON *item_of(const struct greta_json_val *v)
{
	return decoded(&((struct greta_json_val *)v)->item, v->text, v->len);
}

const char *greta_json_key(const struct greta_json_val *member)
{
	const cJSON *key;

	if (!member->key_text)
		return NULL;
	key = decoded(&((struct greta_json_val *)member)->key, member->key_text, member->key_len + 2);
	return key ? key->valuestring : "";
}

static bool key_is(const struct greta_json_val *v, const char *key, size_t n)
{
	if (!v->key_is_plain)
		return greta_str_eq(greta_json_key(v), key);
	return v->key_len == n && !memcmp(v->key_text + 1, key, n);
}

/* ---- keys that stand twice */

static bool same_key(const struct greta_json_val *a, const struct greta_json_val *b)
{
	if (!a->key_is_plain || !b->key_is_plain)
		return !strcmp(greta_json_key(a), greta_json_key(b));
	return a->key_len == b->key_len && !memcmp(a->key_text + 1, b->key_text + 1, a->key_len);
}

static int compare_keys(const void *a, const void *b)
{
	const struct greta_json_val *const *x = a, *const *y = b;
	int order = strcmp(greta_json_key(*x), greta_json_key(*y));

	return order ? order : (*x)->text < (*y)->text ? -1 : 1;
}

static bool all_differ(const struct greta_json_val *const *members, size_t n)
{
	for (size_t i = 1; i < n; i++)
		for (size_t k = 0; k < i; k++)
			if (same_key(members[i], members[k]))
				return false;
	return true;
}

static int check_duplicates_in(const struct scan *s, const struct greta_json_val *object,
			       const struct greta_json_val **members)
{
	const struct greta_json_val *v = greta_json_first(object);
	size_t n = 0;

	for (; v; v = greta_json_next(v))
		members[n++] = v;
	if (n <= FEW_MEMBERS && all_differ(members, n))
		return 0;
	qsort(members, n, sizeof(const struct greta_json_val *), compare_keys);
	for (size_t i = 1; i < n; i++) {
		int line, column;

		if (!same_key(members[i - 1], members[i]))
			continue;
		place_of(s->j, members[i - 1]->key_text, &line, &column);
		if (slip(s, members[i]->key_text, "the key \"%.60s\" again; it stands at %d:%d already",
			 greta_json_key(members[i]), line, column))
			return -1;
	}
	return 0;
}

static int check_duplicates(const struct scan *s)
{
	const struct greta_json_val **members = greta_alloc(s->j->n_vals * sizeof(*members));
	int rc = 0;

	for (size_t i = 0; i < s->j->n_vals && !rc; i++)
		if (s->j->vals[i].type == GRETA_JSON_OBJECT)
			rc = check_duplicates_in(s, &s->j->vals[i], members);
	free(members);
	return rc;
}

static int build(struct greta_json *j, const char *name, struct greta_problems *slips, struct greta_err *e)
{
	struct scan s = {.j = j, .name = name, .at = j->text, .end = j->text + j->len, .slips = slips, .e = e};


	return scan_document(&s) || check_duplicates(&s) ? -1 : 0;
}

/* ---- documents */

struct greta_json *greta_json_parse(const char *name, const char *text, size_t n, struct greta_err *e)
{
	return greta_json_parse_past(name, text, n, NULL, e);
}

struct greta_json *greta_json_parse_past(const char *name, const char *text, size_t n, struct greta_problems *slips,
					 struct greta_err *e)
{
	struct greta_json *j;

	if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) { /* byte order mark */
		text += 3;
		n -= 3;
	}
	if (n > GRETA_JSON_TEXT_MAX) {
		greta_err_set(e, GRETA_EINVAL, "%s: %zu bytes of JSON; at most %u are read", name, n,
			      GRETA_JSON_TEXT_MAX);
		return NULL;
	}
	j = greta_alloc(sizeof(*j));
	j->text = greta_alloc(n + 1);
	if (n)
		memcpy(j->text, text, n);
	j->len = n;
	if (build(j, name, slips, e)) {
		greta_json_destroy(j);
		return NULL;
	}
	return j;
}

struct greta_json *greta_json_load(const char *path, size_t max_bytes, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};

	if (greta_fs_read(path, max_bytes, &text, e))
		return NULL;
	return greta_json_parse(path, greta_buf_str(&text), text.len, e);
}

void greta_json_destroy(struct greta_json *j)
{
	if (!j)
		return;
	for (size_t i = 0; i < j->n_vals; i++) {
		cJSON_Delete(j->vals[i].item);
		cJSON_Delete(j->vals[i].key);
	}
	free(j->vals);
	free(j->text);
	free(j);
}

/* ---- values */

const struct greta_json_val *greta_json_root(const struct greta_json *j)
{
	return j->vals;
}

enum greta_json_type greta_json_type(const struct greta_json_val *v)
{
	return v->type;
}

const char *greta_json_type_name(enum greta_json_type t)
{
	static const char *const names[] = {
		[GRETA_JSON_NULL] = "null",	  [GRETA_JSON_BOOL] = "true or false",
		[GRETA_JSON_NUMBER] = "a number", [GRETA_JSON_STRING] = "a string",
		[GRETA_JSON_ARRAY] = "a list",	  [GRETA_JSON_OBJECT] = "an object",
	};

	return names[t];
}

const struct greta_json_val *greta_json_get(const struct greta_json_val *object, const char *key)
{
	const struct greta_json_val *v = greta_json_first(object);
	size_t n = strlen(key);

	while (v && !key_is(v, key, n))
		v = greta_json_next(v);
	return v;
}

const struct greta_json_val *greta_json_first(const struct greta_json_val *container)
{
	return container && container->n_children ? container + 1 : NULL;
}

const struct greta_json_val *greta_json_next(const struct greta_json_val *v)
{
	return v && v->next ? v + v->next : NULL;
}

size_t greta_json_size(const struct greta_json_val *container)
{
	return container ? container->n_children : 0;
}

int greta_json_str(const struct greta_json_val *v, const char **out)
{
	const cJSON *item = v && v->type == GRETA_JSON_STRING ? item_of(v) : NULL;

	if (!item)
		return -1;
	*out = item->valuestring;
	return 0;
}

static bool is_written_whole(const struct greta_json_val *v)
{
	for (uint32_t i = 0; i < v->len; i++)
		if (!isdigit((unsigned char)v->text[i]) && v->text[i] != '-')
			return false;
	return true;
}

int greta_json_i64(const struct greta_json_val *v, int64_t *out)
{
	double d;

	if (!v || v->type != GRETA_JSON_NUMBER)
		return -1;
	if (is_written_whole(v)) { /* exact in all of int64 */
		char *end;
		long long i;

		errno = 0;
		i = strtoll(v->text, &end, 10);
		if (errno)
			return -1;
		*out = i;
		return 0;
	}
	if (greta_json_f64(v, &d) || d != trunc(d) || fabs(d) > 9007199254740992.0) /* 2^53: 1e3 and 2.0 are whole numbers too */
		return -1;
	*out = (int64_t)d;
	return 0;
}

int greta_json_f64(const struct greta_json_val *v, double *out)
{
	const cJSON *item = v && v->type == GRETA_JSON_NUMBER ? item_of(v) : NULL;

	if (!item)
		return -1;
	*out = item->valuedouble;
	return 0;
}

int greta_json_bool(const struct greta_json_val *v, bool *out)
{
	if (!v || v->type != GRETA_JSON_BOOL)
		return -1;
	*out = *v->text == 't';
	return 0;
}

static const char *behind_string(const char *open)
{
	const char *c = open + 1;

	while (*c != '"')
		c += *c == '\\' ? 2 : 1;
	return c + 1;
}

void greta_json_print(const struct greta_json_val *v, struct greta_buf *out)
{
	const char *c = v->text, *end = v->text + v->len, *from = c;

	while (c < end) {
		if (*c == '"') {
			c = behind_string(c);
		} else if (is_blank(*c++)) {
			greta_buf_add(out, from, (size_t)(c - 1 - from));
			from = c;
		}
	}
	greta_buf_add(out, from, (size_t)(end - from));
}

void greta_json_where(const struct greta_json *j, const struct greta_json_val *v, int *line, int *column)
{
	place_of(j, v->text, line, column);
}

void greta_json_where_key(const struct greta_json *j, const struct greta_json_val *member, int *line, int *column)
{
	place_of(j, member->key_text ? member->key_text : member->text, line, column);
}

static void path_step(const struct greta_json_val *v, size_t index, struct greta_buf *out)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
	const char *key = greta_json_key(v);

	if (!key)
		greta_buf_addf(out, "[%zu]", index);
	else if (key[0] && !key[strspn(key, plain)])
		greta_buf_addf(out, "%s%s", out->len ? "." : "", key);
	else
		greta_buf_addf(out, "[\"%s\"]", key);
}

void greta_json_path(const struct greta_json *j, const struct greta_json_val *v, struct greta_buf *out)
{
	cleanup_buf struct greta_buf path = {0};
	const struct greta_json_val *at = j->vals;

	while (at != v) {
		const struct greta_json_val *child = greta_json_first(at), *next;
		size_t index = 0;

		while ((next = greta_json_next(child)) && next <= v) {
			child = next;
			index++;
		}
		if (!child)
			break;
		path_step(child, index, &path);
		at = child;
	}
	greta_buf_adds(out, greta_buf_str(&path));
}
