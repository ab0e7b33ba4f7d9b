#include "agent/launch.h"
#include "agent/spool.h"
#include "agent/supervise.h"
#include "agent/title.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOCK_FD 3
#define CALL_FD 4        /* in a supervisor: where its next attempt comes from */
#define ATTEMPTS_MAX 200 /* of one supervisor */
#define IDLE_NS (5 * GRETA_NS_PER_S)

/* Our children until they end or we do. */
struct launched {
	pid_t pid;
	int call;        /* -1: it takes no other attempt */
	int64_t idle_ns; /* since when it waits for one; 0: it is at work */
	struct greta_watch *watch;
};

static struct {
	struct launched *items;
	size_t n, cap;
	/* who wants to know when one is through; loop NULL: nobody */
	struct greta_loop *loop;
	greta_loop_fn *fn;
	void *arg;
} all;

/* the call: the folder of an attempt, and its lock */

union lock_message {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static bool call_send(int call, const char *dir, int lock_fd)
{
	union lock_message control = {0};
	struct iovec text = {(char *)dir, strlen(dir) + 1};
	struct msghdr m = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.header), &lock_fd, sizeof lock_fd);
	return sendmsg(call, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)text.iov_len;
}

/* Waits for it; the lock is then at LOCK_FD. False: there will be none. */
static bool call_receive(char dir[PATH_MAX])
{
	union lock_message control = {0};
	struct iovec text = {dir, PATH_MAX};
	struct msghdr m = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	ssize_t n;
	do
		n = recvmsg(CALL_FD, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0 || control.header.cmsg_type != SCM_RIGHTS)
		return false;
	int fd;
	memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
	if (fd == LOCK_FD)
		return true;
	bool placed = dup3(fd, LOCK_FD, O_CLOEXEC) == LOCK_FD;
	close(fd);
	return placed;
}

/* in the supervisor */

/* What stays open of ours would keep a connection, or another attempt's lock, for as long as the engine runs. */
static void keep_only(int lock_fd, int call_fd, int log_fd, int null_fd)
{
	dup2(null_fd, STDIN_FILENO);
	dup2(null_fd, STDOUT_FILENO);
	dup2(log_fd, STDERR_FILENO);
	int call = fcntl(call_fd, F_DUPFD_CLOEXEC, CALL_FD + 1); /* out of the way */
	if (lock_fd != LOCK_FD)
		dup3(lock_fd, LOCK_FD, O_CLOEXEC);
	if (dup3(call, CALL_FD, O_CLOEXEC) < 0)
		close(CALL_FD);
	greta_child_close_from(CALL_FD + 1);
}

/* With a child left, the next attempt's would not be all there are. */
static bool next_attempt(char dir[PATH_MAX])
{
	pid_t child;
	close(LOCK_FD);
	greta_child_close_from(CALL_FD + 1);
	greta_child_reset_signals();
	do
		child = waitpid(-1, NULL, WNOHANG);
	while (child > 0);
	if (child == 0)
		return false;
	title_set("supervise", "(idle)");
	return send(CALL_FD, "", 1, MSG_NOSIGNAL) == 1 && call_receive(dir);
}

static int supervise(const struct agent_paths *paths, const char *dir, bool recover)
{
	struct greta_err e = {0};
	title_set("supervise", dir);
	int rc = (recover ? supervise_recover : supervise_run)(paths, dir, LOCK_FD, &e);
	if (rc != 0)
		greta_error("%s", e.text);
	return rc;
}

static _Noreturn void be_supervisor(const struct agent_paths *paths, const char *first, bool recover)
{
	char dir[PATH_MAX];
	const char *words[] = {"greta-agent", "supervise", first, recover ? "--recover" : NULL, NULL};
	all.n = 0;
	setsid();
	greta_child_reset_signals();
	greta_child_raise_files(); /* a slot is a file for each CPU */
	umask(077);
	if (chdir("/") != 0)
		_exit(127); /* not to hold a file system that somebody may want to unmount */
	greta_trace_start("greta-agent", (char **)words);
	int rc = supervise(paths, first, recover);
	for (int n = 1; rc == 0 && !recover && n < ATTEMPTS_MAX && next_attempt(dir); n++)
		rc = supervise(paths, dir, false);
	greta_trace_exit(rc);
	_exit(rc == 0 ? 0 : 1);
}

/* in us */

static void let_go(struct launched *l)
{
	greta_watch_remove(l->watch);
	l->watch = NULL;
	if (l->call >= 0)
		close(l->call);
	l->call = -1;
	l->idle_ns = 0;
}

static void hear(struct launched *l)
{
	char byte;
	ssize_t n = l->call >= 0 ? recv(l->call, &byte, 1, MSG_DONTWAIT) : -1;
	if (n == 1)
		l->idle_ns = greta_clock_mono_ns();
	else if (n == 0)
		let_go(l);
}

void launch_watch(struct greta_loop *loop, greta_loop_fn *fn, void *arg)
{
	all.loop = loop;
	all.fn = fn;
	all.arg = arg;
}

void launch_reap(void)
{
	for (size_t i = 0; i < all.n;) {
		struct launched *l = &all.items[i];
		hear(l);
		if (l->idle_ns && greta_clock_mono_ns() - l->idle_ns > IDLE_NS)
			let_go(l);
		if (waitpid(l->pid, NULL, WNOHANG) == 0) {
			i++;
			continue;
		}
		let_go(l);
		*l = all.items[--all.n];
	}
}

/* Gives the attempt to a supervisor that is idle, if there is one. */
static bool hand_over(const char *dir, int lock_fd)
{
	for (size_t i = 0; i < all.n; i++) {
		struct launched *l = &all.items[i];
		hear(l);
		if (!l->idle_ns)
			continue;
		l->idle_ns = 0;
		if (call_send(l->call, dir, lock_fd))
			return true;
		let_go(l);
	}
	return false;
}

int launch_supervisor(const struct agent_paths *paths, const char *dir, int lock_fd, bool recover, struct greta_err *e)
{
	cleanup_free char *log_path = greta_format("%s/../../supervisor.log", dir);
	cleanup_fd int lock = lock_fd;
	if (!recover && hand_over(dir, lock))
		return 0;
	cleanup_fd int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return greta_err_sys(e, "can't open /dev/null");
	int call[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, call) != 0)
		return greta_err_sys(e, "can't make a supervisor's socket");
	pid_t pid = fork();
	if (pid == 0) {
		keep_only(lock, call[1], log >= 0 ? log : null, null);
		be_supervisor(paths, dir, recover);
	}
	close(call[1]);
	if (pid < 0) {
		greta_err_sys(e, "can't start a supervisor");
		close(call[0]);
		return -1;
	}
	*GRETA_PUSH(all.items, all.n, all.cap) = (struct launched){
		.pid = pid,
		.call = call[0],
		.watch = all.loop ? greta_loop_fd(all.loop, call[0], EPOLLIN, all.fn, all.arg) : NULL,
	};
	return 0;
}

bool launch_adopt(const struct agent_paths *paths, const char *dir, struct greta_err *e)
{
	char note[SPOOL_RECORD];
	int fd = spool_is_finished(dir) ? -1 : spool_lock(dir, NULL);
	if (fd < 0)
		return false;
	/* It may have published and gone between the two looks. */
	if (!spool_is_finished(dir)) {
		bool recover = spool_engine_note(dir, note) || spool_is_of_another_boot(dir);
		return launch_supervisor(paths, dir, fd, recover, e) == 0;
	}
	close(fd);
	return false;
}
