#include "base/buf.h"
#include "base/mem.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void grow(struct greta_buf *b, size_t n)
{
	size_t need, cap = b->cap > SIZE_MAX / 4 ? 0 : b->cap * 2;
	if (__builtin_add_overflow(b->len, n, &need) || need >= PTRDIFF_MAX)
		need = SIZE_MAX; /* greta_realloc says so and aborts */
	else
		need++;
	if (cap < need)
		cap = need;
	if (cap < 64)
		cap = 64;
	b->data = greta_realloc(b->data, cap);
	b->cap = cap;
}

char *greta_buf_reserve(struct greta_buf *b, size_t n)
{
	if (n >= b->cap || b->len >= b->cap - n)
		grow(b, n);
	b->data[b->len] = '\0';
	return b->data + b->len;
}

void greta_buf_add(struct greta_buf *b, const void *bytes, size_t n)
{
	char *to = greta_buf_reserve(b, n);
	if (n)
		memcpy(to, bytes, n);
	b->len += n;
	b->data[b->len] = '\0';
}

void greta_buf_adds(struct greta_buf *b, const char *s)
{
	greta_buf_add(b, s, strlen(s));
}

void greta_buf_addc(struct greta_buf *b, char c)
{
	char *to = greta_buf_reserve(b, 1);
	to[0] = c;
	to[1] = '\0';
	b->len++;
}

void greta_buf_addi(struct greta_buf *b, int64_t n)
{
	char text[20], *end = text + sizeof text, *at = end; /* -9223372036854775808 */
	uint64_t left = n < 0 ? -(uint64_t)n : (uint64_t)n;
	do
		*--at = (char)('0' + left % 10);
	while (left /= 10);
	if (n < 0)
		*--at = '-';
	greta_buf_add(b, at, (size_t)(end - at));
}

void greta_buf_vaddf(struct greta_buf *b, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0)
		return;
	char *to = greta_buf_reserve(b, (size_t)n);
	vsnprintf(to, (size_t)n + 1, fmt, ap);
	b->len += (size_t)n;
}

void greta_buf_addf(struct greta_buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	greta_buf_vaddf(b, fmt, ap);
	va_end(ap);
}

void greta_buf_add_word(struct greta_buf *b, const char *s)
{
	greta_buf_addc(b, '\'');
	for (; *s; s++) {
		if (*s == '\'')
			greta_buf_adds(b, "'\\''");
		else
			greta_buf_addc(b, *s);
	}
	greta_buf_addc(b, '\'');
}

void greta_buf_consume(struct greta_buf *b, size_t n)
{
	if (n > b->len)
		n = b->len;
	if (!n)
		return;
	b->len -= n;
	memmove(b->data, b->data + n, b->len);
	b->data[b->len] = '\0';
}

void greta_buf_clear(struct greta_buf *b)
{
	b->len = 0;
	if (b->data)
		b->data[0] = '\0';
}

void greta_buf_release(struct greta_buf *b)
{
	free(b->data);
	*b = (struct greta_buf){0};
}

char *greta_buf_steal(struct greta_buf *b)
{
	char *s = b->data;
	if (s)
		s[b->len] = '\0'; /* who wrote into reserved room may not have */
	else
		s = greta_strdup("");
	*b = (struct greta_buf){0};
	return s;
}

const char *greta_buf_str(const struct greta_buf *b)
{
	if (!b->data)
		return "";
	b->data[b->len] = '\0';
	return b->data;
}
