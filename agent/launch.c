#include "agent/launch.h"
#include "agent/spool.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOCK_FD 3

/* The supervisor forks once more at its start, so the process spawned here ends at once. */
static int wait_for_fork(pid_t pid, struct greta_err *e)
{
	int status = 0;
	char text[64];
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return greta_err_sys(e, "can't wait for the supervisor to detach");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return greta_err_set(e, GRETA_EFAIL, "the supervisor could not detach: %s", greta_child_status_text(status, text));
}

int launch_supervisor(const char *dir, int lock_fd, bool recover, struct greta_err *e)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	self[n > 0 ? n : 0] = '\0';
	/* A binary that has been replaced meanwhile is still reachable as what we are. */
	const char *program = n > 0 && access(self, X_OK) == 0 ? self : "/proc/self/exe";
	cleanup_free char *log = greta_fs_join(dir, "supervisor.log");
	cleanup_fd int lock = lock_fd;
	cleanup_fd int err = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	const char *const argv[] = {program, "supervise", recover ? "--recover" : "--detached", dir, NULL};
	const struct greta_child_fd fds[] = {{null, 0}, {null, 1}, {err >= 0 ? err : null, 2}, {lock, LOCK_FD}};
	const struct greta_child_spec spec = {
		.argv = argv,
		.cwd = "/",
		.fds = fds,
		.n_fds = GRETA_COUNT(fds),
		.new_session = true,
	};
	pid_t pid = greta_child_spawn(&spec, e);
	return pid < 0 ? -1 : wait_for_fork(pid, e);
}

bool launch_adopt(const char *dir, struct greta_err *e)
{
	char note[SPOOL_BLOCK_BYTES];
	int fd = spool_is_finished(dir) ? -1 : spool_lock(dir, NULL);
	if (fd < 0)
		return false;
	/* It may have published and gone between the two looks. */
	if (!spool_is_finished(dir))
		return launch_supervisor(dir, fd, spool_engine_note(dir, note, sizeof note), e) == 0;
	close(fd);
	return false;
}
