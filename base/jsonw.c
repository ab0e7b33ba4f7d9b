#include "base/jsonw.h"
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct greta_jsonw greta_jsonw(struct greta_buf *out)
{
	return (struct greta_jsonw){.out = out};
}

static void add_escape(struct greta_buf *out, unsigned char c)
{
	static const char letters[0x20] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
	char letter = (char)(c >= 0x20 ? c : (unsigned char)letters[c]);
	if (!letter) {
		greta_buf_addf(out, "\\u%04x", c);
		return;
	}
	greta_buf_addc(out, '\\');
	greta_buf_addc(out, letter);
}

static void add_string(struct greta_buf *out, const char *text, size_t n)
{
	const char *end = text + n;
	greta_buf_addc(out, '"');
	while (text < end) {
		size_t plain = greta_str_plain(text, (size_t)(end - text)), len;
		greta_buf_add(out, text, plain);
		text += plain;
		if (text == end)
			break;
		len = greta_str_utf8_len(text, (size_t)(end - text));
		if (len > 1)
			greta_buf_add(out, text, len);
		else if (len)
			add_escape(out, (unsigned char)*text);
		else
			greta_buf_adds(out, "\xef\xbf\xbd");
		text += len ? len : 1;
	}
	greta_buf_addc(out, '"');
}

static void begin_value(struct greta_jsonw *w, const char *key)
{
	if (w->comma)
		greta_buf_addc(w->out, ',');
	w->comma = true;
	if (key) {
		add_string(w->out, key, strlen(key));
		greta_buf_addc(w->out, ':');
	}
}

void greta_jsonw_object(struct greta_jsonw *w, const char *key)
{
	begin_value(w, key);
	greta_buf_addc(w->out, '{');
	w->comma = false;
}

void greta_jsonw_array(struct greta_jsonw *w, const char *key)
{
	begin_value(w, key);
	greta_buf_addc(w->out, '[');
	w->comma = false;
}

void greta_jsonw_end_object(struct greta_jsonw *w)
{
	greta_buf_addc(w->out, '}');
	w->comma = true;
}

void greta_jsonw_end_array(struct greta_jsonw *w)
{
	greta_buf_addc(w->out, ']');
	w->comma = true;
}

void greta_jsonw_str(struct greta_jsonw *w, const char *key, const char *value)
{
	greta_jsonw_strn(w, key, value, value ? strlen(value) : 0);
}

void greta_jsonw_strn(struct greta_jsonw *w, const char *key, const char *value, size_t n)
{
	if (!value) {
		greta_jsonw_null(w, key);
		return;
	}
	begin_value(w, key);
	add_string(w->out, value, n);
}

void greta_jsonw_i64(struct greta_jsonw *w, const char *key, int64_t value)
{
	begin_value(w, key);
	greta_buf_addi(w->out, value);
}

void greta_jsonw_f64(struct greta_jsonw *w, const char *key, double value)
{
	if (!isfinite(value)) {
		greta_jsonw_null(w, key);
		return;
	}
	bool whole = fabs(value) < 1e15 && value == trunc(value) && !(value == 0 && signbit(value));
	if (whole) {
		greta_jsonw_i64(w, key, (int64_t)value);
		return;
	}
	char text[40];
	locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), was = uselocale(c);
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	uselocale(was);
	greta_jsonw_raw(w, key, text);
}

void greta_jsonw_bool(struct greta_jsonw *w, const char *key, bool value)
{
	greta_jsonw_raw(w, key, value ? "true" : "false");
}

void greta_jsonw_null(struct greta_jsonw *w, const char *key)
{
	greta_jsonw_raw(w, key, "null");
}

void greta_jsonw_raw(struct greta_jsonw *w, const char *key, const char *json)
{
	begin_value(w, key);
	greta_buf_adds(w->out, json);
}

void greta_jsonw_strs(struct greta_jsonw *w, const char *key, const struct greta_strs *list)
{
	greta_jsonw_array(w, key);
	for (size_t i = 0; i < list->n; i++)
		greta_jsonw_str(w, NULL, list->items[i]);
	greta_jsonw_end_array(w);
}

void greta_jsonw_lines(struct greta_jsonw *w, const char *key, const char *text)
{
	greta_jsonw_array(w, key);
	while (*text) {
		size_t n = strcspn(text, "\n");
		greta_jsonw_strn(w, NULL, text, n);
		text += n + (text[n] == '\n');
	}
	greta_jsonw_end_array(w);
}
