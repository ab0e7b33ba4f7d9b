#include "agent/progress.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

void progress_init(struct progress *p)
{
	*p = (struct progress){.burst_left = PROGRESS_BURST, .told_ns = INT64_MIN / 2};
}

static bool take_line(struct progress *p, const char *line, size_t n)
{
	struct greta_progress now = {0};
	if (n == 0)
		return false;
	if (greta_progress_parse(line, n, &now, NULL) != 0) {
		p->n_garbled++;
		return false;
	}
	if (now.phase != p->last.phase || p->n_lines == 0)
		p->urgent = true;
	p->last = now;
	*GRETA_PUSH(p->fresh, p->n_fresh, p->cap_fresh) = now;
	p->waiting = true;
	p->n_lines++;
	return true;
}

/* One piece up to a newline or the end of what came. */
static bool take_piece(struct progress *p, const char *piece, size_t n, bool whole)
{
	bool understood = false;
	if (!p->skipping && p->line.len + n > PROGRESS_LINE_MAX) {
		p->skipping = true;
		p->n_garbled++;
	}
	if (!p->skipping)
		greta_buf_add(&p->line, piece, n);
	if (!whole)
		return false;
	if (!p->skipping)
		understood = take_line(p, p->line.data, p->line.len);
	p->skipping = false;
	greta_buf_clear(&p->line);
	return understood;
}

bool progress_feed(struct progress *p, const char *bytes, size_t n)
{
	bool understood = false;
	p->n_fresh = 0;
	while (n > 0) {
		const char *newline = memchr(bytes, '\n', n);
		size_t len = newline ? (size_t)(newline - bytes) : n;
		understood |= take_piece(p, bytes, len, newline != NULL);
		bytes += len + (newline != NULL);
		n -= len + (newline != NULL);
	}
	return understood;
}

bool progress_due(struct progress *p, int64_t now_ns)
{
	bool in_time = now_ns - p->told_ns >= PROGRESS_EVERY_NS;
	if (!p->waiting || (!in_time && !(p->urgent && p->burst_left > 0)))
		return false;
	if (in_time && p->burst_left < PROGRESS_BURST)
		p->burst_left++;
	else if (!in_time)
		p->burst_left--;
	p->waiting = p->urgent = false;
	p->told_ns = now_ns;
	return true;
}

int64_t progress_wait_ns(const struct progress *p, int64_t now_ns)
{
	if (!p->waiting)
		return -1;
	int64_t left = p->told_ns + PROGRESS_EVERY_NS - now_ns;
	return left > 0 ? left : 0;
}

void progress_release(struct progress *p)
{
	greta_buf_release(&p->line);
	free(p->fresh);
	p->fresh = NULL;
	p->n_fresh = p->cap_fresh = 0;
}
