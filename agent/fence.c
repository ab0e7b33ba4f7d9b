#include "agent/fence.h"
#include "agent/files.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* One lock for all databases of the spool; held for the length of an action. */
static int lock(const struct fence *f, int how, struct greta_err *e)
{
	cleanup_free char *dir = greta_strndup(f->path, (size_t)(strrchr(f->path, '/') - f->path));
	cleanup_free char *path = greta_fs_join(dir, ".lock");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return greta_err_sys(e, "can't open %s", path);
	if (flock(fd, how) == 0)
		return fd;
	greta_err_sys(e, "can't lock %s", path);
	close(fd);
	return -1;
}

/* "7 gpu-box:4711"; no file: 0. */
static void read_highest(struct fence *f)
{
	char text[64 + FENCE_PEER_CAP];
	char *rest = text;
	f->highest = 0;
	f->peer[0] = '\0';
	if (file_text(f->path, NULL, text, sizeof text) != 0)
		return;
	f->highest = strtoll(text, &rest, 10);
	greta_str_copy(f->peer, sizeof f->peer, rest + strspn(rest, " "));
}

static int write_highest(struct fence *f, const char *peer, struct greta_err *e)
{
	char text[64 + FENCE_PEER_CAP];
	int n = snprintf(text, sizeof text, "%" PRId64 " %.*s\n", f->mine, FENCE_PEER_CAP - 1, peer);
	return greta_fs_write_atomic(f->path, text, (size_t)n, 0600, e);
}

int fence_raise(struct fence *f, const char *spool, const char *db, int64_t mine, const char *peer, struct greta_err *e)
{
	*f = (struct fence){.path = greta_format("%s/fence/%s", spool, db), .mine = mine};
	cleanup_fd int fd = lock(f, LOCK_EX, e);
	if (fd < 0)
		return -1;
	read_highest(f);
	if (mine > f->highest) {
		if (write_highest(f, peer && *peer ? peer : "unnamed controller", e) != 0)
			return -1;
		read_highest(f);
	}
	return 0;
}

int fence_enter(struct fence *f, const char *action, struct greta_err *e)
{
	int fd = lock(f, LOCK_SH, e);
	if (fd < 0)
		return -1;
	read_highest(f);
	if (f->mine >= f->highest)
		return fd;
	close(fd);
	return greta_err_set(e, GRETA_EFENCED,
			     "%s refused: controller %s (fence %" PRId64 ") owns this database now, yours is %" PRId64
			     "; end this controller, or resume it to take over", action, f->peer, f->highest, f->mine);
}

void fence_release(struct fence *f)
{
	free(f->path);
	*f = (struct fence){0};
}
