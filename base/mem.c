#include "base/mem.h"
#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Noreturn void out_of_memory(size_t bytes)
{
	char line[80];
	int n = snprintf(line, sizeof line, "greta: out of memory (%zu bytes wanted)\n", bytes);
	if (write(STDERR_FILENO, line, (size_t)n) < 0) {
		/* nobody left to tell */
	}
	abort();
}

void *greta_alloc(size_t bytes)
{
	void *p = calloc(1, bytes ? bytes : 1);
	if (!p)
		out_of_memory(bytes);
	return p;
}

void *greta_realloc(void *p, size_t bytes)
{
	p = realloc(p, bytes ? bytes : 1);
	if (!p)
		out_of_memory(bytes);
	return p;
}

void *greta_try_alloc(size_t n, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(n, size, &bytes) || bytes > PTRDIFF_MAX)
		return NULL;
	return calloc(1, bytes ? bytes : 1);
}

char *greta_strdup(const char *s)
{
	return s ? greta_strndup(s, strlen(s)) : NULL;
}

char *greta_strndup(const char *s, size_t len)
{
	size_t n = s ? strnlen(s, len) : 0;
	char *copy = greta_alloc(n + 1);
	if (n)
		memcpy(copy, s, n);
	return copy;
}

char *greta_format(const char *fmt, ...)
{
	char *text;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		out_of_memory(0);
	return text;
}

void *greta_array_grow(void *items, size_t size, size_t n, size_t *cap)
{
	if (n >= *cap) {
		size_t more = *cap ? *cap * 2 : 8, bytes;
		if (__builtin_mul_overflow(more, size, &bytes))
			out_of_memory(SIZE_MAX);
		items = greta_realloc(items, bytes);
		*cap = more;
	}
	memset((char *)items + n * size, 0, size);
	return items;
}

void greta_mem_keep(void)
{
	mallopt(M_TRIM_THRESHOLD, 16 << 20);
}
