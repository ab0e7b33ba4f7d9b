/* vfork, prepare, exec: copying our page tables would cost more than the rest. Until exec the child runs in our memory
 * while we wait, so it makes only async-signal-safe calls (another thread may hold any lock), and writes only what is
 * its own: the plan. A pipe that closes on exec brings back what went wrong. */
#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define KILL_AFTER_TERM_MS 500
#define REAP_AFTER_KILL_MS 2000
#define POLL_MS 10     /* where pidfds are refused */
#define MAX_OPEN 65536 /* looked at one by one where close_range is refused: about 10 ms */

extern char **environ;

static struct rlimit files_before; /* of this process; 0: it did not ask for more */

enum step { STEP_FDS, STEP_SESSION, STEP_CGROUP, STEP_CWD, STEP_EXEC };

static const char *const step_words[] = {
	[STEP_FDS] = "can't pass its descriptors",
	[STEP_SESSION] = "can't make its session or process group",
	[STEP_CGROUP] = "can't put it into its cgroup",
	[STEP_CWD] = "can't change to its folder",
	[STEP_EXEC] = "can't be run",
};

struct failure {
	enum step step;
	int sys;
};

struct plan {
	const struct greta_child_spec *spec;
	struct greta_strs paths; /* to try in turn */
	char **argv, **env;
	int *high; /* spec->fds[i].parent_fd, copied above all child_fd */
	int first_high;
	int error_fd;
	int open_max;
	pid_t parent;
};

/* in the child */

static _Noreturn void fail(const struct plan *p, enum step step)
{
	struct failure f = {.step = step, .sys = errno};
	while (write(p->error_fd, &f, sizeof f) < 0 && errno == EINTR)
		;
	_exit(127);
}

