#include "agent/helper.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAID_MAX 320

struct helper {
	struct greta_loop *loop;
	pid_t pid;
	int fd, err_fd; /* what it says on standard output is read as it comes, on standard error at the end */
	char name[32];
	struct greta_watch *readable, *ended, *deadline;
	struct greta_buf out;
	size_t max_output;
	int64_t deadline_ms;
	helper_fn *fn;
	void *arg;
};

static void destroy(struct helper *h)
{
	greta_watch_remove(h->readable);
	greta_watch_remove(h->ended);
	greta_watch_remove(h->deadline);
	close(h->fd);
	close(h->err_fd);
	greta_buf_release(&h->out);
	free(h);
}

static void finish(struct helper *h, const struct greta_err *e)
{
	h->fn(h->arg, &h->out, e);
	destroy(h);
}

static void drain(struct helper *h)
{
	char chunk[16384];
	ssize_t n;
	while ((n = read(h->fd, chunk, sizeof chunk)) > 0)
		if (h->out.len + (size_t)n <= h->max_output)
			greta_buf_add(&h->out, chunk, (size_t)n);
	if (n == 0 && h->readable) {
		greta_watch_remove(h->readable);
		h->readable = NULL;
	}
}

static void on_readable(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w, (void)events;
	drain(arg);
}

/* Its last line, without the name that programs put before their errors. */
static bool last_words(const struct helper *h, char out[SAID_MAX])
{
	static const char prefix[] = "greta-agent: error: ";
	off_t end = lseek(h->err_fd, 0, SEEK_END);
	off_t from = end >= SAID_MAX ? end - SAID_MAX + 1 : 0;
	ssize_t n = pread(h->err_fd, out, SAID_MAX - 1, from);
	while (n > 0 && out[n - 1] == '\n')
		n--;
	out[n > 0 ? n : 0] = '\0';
	const char *line = strrchr(out, '\n') ? strrchr(out, '\n') + 1 : out;
	line += greta_str_starts(line, prefix) ? strlen(prefix) : 0;
	memmove(out, line, strlen(line) + 1);
	return *out;
}

static void on_ended(struct greta_watch *w, uint32_t status, void *arg)
{
	struct helper *h = arg;
	struct greta_err e = {0};
	char text[64], said[SAID_MAX];
	(void)w;
	h->ended = NULL;
	drain(h);
	if (!WIFEXITED((int)status) || WEXITSTATUS((int)status) != 0)
		greta_err_set(&e, GRETA_EFAIL, "%s",
			      last_words(h, said) ? said : greta_child_status_text((int)status, text));
	finish(h, &e);
}

/* By now it is reaped. */
static void on_left_behind_ended(struct greta_watch *w, uint32_t status, void *arg)
{
	(void)w, (void)status, (void)arg;
}

/* It may hang in the kernel where no signal reaches it: killed and left behind, not waited for. */
static void on_deadline(struct greta_watch *w, uint32_t events, void *arg)
{
	struct helper *h = arg;
	struct greta_err e = {0};
	(void)w, (void)events;
	h->deadline = NULL;
	kill(h->pid, SIGKILL);
	greta_loop_child(h->loop, h->pid, on_left_behind_ended, NULL);
	greta_err_set(&e, GRETA_ETIMEOUT, "greta-agent %s on the node did not end within %" PRId64 " ms; killed", h->name,
		      h->deadline_ms);
	finish(h, &e);
}

struct helper *helper_start(struct greta_loop *loop, const char *const *args, int64_t deadline_ms, size_t max_output,
			    helper_fn *fn, void *arg, struct greta_err *e)
{
	int pipe_fd[2];
	const char *argv[8] = {"/proc/self/exe"};
	for (size_t i = 0; args[i] && i + 2 < GRETA_COUNT(argv); i++)
		argv[i + 1] = args[i];
	cleanup_fd int err = memfd_create("stderr", MFD_CLOEXEC);
	if (err < 0 || pipe2(pipe_fd, O_CLOEXEC) != 0) {
		greta_err_sys(e, "can't make a pipe");
		return NULL;
	}
	const struct greta_child_fd fds[] = {{pipe_fd[1], 1}, {err, 2}};
	const struct greta_child_spec spec = {.argv = argv, .fds = fds, .n_fds = 2, .death_signal = SIGKILL};
	pid_t pid = greta_child_spawn(&spec, e);
	close(pipe_fd[1]);
	if (pid < 0 || greta_fs_set_nonblock(pipe_fd[0], e) != 0) {
		close(pipe_fd[0]);
		return NULL;
	}
	struct helper *h = greta_alloc(sizeof *h);
	*h = (struct helper){.loop = loop, .pid = pid, .fd = pipe_fd[0], .err_fd = err, .max_output = max_output,
			     .deadline_ms = deadline_ms, .fn = fn, .arg = arg};
	err = -1;
	greta_str_copy(h->name, sizeof h->name, args[0]);
	h->readable = greta_loop_fd(loop, h->fd, EPOLLIN, on_readable, h);
	h->ended = greta_loop_child(loop, pid, on_ended, h);
	h->deadline = greta_loop_timer(loop, deadline_ms, 0, on_deadline, h);
	return h;
}

void helper_cancel(struct helper *h)
{
	kill(h->pid, SIGKILL);
	destroy(h);
}
