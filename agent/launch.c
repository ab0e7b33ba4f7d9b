#include "agent/launch.h"
#include "agent/spool.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOCK_FD 3

/* Our children until they end or we do. */
static struct {
	pid_t *items;
	size_t n, cap;
} launched;

void launch_reap(void)
{
	for (size_t i = 0; i < launched.n;)
		if (waitpid(launched.items[i], NULL, WNOHANG) != 0)
			launched.items[i] = launched.items[--launched.n];
		else
			i++;
}

int launch_supervisor(const char *dir, int lock_fd, bool recover, struct greta_err *e)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	self[n > 0 ? n : 0] = '\0';
	/* A binary that has been replaced meanwhile is still reachable as what we are. */
	const char *program = n > 0 && access(self, X_OK) == 0 ? self : "/proc/self/exe";
	cleanup_free char *log = greta_format("%s/../../supervisor.log", dir);
	cleanup_fd int lock = lock_fd;
	cleanup_fd int err = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	const char *const argv[] = {program, "supervise", dir, recover ? "--recover" : NULL, NULL};
	const struct greta_child_fd fds[] = {{null, 0}, {null, 1}, {err >= 0 ? err : null, 2}, {lock, LOCK_FD}};
	const struct greta_child_spec spec = {
		.argv = argv,
		.cwd = "/",
		.fds = fds,
		.n_fds = GRETA_COUNT(fds),
		.new_session = true,
	};
	pid_t pid = greta_child_spawn(&spec, e);
	if (pid < 0)
		return -1;
	*GRETA_PUSH(launched.items, launched.n, launched.cap) = pid;
	return 0;
}

bool launch_adopt(const char *dir, struct greta_err *e)
{
	char note[SPOOL_RECORD];
	int fd = spool_is_finished(dir) ? -1 : spool_lock(dir, NULL);
	if (fd < 0)
		return false;
	/* It may have published and gone between the two looks. */
	if (!spool_is_finished(dir))
		return launch_supervisor(dir, fd, spool_engine_note(dir, note), e) == 0;
	close(fd);
	return false;
}