void greta_child_reset_signals(void)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	for (int i = 1; i < NSIG; i++)
		sigaction(i, &dfl, NULL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int open_max(void)
{
	long max = sysconf(_SC_OPEN_MAX);
	return max > 0 && max < MAX_OPEN ? (int)max : MAX_OPEN;
}

void greta_child_close_from(int first)
{
	if (syscall(SYS_close_range, (unsigned)first, ~0u, 0u) == 0)
		return;
	for (int fd = first, max = open_max(); fd < max; fd++)
		close(fd);
}

/* Closed by exec rather than here, so that what is still needed need not be spared. */
static void close_all_on_exec(const struct plan *p)
{
	if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
		return;
	for (int fd = 3; fd < p->open_max; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static bool is_named(const struct greta_child_spec *spec, int child_fd)
{
	for (int i = 0; i < spec->n_fds; i++)
		if (spec->fds[i].child_fd == child_fd)
			return true;
	return false;
}

/* Where the parent runs with 1 or 2 closed, some file of its own may have that number. */
static bool survives_exec(int fd)
{
	int flags = fcntl(fd, F_GETFD);
	return flags >= 0 && !(flags & FD_CLOEXEC);
}

static void give_null(const struct plan *p, int child_fd)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd < 0 || (fd != child_fd && dup2(fd, child_fd) < 0) || (fd == child_fd && fcntl(fd, F_SETFD, 0) != 0))
		fail(p, STEP_FDS);
}

/* First everything up and out of the way, then down to its place: {3 -> 4, 4 -> 3} works. */
static void place_fds(struct plan *p)
{
	const struct greta_child_spec *spec = p->spec;
	int error_fd = fcntl(p->error_fd, F_DUPFD_CLOEXEC, p->first_high);
	if (error_fd < 0)
		fail(p, STEP_FDS);
	p->error_fd = error_fd;
	for (int i = 0; i < spec->n_fds; i++) {
		p->high[i] = fcntl(spec->fds[i].parent_fd, F_DUPFD_CLOEXEC, p->first_high);
		if (p->high[i] < 0)
			fail(p, STEP_FDS);
	}
	close_all_on_exec(p);
	for (int i = 0; i < spec->n_fds; i++)
		if (dup2(p->high[i], spec->fds[i].child_fd) < 0)
			fail(p, STEP_FDS);
	for (int fd = 0; fd <= 2; fd++)
		if (!is_named(spec, fd) && (fd == 0 || !survives_exec(fd)))
			give_null(p, fd);
}

static void restore_files(const struct plan *p)
{
	struct rlimit r = files_before;
	if (!r.rlim_cur)
		return;
	r.rlim_cur += (rlim_t)p->spec->n_fds;
	if (r.rlim_cur > r.rlim_max)
		r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

static void detach(const struct plan *p)
{
	const struct greta_child_spec *spec = p->spec;
	if (spec->new_session ? setsid() < 0 : spec->new_group && setpgid(0, 0) != 0)
		fail(p, STEP_SESSION);
	if (spec->cgroup_procs_fd > 0 && write(spec->cgroup_procs_fd, "0", 1) != 1)
		fail(p, STEP_CGROUP);
	if (spec->allow_ptrace)
		prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); /* EINVAL without Yama: nothing to allow */
	if (!spec->death_signal)
		return;
	prctl(PR_SET_PDEATHSIG, spec->death_signal, 0, 0, 0);
	if (getppid() != p->parent) /* died before the prctl: its signal will never come */
		_exit(127);
}

static _Noreturn void exec_child(struct plan *p)
{
	/* The cgroup descriptor is used before descriptors move over it. */
	detach(p);
	place_fds(p);
	restore_files(p);
	if (p->spec->cwd && chdir(p->spec->cwd) != 0)
		fail(p, STEP_CWD);
	greta_child_reset_signals();
	int why = ENOENT;
	for (size_t i = 0; i < p->paths.n; i++) {
		execve(p->paths.items[i], p->argv, p->env);
		if (errno != ENOENT && errno != ENOTDIR)
			why = errno;
		if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
			break;
	}
	errno = why;
	fail(p, STEP_EXEC);
}

/* in the parent */

static const char *search_path(const struct greta_child_spec *spec)
{
	const char *path = spec->env ? NULL : getenv("PATH");
	for (const char *const *v = spec->env; v && *v; v++)
		if (greta_str_starts(*v, "PATH="))
			path = *v + 5;
	return path ? path : "/usr/local/bin:/usr/bin:/bin";
}

static void plan_init(struct plan *p, const struct greta_child_spec *spec)
{
	*p = (struct plan){.spec = spec, .first_high = 3, .parent = getpid(), .open_max = open_max()};
	/* execve takes both without const for old callers' sake, and changes neither. */
	memcpy(&p->argv, &spec->argv, sizeof p->argv);
	if (spec->env)
		memcpy(&p->env, &spec->env, sizeof p->env);
	else
		p->env = environ;
	p->high = greta_alloc((size_t)(spec->n_fds + 1) * sizeof *p->high);
	for (int i = 0; i < spec->n_fds; i++)
		if (spec->fds[i].child_fd >= p->first_high)
			p->first_high = spec->fds[i].child_fd + 1;
	if (strchr(spec->argv[0], '/')) {
		greta_strs_add(&p->paths, spec->argv[0]);
		return;
	}
	for (const char *at = search_path(spec); *at;) {
		size_t n = strcspn(at, ":");
		if (n) /* an empty element would mean the current folder */
			greta_strs_addf(&p->paths, "%.*s/%s", (int)n, at, spec->argv[0]);
		at += n + (at[n] == ':');
	}
}

static void plan_release(struct plan *p)
{
	greta_strs_release(&p->paths);
	free(p->high);
}

/* Forks; what went wrong will come through *error_fd, or its end when exec succeeded. */
static pid_t start(const struct greta_child_spec *spec, int *error_fd, struct greta_err *e)
{
	sigset_t all, was;
	int ends[2];
	if (!spec->argv || !spec->argv[0] || !*spec->argv[0])
		return greta_err_set(e, GRETA_EINVAL, "no command to run");
	if (pipe2(ends, O_CLOEXEC) != 0)
		return greta_err_sys(e, "can't run %s", spec->argv[0]);
	cleanup_with(plan_release) struct plan p;
	plan_init(&p, spec);
	p.error_fd = ends[1];
	/* No handler of ours may run in the child before its dispositions are reset. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	pid_t pid = vfork();
	if (pid == 0)
		exec_child(&p);
	int why = errno;
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		errno = why;
		return greta_err_sys(e, "can't run %s", spec->argv[0]);
	}
	*error_fd = ends[0];
	return pid;
}

static int exec_failed(const struct greta_child_spec *spec, const struct failure *f, struct greta_err *e)
{
	const char *program = spec->argv[0];
	errno = f->sys;
	if (f->step == STEP_CWD)
		return greta_err_sys(e, "%s: %s %s", program, step_words[f->step], spec->cwd);
	if (f->step != STEP_EXEC || f->sys != ENOENT)
		return greta_err_sys(e, "%s: %s", program, step_words[f->step]);
	if (!strchr(program, '/'))
		greta_err_set(e, GRETA_ENOENT, "%s: not found in PATH (%s)", program, search_path(spec));
	else if (access(program, F_OK) == 0 && !spec->cwd)
		greta_err_set(e, GRETA_ENOENT, "%s: is there, but the interpreter or loader that it names is not",
			      program);
	else
		greta_err_set(e, GRETA_ENOENT, "%s: no such program", program);
	if (e)
		e->sys = ENOENT;
	return -1;
}

/* 0 if exec succeeded. Closes error_fd; reaps a child that failed. */
static int finish_start(const struct greta_child_spec *spec, pid_t pid, int error_fd, struct greta_err *e)
{
	struct failure f;
	ssize_t n;
	do
		n = read(error_fd, &f, sizeof f);
	while (n < 0 && errno == EINTR);
	close(error_fd);
	if (n != (ssize_t)sizeof f)
		return 0;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return exec_failed(spec, &f, e);
}

pid_t greta_child_spawn(const struct greta_child_spec *spec, struct greta_err *e)
{
	int error_fd = -1;
	pid_t pid = start(spec, &error_fd, e);
	if (pid < 0 || finish_start(spec, pid, error_fd, e) != 0)
		return -1;
	return pid;
}

void greta_child_raise_files(void)
{
	struct rlimit before, more;
	if (getrlimit(RLIMIT_NOFILE, &before) != 0 || before.rlim_cur >= before.rlim_max)
		return;
	more = before;
	more.rlim_cur = more.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &more) == 0)
		files_before = before;
}

