#include "base/jsonw.h"
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct greta_jsonw greta_jsonw(struct greta_buf *out)
{
	return (struct greta_jsonw){.out = out};
}

/* Length of the well-formed UTF-8 character at s (at most n bytes), 0 if there is none: overlong forms, surrogates and
 * what lies above U+10FFFF are not. */
static size_t utf8_len(const unsigned char *s, size_t n)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
	if (len > n)
		return 0;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i < len; i++) {
		if (s[i] < low || s[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return len;
}

static void add_escape(struct greta_buf *out, unsigned char c)
{
	static const char letters[0x20] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
	if (c >= 0x20)
		greta_buf_addf(out, "\\%c", c);
	else if (letters[c])
		greta_buf_addf(out, "\\%c", letters[c]);
	else
		greta_buf_addf(out, "\\u%04x", c);
}

static void add_string(struct greta_buf *out, const char *text, size_t n)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t plain = 0; /* bytes before s[i] that go out as they are */
	greta_buf_addc(out, '"');
	for (size_t i = 0; i < n;) {
		size_t len = utf8_len(s + i, n - i);
		if (len && s[i] >= 0x20 && s[i] != '"' && s[i] != '\\') {
			i += len;
			plain += len;
			continue;
		}
		greta_buf_add(out, s + i - plain, plain);
		plain = 0;
		if (len)
			add_escape(out, s[i]);
		else
			greta_buf_adds(out, "\xef\xbf\xbd");
		i++;
	}
	greta_buf_add(out, s + n - plain, plain);
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
	greta_buf_addf(w->out, "%" PRId64, value);
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
