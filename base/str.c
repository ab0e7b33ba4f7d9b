#include "base/str.h"
#include "base/mem.h"
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool greta_str_eq(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool greta_str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool greta_str_ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);
	return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

/* strtoll and strtod take blanks, "+", hex, "inf" and "nan" as well. */
static bool is_number_of(const char *s, const char *chars)
{
	return s && *s && *s != '+' && s[strspn(s, chars)] == '\0';
}

int greta_str_i64(const char *s, int64_t *out)
{
	if (!is_number_of(s, "-0123456789"))
		return -1;
	char *end;
	errno = 0;
	long long v = strtoll(s, &end, 10);
	if (errno || *end || end == s)
		return -1;
	*out = v;
	return 0;
}

int greta_str_f64(const char *s, double *out)
{
	if (!is_number_of(s, "+-.0123456789eE"))
		return -1;
	/* glibc keeps the C locale in static memory: this allocates nothing. */
	locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	char *end;
	double v = strtod_l(s, &end, c);
	if (*end || end == s || !isfinite(v))
		return -1;
	*out = v;
	return 0;
}

/* The same byte in all eight places of a word. */
#define EIGHT(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Whether any of eight bytes is below one of 1 to 0x80: a borrow reaches its highest bit, which it did not have. */
static bool has_below(uint64_t eight, unsigned char byte)
{
	return (eight - EIGHT(byte)) & ~eight & EIGHT(0x80);
}

static bool are_plain(const char *eight_bytes)
{
	uint64_t eight;
	memcpy(&eight, eight_bytes, sizeof eight);
	return !(eight & EIGHT(0x80)) && !has_below(eight, ' ') && !has_below(eight ^ EIGHT('"'), 1) &&
	       !has_below(eight ^ EIGHT('\\'), 1);
}

size_t greta_str_plain(const char *s, size_t n)
{
	static const bool plain[256] = {[' ' ... '!'] = true, ['#' ... '['] = true, [']' ... 0x7f] = true};
	size_t i = 0;
	while (n - i >= 8 && are_plain(s + i))
		i += 8;
	while (i < n && plain[(unsigned char)s[i]])
		i++;
	return i;
}

size_t greta_str_utf8_len(const char *text, size_t n)
{
	const unsigned char *s = (const unsigned char *)text;
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

void greta_str_copy(char *dst, size_t cap, const char *src)
{
	if (!cap)
		return;
	size_t n = strnlen(src, cap - 1);
	memcpy(dst, src, n);
	dst[n] = '\0';
}

bool greta_str_in(const char *s, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (greta_str_eq(s, list[i]))
			return true;
	return false;
}

void greta_strs_add(struct greta_strs *v, const char *s)
{
	*GRETA_PUSH(v->items, v->n, v->cap) = greta_strdup(s ? s : "");
	(void)GRETA_PUSH(v->items, v->n, v->cap); /* the NULL behind the last */
	v->n--;
}

void greta_strs_addf(struct greta_strs *v, const char *fmt, ...)
{
	char *text;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	greta_strs_add(v, n < 0 ? "" : text);
	if (n >= 0)
		free(text);
}

bool greta_strs_has(const struct greta_strs *v, const char *s)
{
	return greta_str_in(s, (const char *const *)v->items, v->n);
}

void greta_strs_release(struct greta_strs *v)
{
	for (size_t i = 0; i < v->n; i++)
		free(v->items[i]);
	free(v->items);
	*v = (struct greta_strs){0};
}

/* Three digits: 999.6 reads "1.0 k", not "1000". */
char *greta_str_bytes(char *out, size_t cap, double bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
	size_t unit = 0;
	double v = fabs(bytes);
	if (!isfinite(bytes)) {
		greta_str_copy(out, cap, "?");
		return out;
	}
	while (v >= 999.5 && unit + 1 < GRETA_COUNT(units)) {
		v /= 1000;
		unit++;
	}
	snprintf(out, cap, "%s%.*f %s", bytes < 0 ? "-" : "", unit && v < 99.95, v, units[unit]);
	return out;
}

static void long_seconds(char *out, size_t cap, const char *sign, double s)
{
	if (s >= 1e15) {
		snprintf(out, cap, "%s%.3g d", sign, s / 86400);
		return;
	}
	long long t = llround(s), minutes = (t + 30) / 60, hours = (t + 1800) / 3600;
	if (t < 3600)
		snprintf(out, cap, "%s%lld min %02lld s", sign, t / 60, t % 60);
	else if (minutes < 48 * 60)
		snprintf(out, cap, "%s%lld h %02lld min", sign, minutes / 60, minutes % 60);
	else
		snprintf(out, cap, "%s%lld d %02lld h", sign, hours / 24, hours % 24);
}

char *greta_str_seconds(char *out, size_t cap, double s)
{
	const char *sign = s < 0 ? "-" : "";
	double v = fabs(s);
	if (!isfinite(s))
		greta_str_copy(out, cap, "?");
	else if (v == 0)
		snprintf(out, cap, "0 s");
	else if (v < 0.0009995)
		snprintf(out, cap, "%s%.*f us", sign, v < 99.95e-6, v * 1e6);
	else if (v < 0.9995)
		snprintf(out, cap, "%s%.*f ms", sign, v < 99.95e-3, v * 1e3);
	else if (v < 119.95)
		snprintf(out, cap, "%s%.1f s", sign, v);
	else
		long_seconds(out, cap, sign, v);
	return out;
}

int greta_str_distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	int *row = greta_alloc((m + 1) * sizeof *row);
	for (size_t j = 0; j <= m; j++)
		row[j] = (int)j;
	for (size_t i = 1; i <= n; i++) {
		int diagonal = row[0];
		row[0] = (int)i;
		for (size_t j = 1; j <= m; j++) {
			int best = diagonal + (a[i - 1] != b[j - 1]);
			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	int distance = row[m];
	free(row);
	return distance;
}
