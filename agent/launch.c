#include "agent/launch.h"
#include "agent/spool.h"
#include "agent/supervise.h"
#include "agent/title.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
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

/* in the supervisor */

/* What stays open of ours would keep a connection, or another attempt's lock, for as long as the engine runs. */
static void keep_only(int lock_fd, int log_fd, int null_fd)
{
	dup2(null_fd, STDIN_FILENO);
	dup2(null_fd, STDOUT_FILENO);
	dup2(log_fd, STDERR_FILENO);
	if (lock_fd != LOCK_FD)
		dup3(lock_fd, LOCK_FD, O_CLOEXEC);
	greta_child_close_from(LOCK_FD + 1);
}

static _Noreturn void be_supervisor(const struct agent_paths *paths, const char *dir, bool recover)
{
	struct greta_err e = {0};
	const char *words[] = {"greta-agent", "supervise", dir, recover ? "--recover" : NULL, NULL};
	launched.n = 0;
	setsid();
	greta_child_reset_signals();
	umask(077);
	if (chdir("/") != 0)
		_exit(127); /* not to hold a file system that somebody may want to unmount */
	title_set("supervise", dir);
	greta_trace_start("greta-agent", (char **)words);
	int rc = (recover ? supervise_recover : supervise_run)(paths, dir, LOCK_FD, &e);
	if (rc != 0)
		greta_error("%s", e.text);
	greta_trace_exit(rc);
	_exit(rc == 0 ? 0 : 1);
}

/* in us */

int launch_supervisor(const struct agent_paths *paths, const char *dir, int lock_fd, bool recover, struct greta_err *e)
{
	cleanup_free char *log_path = greta_format("%s/../../supervisor.log", dir);
	cleanup_fd int lock = lock_fd;
	cleanup_fd int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return greta_err_sys(e, "can't open /dev/null");
	pid_t pid = fork();
	if (pid < 0)
		return greta_err_sys(e, "can't start a supervisor");
	if (pid == 0) {
		keep_only(lock, log >= 0 ? log : null, null);
		be_supervisor(paths, dir, recover);
	}
	*GRETA_PUSH(launched.items, launched.n, launched.cap) = pid;
	return 0;
}

bool launch_adopt(const struct agent_paths *paths, const char *dir, struct greta_err *e)
{
	char note[SPOOL_RECORD];
	int fd = spool_is_finished(dir) ? -1 : spool_lock(dir, NULL);
	if (fd < 0)
		return false;
	/* It may have published and gone between the two looks. */
	if (!spool_is_finished(dir))
		return launch_supervisor(paths, dir, fd, spool_engine_note(dir, note), e) == 0;
	close(fd);
	return false;
}
