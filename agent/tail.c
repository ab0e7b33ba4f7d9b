#include "agent/tail.h"
#include "agent/spool.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES (64 * 1024)

int tail_open(struct tail *t, const char *dir, int64_t after, struct greta_err *e)
{
	cleanup_free char *path = greta_fs_join(dir, "events");
	*t = (struct tail){.after = after};
	t->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (t->fd < 0)
		return greta_err_sys(e, "can't open %s", path);
	t->dir = greta_strdup(dir);
	return 0;
}

/* Not behind what is there of a frame, but from its beginning: its writer may have taken it back, and written another one
 * in its place. 0: as far as the file goes. */
static int fill(struct tail *t, struct greta_err *e)
{
	size_t want = t->buf.len - t->used + READ_BYTES;
	t->used = 0;
	greta_buf_clear(&t->buf);
	ssize_t got = pread(t->fd, greta_buf_reserve(&t->buf, want), want, t->offset);
	if (got < 0)
		return greta_err_sys(e, "can't read the events of %s", t->dir);
	t->buf.len = (size_t)got;
	t->buf.data[t->buf.len] = '\0';
	return (size_t)got == want;
}

static const char *attempt_of(const struct tail *t)
{
	const char *slash = strrchr(t->dir, '/');
	return slash ? slash + 1 : t->dir;
}

/* The engine may write into the file: of its own attempt what it likes, except how that ends, and of no other. */
static bool belongs(const struct tail *t, const struct greta_msg *m)
{
	return m->type == GRETA_MSG_EVENT && m->event && !m->re && m->event->kind != GRETA_EVENT_OUTCOME &&
	       strcmp(m->event->attempt, attempt_of(t)) == 0;
}

static int take_frame(struct tail *t, struct greta_err *e)
{
	struct greta_msg m = {0};
	ssize_t n = greta_msg_decode(t->buf.data + t->used, t->buf.len - t->used, &m, e);
	if (n <= 0)
		return (int)n;
	bool ours = belongs(t, &m);
	if (ours) {
		t->frame = t->buf.data + t->used;
		t->n_frame = (size_t)n;
		t->seq = m.event->seq;
		t->kind = m.event->kind;
		t->used += (size_t)n;
		t->offset += n;
	}
	greta_msg_release(&m);
	return ours ? 1 : greta_err_set(e, GRETA_EPROTO, "%s/events holds something that is no event of this attempt", t->dir);
}

/* Of what was read already. */
static int next_at_hand(struct tail *t, struct greta_err *e)
{
	return t->used < t->buf.len ? take_frame(t, e) : 0;
}

/* The next frame of the file, whatever its number. */
static int next_in_file(struct tail *t, struct greta_err *e)
{
	int got = next_at_hand(t, e);
	for (int more = 1; got == 0 && more;) {
		more = fill(t, e);
		if (more < 0)
			return -1;
		got = next_at_hand(t, e);
	}
	return got;
}

int tail_next_written(struct tail *t)
{
	return next_in_file(t, NULL) == 1 ? 1 : 0;
}

/* A power cut may have taken events that the controller has committed: then the outcome comes after those. Whether the
 * last number that it knows was the outcome's can't be told from here, so that it is told again. */
static int64_t outcome_seq(const struct tail *t)
{
	return (t->after > t->seq ? t->after : t->seq) + 1;
}

static int make_outcome(struct tail *t, struct greta_err *e)
{
	cleanup_free char *path = greta_fs_join(t->dir, "outcome.json");
	cleanup_buf struct greta_buf text = {0};
	struct greta_end end = {0};
	if (greta_fs_read(path, SPOOL_OUTCOME_RESERVE, &text, e) != 0 ||
	    greta_end_parse(greta_buf_str(&text), text.len, &end, e) != 0)
		return -1;
	/* Its boot time is worked out from the wall clock: right unless that was set in between. */
	struct greta_event ev = {
		.seq = outcome_seq(t),
		.kind = GRETA_EVENT_OUTCOME,
		.wall_ns = end.finished_wall_ns,
		.boot_ns = greta_clock_boot_ns() - (greta_clock_wall_ns() - end.finished_wall_ns),
		.detail = text.data,
	};
	struct greta_msg m = {.type = GRETA_MSG_EVENT, .event = &ev};
	greta_str_copy(ev.attempt, sizeof ev.attempt, attempt_of(t));
	greta_str_copy(m.attempt, sizeof m.attempt, ev.attempt);
	greta_end_release(&end);
	return greta_msg_encode(&m, &t->outcome, e);
}

static int next_outcome(struct tail *t, struct greta_err *e)
{
	if (make_outcome(t, e) != 0)
		return -1;
	t->frame = t->outcome.data;
	t->n_frame = t->outcome.len;
	t->seq = outcome_seq(t);
	t->kind = GRETA_EVENT_OUTCOME;
	t->ended = true;
	return 1;
}

int tail_next(struct tail *t, struct greta_err *e)
{
	while (!t->ended) {
		bool finished = false;
		int got = next_at_hand(t, e);
		if (got != 1) {
			/* Asked before reading to the end: what was written before the outcome is then surely seen. */
			finished = spool_is_finished(t->dir);
			got = next_in_file(t, e);
		}
		if (got < 0 && !finished)
			return -1;
		if (got == 1 && t->seq > t->after)
			return 1;
		if (got <= 0)
			return finished ? next_outcome(t, e) : 0;
	}
	return 0;
}

int tail_decode(const struct tail *t, struct greta_msg *out, struct greta_err *e)
{
	return greta_msg_decode(t->frame, t->n_frame, out, e) > 0 ? 0 : -1;
}

void tail_close(struct tail *t)
{
	if (t->dir)
		close(t->fd);
	free(t->dir);
	greta_buf_release(&t->buf);
	greta_buf_release(&t->outcome);
	*t = (struct tail){0};
}
