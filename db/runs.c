#include "db/runs.h"

#include "base/mem.h"
#include "base/str.h"
#include <stdlib.h>
#include <string.h>

void runs_add(struct runs *r, enum greta_stream stream, size_t n)
{
	if (n == 0)
		return;
	if (r->n && r->items[r->n - 1].stream == stream)
		r->items[r->n - 1].n += n;
	else
		*GRETA_PUSH(r->items, r->n, r->cap) = (struct run){stream, n};
}

/* "out" or "err" at *at, which moves behind it. */
static int parse_stream(const char **at, enum greta_stream *stream)
{
	if (greta_str_starts(*at, "out"))
		*stream = GRETA_STREAM_OUT;
	else if (greta_str_starts(*at, "err"))
		*stream = GRETA_STREAM_ERR;
	else
		return -1;
	*at += 3;
	return 0;
}

int runs_parse(const char *text, size_t total, struct runs *out)
{
	size_t sum = 0;

	while (*text) {
		enum greta_stream stream;
		unsigned long long n;
		char *end;

		if (parse_stream(&text, &stream))
			return -1;
		if (!*text && sum == 0) {
			runs_add(out, stream, total);
			return 0;
		}
		if (text[0] != ' ' || text[1] < '0' || text[1] > '9')
			return -1;
		n = strtoull(text + 1, &end, 10);
		if (n > total - sum)
			return -1;
		runs_add(out, stream, (size_t)n);
		sum += (size_t)n;
		text = end + (*end == ' ');
	}
	return sum == total ? 0 : -1;
}

void runs_print(const struct runs *r, struct greta_buf *out)
{
	for (size_t i = 0; i < r->n; i++) {
		greta_buf_addf(out, "%s%s", i ? " " : "", r->items[i].stream == GRETA_STREAM_ERR ? "err" : "out");
		if (r->n > 1)
			greta_buf_addf(out, " %zu", r->items[i].n);
	}
}

void runs_cut(struct runs *r, size_t n, struct runs *rest)
{
	struct runs all = *r;

	*r = (struct runs){0};
	for (size_t i = 0; i < all.n; i++) {
		size_t here = all.items[i].n < n ? all.items[i].n : n;

		runs_add(r, all.items[i].stream, here);
		runs_add(rest, all.items[i].stream, all.items[i].n - here);
		n -= here;
	}
	runs_release(&all);
}

enum greta_stream runs_at(const struct runs *r, size_t offset)
{
	for (size_t i = 0; i < r->n; i++) {
		if (offset < r->items[i].n)
			return r->items[i].stream;
		offset -= r->items[i].n;
	}
	return GRETA_STREAM_OUT;
}

void runs_clear(struct runs *r)
{
	r->n = 0;
}

void runs_release(struct runs *r)
{
	free(r->items);
	*r = (struct runs){0};
}
