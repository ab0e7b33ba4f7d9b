#include "orchestrator/import/llama_sql.h"
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/str.h"
#include <string.h>
#include <strings.h>

#define NAME_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

struct sql {
	const struct greta_buf *text;
	const char *path, *at;
	struct greta_strs numbers; /* columns that are declared INTEGER or REAL */
};

struct row {
	struct greta_strs columns, values;
};

static void row_release(struct row *r)
{
	greta_strs_release(&r->columns);
	greta_strs_release(&r->values);
}

/* ---- words */

static void skip_space(struct sql *s)
{
	s->at += strspn(s->at, " \t\r\n");
}

static bool take_char(struct sql *s, char c)
{
	skip_space(s);
	if (*s->at != c)
		return false;
	s->at++;
	return true;
}

static bool take_words(struct sql *s, const char *words)
{
	skip_space(s);
	if (strncasecmp(s->at, words, strlen(words)))
		return false;
	s->at += strlen(words);
	return true;
}

static bool take_name(struct sql *s, struct greta_strs *out)
{
	skip_space(s);
	size_t n = strspn(s->at, NAME_LETTERS);
	if (!n)
		return false;
	if (out)
		greta_strs_addf(out, "%.*s", (int)n, s->at);
	s->at += n;
	return true;
}

static bool ends_value(const char *quote)
{
	const char *next = quote + 1 + strspn(quote + 1, " \t");
	return *next == ',' || *next == ')';
}

static bool take_value(struct sql *s, struct greta_strs *out)
{
	cleanup_buf struct greta_buf value = {0};
	const char *end;
	if (!take_char(s, '\''))
		return false;
	for (end = s->at; *end && *end != '\n' && !(*end == '\'' && ends_value(end)); end++) {
		greta_buf_addc(&value, *end);
		end += end[0] == '\'' && end[1] == '\''; /* as SQL itself writes a quote */
	}
	if (*end != '\'')
		return false;
	s->at = end + 1;
	greta_strs_add(out, greta_buf_str(&value));
	return true;
}

/* ---- statements */

static int line_of(const struct sql *s)
{
	int line = 1;
	for (const char *c = s->text->data; c < s->at; c++)
		line += *c == '\n';
	return line;
}

static int refuse(const struct sql *s, const char *what, struct greta_err *e)
{
	return greta_err_set(e, GRETA_EINVAL, "%s:%d: %s", s->path, line_of(s), what);
}

/* CREATE TABLE IF NOT EXISTS test ( build_commit TEXT, ... ); newer ones call it llama_bench */
static bool read_columns(struct sql *s)
{
	greta_strs_release(&s->numbers);
	if (!take_name(s, NULL) || !take_char(s, '('))
		return false;
	do {
		cleanup_strs struct greta_strs words = {0}; /* name, type */
		if (!take_name(s, &words) || !take_name(s, &words))
			return false;
		if (!strcasecmp(words.items[1], "INTEGER") || !strcasecmp(words.items[1], "REAL"))
			greta_strs_add(&s->numbers, words.items[0]);
	} while (take_char(s, ','));
	return take_char(s, ')') && take_char(s, ';');
}

/* INSERT INTO test (build_commit, ...) VALUES ('8cf427ff', ...); */
static bool read_row(struct sql *s, struct row *out)
{
	if (!take_name(s, NULL) || !take_char(s, '('))
		return false;
	do
		if (!take_name(s, &out->columns))
			return false;
	while (take_char(s, ','));
	if (!take_char(s, ')') || !take_words(s, "VALUES") || !take_char(s, '('))
		return false;
	do
		if (!take_value(s, &out->values))
			return false;
	while (take_char(s, ','));
	return take_char(s, ')') && take_char(s, ';') && out->columns.n == out->values.n;
}

static void write_test(const struct sql *s, const struct row *r, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);
	double number;
	greta_jsonw_object(&w, NULL);
	for (size_t i = 0; i < r->columns.n; i++) {
		const char *name = r->columns.items[i], *value = r->values.items[i];
		if (!greta_strs_has(&s->numbers, name) || greta_str_f64(value, &number)) {
			greta_jsonw_str(&w, name, value);
			continue;
		}
		greta_jsonw_f64(&w, name, number);
		if (greta_str_eq(name, "avg_ns")) {
			greta_jsonw_array(&w, "samples_ns");
			greta_jsonw_f64(&w, NULL, number);
			greta_jsonw_end_array(&w);
		}
	}
	greta_jsonw_end_object(&w);
}

static int read_test(struct sql *s, llama_sql_fn *take, void *arg, struct greta_err *e)
{
	cleanup_with(row_release) struct row row = {0};
	cleanup_buf struct greta_buf text = {0};
	if (!read_row(s, &row))
		return refuse(s, "no INSERT as llama-bench -o sql prints it: (columns) VALUES ('as many');", e);
	write_test(s, &row, &text);
	struct greta_json *doc = greta_json_parse("test", text.data, text.len, e);
	int rc = doc ? take(arg, greta_json_root(doc), e) : -1;
	greta_json_destroy(doc);
	if (rc && e && e->code == GRETA_EINVAL)
		greta_err_wrap(e, "%s:%d", s->path, line_of(s));
	return rc;
}

bool llama_sql_is(const char *text)
{
	struct sql s = {.at = text};
	return take_words(&s, "CREATE TABLE ") || take_words(&s, "INSERT INTO ");
}

int llama_sql_read(const struct greta_buf *text, const char *path, llama_sql_fn *take, void *arg, struct greta_err *e)
{
	struct sql s = {.text = text, .path = path, .at = text->data};
	int rc = 0;
	for (skip_space(&s); s.at < text->data + text->len && rc == 0; skip_space(&s)) {
		if (take_words(&s, "INSERT INTO "))
			rc = read_test(&s, take, arg, e);
		else if (!take_words(&s, "CREATE TABLE IF NOT EXISTS "))
			rc = refuse(&s, "neither CREATE TABLE nor INSERT INTO, which is all that llama-bench -o sql prints", e);
		else if (!read_columns(&s))
			rc = refuse(&s, "no CREATE TABLE as llama-bench -o sql prints it: (name TYPE, ...);", e);
	}
	greta_strs_release(&s.numbers);
	return rc;
}
