#include "agent/logits.h"
#include "agent/files.h"
#include "agent/watch.h"
#include "base/cleanup.h"
#include "base/log.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOGITS_PATH "%s/scratch/logits.f32"
#define LOGITS_MAX (4 << 20) /* bytes: a vocabulary of a million tokens */

void logits_ask(struct supervise *s)
{
	if (s->spec.keep_logits)
		greta_strs_addf(&s->spec.env, "GRETA_LOGITS_FILE=" LOGITS_PATH, s->dir);
}

/* The engine's file is not to be trusted: no link is followed, and nothing but a plain file of whole floats is read. */
static int open_plain(const struct supervise *s, size_t *n)
{
	struct stat st;
	char path[FILE_PATH_MAX];
	int fd = open(file_path(path, LOGITS_PATH, s->dir), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= LOGITS_MAX && st.st_size % 4 == 0) {
		*n = (size_t)st.st_size;
		return fd;
	}
	close(fd);
	return -1;
}

void logits_keep(struct supervise *s)
{
	size_t n = 0;
	cleanup_buf struct greta_buf bytes = {0};
	cleanup_fd int fd = s->spec.keep_logits && s->end.outcome == GRETA_OUTCOME_GOOD ? open_plain(s, &n) : -1;
	if (fd < 0)
		return;
	ssize_t got = read(fd, greta_buf_reserve(&bytes, n), n);
	if (got != (ssize_t)n) {
		greta_warn("the logits that the engine left can't be read");
		return;
	}
	watch_tell_item(s, "logits", bytes.data, n);
}
