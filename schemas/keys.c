#include "schemas/keys.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PROBLEMS_MAX 200 /* of one file; who made more will hardly read on */

/* ---- complaints */

static void note(struct reader *r, bool warning, bool at_key, const struct greta_json_val *v, const char *fmt,
		 va_list ap)
{
	cleanup_buf struct greta_buf path = {0}, text = {0};
	int line, column;

	if (r->problems->n >= PROBLEMS_MAX)
		return;
	if (!v)
		v = greta_json_root(r->doc);
	if (at_key)
		greta_json_where_key(r->doc, v, &line, &column);
	else
		greta_json_where(r->doc, v, &line, &column);
	greta_json_path(r->doc, v, &path);
	greta_buf_vaddf(&text, fmt, ap);
	greta_problems_add(r->problems, warning, line, column, greta_buf_str(&path), "%s", greta_buf_str(&text));
	if (r->problems->n == PROBLEMS_MAX)
		greta_problems_add(r->problems, warning, line, column, "", "and more; mend these first");
}

void keys_error(struct reader *r, const struct greta_json_val *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(r, false, false, v, fmt, ap);
	va_end(ap);
}

void keys_error_key(struct reader *r, const struct greta_json_val *member, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(r, false, true, member, fmt, ap);
	va_end(ap);
}

void keys_warn(struct reader *r, const struct greta_json_val *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(r, true, false, v, fmt, ap);
	va_end(ap);
}

static void describe(const struct greta_json_val *v, struct greta_buf *out)
{
	enum greta_json_type type = greta_json_type(v);

	if (type == GRETA_JSON_OBJECT || type == GRETA_JSON_ARRAY) {
		if (greta_json_size(v))
			greta_buf_adds(out, greta_json_type_name(type));
		else
			greta_buf_adds(out, type == GRETA_JSON_ARRAY ? "an empty list" : "an empty object");
		return;
	}
	greta_json_print(v, out);
	if (out->len > 60) {
		for (out->len = 57; out->len > 0 && ((unsigned char)out->data[out->len] & 0xc0) == 0x80;)
			out->len--;
		greta_buf_adds(out, "...");
	}
}

void keys_unexpected(struct reader *r, const struct greta_json_val *v, const char *fmt, ...)
{
	cleanup_buf struct greta_buf got = {0}, expected = {0};
	va_list ap;

	describe(v, &got);
	va_start(ap, fmt);
	greta_buf_vaddf(&expected, fmt, ap);
	va_end(ap);
	keys_error(r, v, "is %s; expected %s", greta_buf_str(&got), greta_buf_str(&expected));
}

/* ---- suggestions */

void keys_suggest(const char *got, const char *const *names, size_t n, struct greta_buf *out)
{
	const char *best = NULL;
	int nearest = (int)strlen(got) / 3 + 1;

	if (strlen(got) > 64) /* nobody mistypes that much, and distance takes its time */
		return;
	for (size_t i = 0; i < n; i++) {
		int d = greta_str_distance(got, names[i]);

		if (d < nearest || (d == nearest && !best)) {
			best = names[i];
			nearest = d;
		}
	}
	if (best && nearest < (int)strlen(best))
		greta_buf_addf(out, ", did you mean \"%s\"?", best);
}

static void unknown_key(struct reader *r, const struct greta_json_val *member, const struct key *keys)
{
	cleanup_buf struct greta_buf hint = {0}, all = {0};
	const char *names[64];
	size_t n = 0;

	for (; keys[n].name && n < GRETA_COUNT(names); n++) {
		names[n] = keys[n].name;
		if (keys[n].name[0] != '$')
			greta_buf_addf(&all, "%s%s", all.len ? ", " : "", keys[n].name);
	}
	keys_suggest(greta_json_key(member), names, n, &hint);
	keys_error_key(r, member, "unknown key%s%s%s", greta_buf_str(&hint), hint.len ? "" : "; expected one of ",
		       hint.len ? "" : all.data);
}

/* ---- values */

bool keys_i64(struct reader *r, const struct greta_json_val *v, int64_t min, int64_t max, int64_t *out)
{
	int64_t n;

	if (greta_json_i64(v, &n) || n < min || n > max) {
		keys_unexpected(r, v, "a whole number from %" PRId64 " to %" PRId64, min, max);
		return false;
	}
	*out = n;
	return true;
}

bool keys_f64(struct reader *r, const struct greta_json_val *v, double min, double max, double *out)
{
	double d;

	if (greta_json_f64(v, &d) || !(d >= min && d <= max)) {
		keys_unexpected(r, v, "a number from %.15g to %.15g", min, max);
		return false;
	}
	*out = d;
	return true;
}

bool keys_word(struct reader *r, const struct greta_json_val *v, const struct words *words, int *out)
{
	cleanup_buf struct greta_buf all = {0}, hint = {0};
	const char *s;
	int i;

	words_print(words, 0, &all);
	if (greta_json_str(v, &s)) {
		keys_unexpected(r, v, "one of %s", all.data);
		return false;
	}
	i = words_find(words, s);
	if (i < 0) {
		keys_suggest(s, words->names, (size_t)words->n, &hint);
		keys_unexpected(r, v, "one of %s%s", all.data, greta_buf_str(&hint));
		return false;
	}
	*out = i;
	return true;
}

static void read_text(struct reader *r, const struct greta_json_val *v, char **at)
{
	const char *s;

	if (greta_json_str(v, &s)) {
		keys_unexpected(r, v, "a string");
		return;
	}
	free(*at);
	*at = greta_strdup(s);
}

static void read_bool(struct reader *r, const struct greta_json_val *v, bool *at)
{
	if (greta_json_bool(v, at))
		keys_unexpected(r, v, "true or false");
}

static void read_word(struct reader *r, const struct greta_json_val *v, const struct words *words, void *at)
{
	int i;

	if (keys_word(r, v, words, &i))
		memcpy(at, &i, sizeof(i));
}

static void read_key(struct reader *r, const struct key *k, const struct greta_json_val *v, void *obj)
{
	void *at = (char *)obj + k->offset;

	switch (k->kind) {
	case KEY_I64:
		keys_i64(r, v, (int64_t)k->min, (int64_t)k->max, at);
		break;
	case KEY_F64:
		keys_f64(r, v, k->min, k->max, at);
		break;
	case KEY_BOOL:
		read_bool(r, v, at);
		break;
	case KEY_TEXT:
		read_text(r, v, at);
		break;
	case KEY_WORD:
		read_word(r, v, k->words, at);
		break;
	case KEY_READ:
		k->read(r, v, at);
		break;
	}
}

static bool known(const struct key *keys, const char *name)
{
	for (; keys->name; keys++)
		if (greta_str_eq(keys->name, name))
			return true;
	return false;
}

void keys_read(struct reader *r, const struct greta_json_val *object, const struct key *keys, void *obj)
{
	if (greta_json_type(object) != GRETA_JSON_OBJECT) {
		keys_unexpected(r, object, "an object");
		return;
	}
	for (const struct key *k = keys; k->name; k++) {
		const struct greta_json_val *v = greta_json_get(object, k->name);

		if (v)
			read_key(r, k, v, obj);
		else if (k->required)
			keys_error(r, object, "\"%s\" is missing; expected %s", k->name, k->expected);
	}
	for (const struct greta_json_val *v = greta_json_first(object); v; v = greta_json_next(v))
		if (!known(keys, greta_json_key(v)))
			unknown_key(r, v, keys);
}