/* run */

struct run {
	const struct greta_child_spec *spec;
	pid_t pid;
	int pid_fd, error_fd, out_fd; /* -1: not there, or done with */
	int64_t started_ns, deadline_ms;
	int kills; /* 0: running, 1: TERM sent, 2: KILL sent */
	size_t max_output;
	struct greta_buf *out;
	size_t out_len;
	struct greta_child_result *result;
};

static bool is_dead(const struct run *r)
{
	siginfo_t info = {0};
	if (waitid(P_PID, (id_t)r->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
		return errno == ECHILD;
	return info.si_pid == r->pid;
}

/* Reads what is there; closes at the end of it. */
static void take_output(struct run *r)
{
	char chunk[16384];
	for (int rounds = 0; r->out_fd >= 0 && rounds < 64; rounds++) {
		ssize_t n = read(r->out_fd, chunk, sizeof chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			close(r->out_fd);
			r->out_fd = -1;
			return;
		}
		size_t room = r->max_output - r->out_len, take = (size_t)n < room ? (size_t)n : room;
		greta_buf_add(r->out, chunk, take);
		r->out_len += take;
		r->result->truncated |= take < (size_t)n;
	}
}

/* When the next kill is due, in ms since the start; -1: never. */
static int64_t next_kill_ms(const struct run *r)
{
	static const int64_t after[] = {0, KILL_AFTER_TERM_MS, KILL_AFTER_TERM_MS + REAP_AFTER_KILL_MS};
	return r->deadline_ms < 0 ? -1 : r->deadline_ms + after[r->kills];
}

static int64_t elapsed_ms(const struct run *r)
{
	return (greta_clock_mono_ns() - r->started_ns) / GRETA_NS_PER_MS;
}

/* True when there is nothing left to try. */
static bool escalate(struct run *r)
{
	int64_t due = next_kill_ms(r);
	if (due < 0 || elapsed_ms(r) < due)
		return false;
	if (r->kills == 2)
		return true;
	int signo = r->kills++ == 0 ? SIGTERM : SIGKILL;
	r->result->timed_out = true;
	kill(r->pid, signo); /* it may not have made its group yet */
	kill(-r->pid, signo);
	return false;
}

static int wait_ms(const struct run *r)
{
	int64_t due = next_kill_ms(r), left = due < 0 ? -1 : due - elapsed_ms(r);
	if (due >= 0 && left < 0)
		left = 0;
	if (r->pid_fd < 0 && (left < 0 || left > POLL_MS))
		return POLL_MS;
	return left > 1000 * 1000 ? 1000 * 1000 : (int)left;
}

/* Until it is dead or given up: true if dead. */
static bool follow(struct run *r)
{
	for (;;) {
		struct pollfd fds[2] = {{.fd = r->pid_fd, .events = POLLIN}, {.fd = r->out_fd, .events = POLLIN}};
		poll(fds, 2, wait_ms(r));
		bool dead = is_dead(r);
		take_output(r); /* after the look at it: what it wrote before it died is in the pipe by now */
		if (dead)
			return true;
		if (escalate(r))
			return false;
	}
}

/* Exec itself hangs where the program lies on a dead file system. False: the deadline passed. */
static bool wait_for_exec(const struct run *r)
{
	struct pollfd started = {.fd = r->error_fd, .events = POLLIN};
	while (poll(&started, 1, wait_ms(r)) <= 0) {
		int64_t due = next_kill_ms(r);
		if (due >= 0 && elapsed_ms(r) >= due)
			return false;
	}
	return true;
}

static int run_to_end(struct run *r, struct greta_err *e)
{
	if (wait_for_exec(r)) {
		int fd = r->error_fd;
		r->error_fd = -1;
		if (finish_start(r->spec, r->pid, fd, e) != 0)
			return -1;
	}
	r->pid_fd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	if (!follow(r)) {
		r->result->unreaped = true;
		return 0;
	}
	/* While its zombie holds the number, the group is surely its own. */
	if (r->result->timed_out)
		kill(-r->pid, SIGKILL);
	pid_t got;
	do
		got = waitpid(r->pid, &r->result->status, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		r->result->status = -1;
	return 0;
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

int greta_child_run(const struct greta_child_spec *spec, int64_t deadline_ms, size_t max_output, struct greta_buf *out,
		    struct greta_child_result *result, struct greta_err *e)
{
	struct greta_child_spec s = *spec;
	int ends[2] = {-1, -1};
	*result = (struct greta_child_result){.status = -1};
	if (out ? pipe2(ends, O_CLOEXEC) != 0 : (ends[1] = open("/dev/null", O_WRONLY | O_CLOEXEC)) < 0)
		return greta_err_sys(e, "can't run %s", spec->argv[0]);
	if (out)
		fcntl(ends[0], F_SETFL, O_NONBLOCK);
	cleanup_free struct greta_child_fd *fds = greta_alloc((size_t)(spec->n_fds + 2) * sizeof *fds);
	if (spec->n_fds)
		memcpy(fds, spec->fds, (size_t)spec->n_fds * sizeof *fds);
	fds[s.n_fds++] = (struct greta_child_fd){ends[1], 1};
	fds[s.n_fds++] = (struct greta_child_fd){ends[1], 2};
	s.fds = fds;
	s.new_group = true;
	struct run r = {.spec = &s, .pid_fd = -1, .error_fd = -1, .out_fd = ends[0], .out = out, .result = result};
	r.max_output = max_output;
	r.deadline_ms = deadline_ms;
	r.started_ns = greta_clock_mono_ns();
	r.pid = start(&s, &r.error_fd, e);
	close(ends[1]);
	int done = r.pid < 0 ? -1 : run_to_end(&r, e);
	close_if_open(r.out_fd);
	close_if_open(r.error_fd);
	close_if_open(r.pid_fd);
	return done;
}

char *greta_child_status_text(int status, char out[64])
{
	if (WIFEXITED(status)) {
		snprintf(out, 64, "exit %d", WEXITSTATUS(status));
	} else if (WIFSIGNALED(status)) {
		const char *words = sigdescr_np(WTERMSIG(status));
		snprintf(out, 64, words ? "signal %d (%s)" : "signal %d", WTERMSIG(status), words);
	} else {
		snprintf(out, 64, "unknown end");
	}
	return out;
}
