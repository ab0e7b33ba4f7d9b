#include "agent/logs.h"
#include "base/mem.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define PART_MIN 4096 /* of head or tail of one stream */

void logs_init(struct logs *l, int64_t limit_bytes, struct logs_sink sink)
{
	int64_t part = limit_bytes / (2 * LOGS_STREAMS);
	if (part < PART_MIN)
		part = PART_MIN;
	*l = (struct logs){.sink = sink};
	for (int i = 0; i < LOGS_STREAMS; i++) {
		l->streams[i].head_end = part;
		l->streams[i].ring_cap = (size_t)part;
		l->streams[i].ring = greta_alloc((size_t)part); /* pages are touched as they are needed */
	}
}

static void flush_stream(struct logs *l, enum logs_stream stream)
{
	struct logs_capture *c = &l->streams[stream];
	for (size_t at = 0, n; at < c->head.len; at += n) {
		n = c->head.len - at < LOGS_CHUNK ? c->head.len - at : LOGS_CHUNK;
		l->sink.chunk(l->sink.arg, stream, c->handed, c->head.data + at, n);
		c->handed += (int64_t)n;
	}
	greta_buf_clear(&c->head);
}

static void into_ring(struct logs_capture *c, const char *bytes, size_t n)
{
	int64_t at = c->total;
	if (n > c->ring_cap) {
		at += (int64_t)(n - c->ring_cap);
		bytes += n - c->ring_cap;
		n = c->ring_cap;
	}
	size_t to = (size_t)(at % (int64_t)c->ring_cap);
	size_t first = n < c->ring_cap - to ? n : c->ring_cap - to;
	memcpy(c->ring + to, bytes, first);
	memcpy(c->ring, bytes + first, n - first);
}

void logs_take(struct logs *l, enum logs_stream stream, const char *bytes, size_t n)
{
	struct logs_capture *c = &l->streams[stream];
	int64_t room = c->head_end - c->total;
	if (room > 0)
		greta_buf_add(&c->head, bytes, (int64_t)n < room ? n : (size_t)room);
	into_ring(c, bytes, n);
	c->total += (int64_t)n;
	if (c->head.len >= LOGS_CHUNK)
		flush_stream(l, stream);
}

bool logs_waiting(const struct logs *l)
{
	return l->streams[LOGS_OUT].head.len || l->streams[LOGS_ERR].head.len;
}

void logs_flush(struct logs *l)
{
	for (int i = 0; i < LOGS_STREAMS; i++)
		flush_stream(l, (enum logs_stream)i);
}

static int64_t tail_from(const struct logs_capture *c)
{
	int64_t from = c->total - (int64_t)c->ring_cap;
	return from > c->head_end ? from : c->head_end;
}

static void end_stream(struct logs *l, enum logs_stream stream)
{
	struct logs_capture *c = &l->streams[stream];
	int64_t from = tail_from(c);
	if (from > c->head_end && c->total > from)
		l->sink.gap(l->sink.arg, stream, c->head_end, from - c->head_end);
	for (int64_t at = from; at < c->total;) {
		size_t to = (size_t)(at % (int64_t)c->ring_cap);
		size_t n = c->ring_cap - to;
		if (n > LOGS_CHUNK)
			n = LOGS_CHUNK;
		if ((int64_t)n > c->total - at)
			n = (size_t)(c->total - at);
		l->sink.chunk(l->sink.arg, stream, at, c->ring + to, n);
		at += (int64_t)n;
	}
}

void logs_end(struct logs *l)
{
	logs_flush(l);
	for (int i = 0; i < LOGS_STREAMS; i++)
		end_stream(l, (enum logs_stream)i);
}

int64_t logs_total(const struct logs *l)
{
	return l->streams[LOGS_OUT].total + l->streams[LOGS_ERR].total;
}

int64_t logs_dropped(const struct logs *l)
{
	int64_t n = 0;
	for (int i = 0; i < LOGS_STREAMS; i++)
		if (l->streams[i].total > l->streams[i].head_end)
			n += tail_from(&l->streams[i]) - l->streams[i].head_end;
	return n;
}

size_t logs_tail(const struct logs *l, enum logs_stream stream, char *out, size_t cap)
{
	const struct logs_capture *c = &l->streams[stream];
	size_t n = (int64_t)c->ring_cap < c->total ? c->ring_cap : (size_t)c->total;
	if (n > cap)
		n = cap;
	for (size_t i = 0; i < n; i++)
		out[i] = c->ring[(size_t)((c->total - (int64_t)(n - i)) % (int64_t)c->ring_cap)];
	return n;
}

static bool last_line_of(const struct logs *l, enum logs_stream stream, char *out, size_t cap)
{
	char tail[1024];
	size_t end = logs_tail(l, stream, tail, sizeof tail);
	while (end > 0 && isspace((unsigned char)tail[end - 1]))
		end--;
	size_t from = end;
	while (from > 0 && tail[from - 1] != '\n')
		from--;
	size_t n = end - from < cap - 1 ? end - from : cap - 1;
	memcpy(out, tail + from, n);
	out[n] = '\0';
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)out[i] < ' ')
			out[i] = ' ';
	return n > 0;
}

void logs_last_line(const struct logs *l, char *out, size_t cap)
{
	if (!last_line_of(l, LOGS_ERR, out, cap))
		last_line_of(l, LOGS_OUT, out, cap);
}

void logs_release(struct logs *l)
{
	for (int i = 0; i < LOGS_STREAMS; i++) {
		greta_buf_release(&l->streams[i].head);
		free(l->streams[i].ring);
	}
	*l = (struct logs){0};
}
