#include "agent/journal.h"
#include "agent/tail.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Nothing may be written behind a part of a frame, or over it by a shorter one. */
static bool cut(struct journal *j)
{
	struct stat st;
	bool whole = fstat(j->fd, &st) == 0 && st.st_size == j->bytes;
	j->torn = (!whole && ftruncate(j->fd, j->bytes) != 0) || lseek(j->fd, j->bytes, SEEK_SET) < 0;
	return !j->torn;
}

int journal_open(struct journal *j, const char *dir, const char *attempt, struct greta_err *e)
{
	struct tail t;
	cleanup_free char *path = greta_fs_join(dir, "events");
	*j = (struct journal){0};
	greta_str_copy(j->attempt, sizeof j->attempt, attempt);
	if (tail_open(&t, dir, 0, e) != 0)
		return -1;
	while (tail_next_written(&t) == 1) {
		j->seq = t.seq;
		j->bytes = t.offset;
	}
	tail_close(&t);
	j->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (j->fd < 0)
		return greta_err_sys(e, "can't open %s", path);
	return cut(j) ? 0 : greta_err_sys(e, "can't cut %s", path);
}

static bool lose(struct journal *j, enum greta_event_kind kind, int sys)
{
	j->lost[kind]++;
	j->lost_errno = sys;
	return false;
}

/* All or nothing: a frame of which only a part fits is taken back. */
static bool write_frame(struct journal *j, enum greta_event_kind kind)
{
	struct greta_err e = {0};
	if (j->torn && !cut(j))
		return lose(j, kind, errno);
	if (greta_fs_write_all(j->fd, j->frame.data, j->frame.len, &e) != 0) {
		cut(j);
		return lose(j, kind, e.sys);
	}
	j->bytes += (int64_t)j->frame.len;
	return true;
}

bool journal_add_bytes(struct journal *j, enum greta_event_kind kind, const char *detail, const void *bytes, size_t n)
{
	struct greta_err e = {0};
	struct greta_event ev = {
		.seq = j->seq + 1,
		.kind = kind,
		.boot_ns = greta_clock_boot_ns(),
		.wall_ns = greta_clock_wall_ns(),
		.detail = (char *)(detail ? detail : "{}"),
		.bytes = (char *)bytes,
		.n_bytes = n,
	};
	struct greta_msg m = {.type = GRETA_MSG_EVENT, .event = &ev};
	greta_str_copy(ev.attempt, sizeof ev.attempt, j->attempt);
	greta_str_copy(m.attempt, sizeof m.attempt, j->attempt);
	greta_buf_clear(&j->frame);
	if (greta_msg_encode(&m, &j->frame, &e) != 0)
		return lose(j, kind, EMSGSIZE);
	if (!write_frame(j, kind))
		return false;
	j->seq++;
	return true;
}

bool journal_add(struct journal *j, enum greta_event_kind kind, const char *detail)
{
	return journal_add_bytes(j, kind, detail, NULL, 0);
}

int64_t journal_lost(const struct journal *j)
{
	int64_t n = 0;
	for (int i = 0; i < GRETA_EVENT_COUNT; i++)
		n += j->lost[i];
	return n;
}

int journal_sync(struct journal *j, struct greta_err *e)
{
	return fdatasync(j->fd) == 0 ? 0 : greta_err_sys(e, "can't sync the events");
}

void journal_close(struct journal *j)
{
	if (j->fd > 0)
		close(j->fd);
	j->fd = 0;
	greta_buf_release(&j->frame);
}
