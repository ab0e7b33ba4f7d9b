/* The node is this machine: a session of greta-agent as a child process, over a socket pair. */
#include "orchestrator/remote/transport.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define SAID_MAX 300

struct local {
	struct transport base;
	struct greta_loop *loop;
	char *agent;
	const struct transport_events *ev;
	void *arg;
	struct greta_watch *soon; /* `connected` is never called from inside the constructor */
};

struct local_stream {
	struct stream base;
	const struct stream_events *ev;
	void *arg;
	struct greta_loop *loop;
	int fd;
	pid_t pid;
	struct greta_watch *io, *child, *soon;
	int err_fd;
	struct greta_watch *errors;
	char said[SAID_MAX]; /* the end of its stderr */
	int exit_status;
	bool eof, reaped;
	bool busy, closed; /* closed by a callback of its own: freed when that returns */
};

static void hear_errors(struct local_stream *s)
{
	char bytes[SAID_MAX];
	ssize_t n;

	while ((n = read(s->err_fd, bytes, sizeof bytes - 1)) > 0) {
		while (n && (bytes[n - 1] == '\n' || bytes[n - 1] == ' '))
			n--;
		bytes[n] = '\0';
		if (n)
			greta_str_copy(s->said, sizeof s->said, bytes);
	}
	for (char *c = s->said; *c; c++)
		if (*c == '\n' || *c == '\r')
			*c = ' ';
	if (n == 0 || errno != EAGAIN) {
		greta_watch_remove(s->errors);
		s->errors = NULL;
	}
}

static void on_errors(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w;
	(void)events;
	hear_errors(arg);
}

static void stream_finish(struct local_stream *s)
{
	if (!s->eof || !s->reaped)
		return;
	if (s->errors)
		hear_errors(s);
	s->ev->closed(s->arg, s->exit_status, s->said);
}

static void on_child(struct greta_watch *w, uint32_t status, void *arg)
{
	struct local_stream *s = arg;

	(void)w;
	s->child = NULL;
	s->reaped = true;
	s->exit_status = WIFEXITED((int)status) ? WEXITSTATUS((int)status) : -1;
	stream_finish(s);
}

static void stream_eof(struct local_stream *s)
{
	greta_watch_remove(s->io);
	s->io = NULL;
	s->eof = true;
	stream_finish(s);
}

/* Bounded, so that one talkative node does not keep the loop from the others. */
static void stream_read(struct local_stream *s)
{
	char bytes[64 * 1024];

	for (int i = 0; i < 4; i++) {
		ssize_t n = read(s->fd, bytes, sizeof bytes);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			stream_eof(s);
			return;
		}
		s->ev->data(s->arg, bytes, (size_t)n);
		if (s->closed || (size_t)n < sizeof bytes)
			return;
	}
}

static void on_io(struct greta_watch *w, uint32_t events, void *arg)
{
	struct local_stream *s = arg;

	(void)w;
	s->busy = true;
	if (events & EPOLLOUT) {
		greta_watch_events(s->io, EPOLLIN);
		s->ev->writable(s->arg);
	}
	if (!s->closed && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		stream_read(s);
	s->busy = false;
	if (s->closed)
		free(s);
}

static void on_soon(struct greta_watch *w, uint32_t events, void *arg)
{
	struct local_stream *s = arg;

	(void)events;
	greta_watch_remove(w);
	s->soon = NULL;
	s->ev->ready(s->arg);
}

static ssize_t local_write(struct stream *base, const void *bytes, size_t n)
{
	struct local_stream *s = (struct local_stream *)base;
	ssize_t wrote = s->io ? send(s->fd, bytes, n, MSG_NOSIGNAL) : -1;

	if (wrote < 0 && (errno == EAGAIN || errno == EINTR))
		wrote = 0;
	if (wrote >= 0 && (size_t)wrote < n)
		greta_watch_events(s->io, EPOLLIN | EPOLLOUT);
	return wrote;
}

/* The session ends when its input does; what it supervises goes on without it. */
static void on_orphan(struct greta_watch *w, uint32_t status, void *arg)
{
	(void)w;
	(void)status;
	(void)arg;
}

static void local_close(struct stream *base)
{
	struct local_stream *s = (struct local_stream *)base;

	greta_watch_remove(s->io);
	greta_watch_remove(s->soon);
	greta_watch_remove(s->errors);
	if (!s->reaped) {
		greta_watch_remove(s->child);
		greta_loop_child(s->loop, s->pid, on_orphan, NULL);
	}
	close(s->fd);
	close(s->err_fd);
	s->closed = true;
	if (!s->busy)
		free(s);
}

static const struct stream_ops local_stream_ops = {local_write, local_close};

static struct stream *local_agent(struct transport *t, const char *const *args, const struct stream_events *ev,
				  void *arg, struct greta_err *e)
{
	struct local *l = (struct local *)t;
	cleanup_strs struct greta_strs argv = {0};
	cleanup_fd int theirs = -1, errors = -1, mine = -1, said = -1;
	struct local_stream *s;
	int fds[2], pipe_fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		greta_err_sys(e, "socketpair");
		return NULL;
	}
	mine = fds[0];
	theirs = fds[1];
	if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
		greta_err_sys(e, "pipe");
		return NULL;
	}
	said = pipe_fds[0];
	errors = pipe_fds[1];
	greta_strs_add(&argv, l->agent);
	for (; *args; args++)
		greta_strs_add(&argv, *args);
	pid = greta_child_spawn(&(struct greta_child_spec){
		.argv = (const char *const *)argv.items,
		.fds = (const struct greta_child_fd[]){{theirs, 0}, {theirs, 1}, {errors, 2}},
		.n_fds = 3,
		.new_session = true,
	}, e);
	if (pid < 0 || greta_fs_set_nonblock(mine, e) < 0 || greta_fs_set_nonblock(said, e) < 0)
		return NULL;
	s = greta_alloc(sizeof *s);
	*s = (struct local_stream){ .base.ops = &local_stream_ops, .ev = ev, .arg = arg, .loop = l->loop, .fd = mine,
				    .pid = pid, .exit_status = -1, .err_fd = said};
	mine = said = -1;
	s->io = greta_loop_fd(l->loop, s->fd, EPOLLIN, on_io, s);
	s->errors = greta_loop_fd(l->loop, s->err_fd, EPOLLIN, on_errors, s);
	s->child = greta_loop_child(l->loop, pid, on_child, s);
	s->soon = greta_loop_timer(l->loop, 0, 0, on_soon, s);
	return &s->base;
}

static const char *local_host_key(const struct transport *t)
{
	(void)t;
	return NULL;
}

static void local_destroy(struct transport *t)
{
	struct local *l = (struct local *)t;

	greta_watch_remove(l->soon);
	free(l->agent);
	free(l);
}

static const struct transport_ops local_ops = {
	.name = "local",
	.agent = local_agent,
	.host_key = local_host_key,
	.destroy = local_destroy,
};

static void on_connected(struct greta_watch *w, uint32_t events, void *arg)
{
	struct local *l = arg;

	(void)events;
	greta_watch_remove(w);
	l->soon = NULL;
	l->ev->connected(l->arg);
}

struct transport *transport_local(struct greta_loop *loop, const char *agent, const struct transport_events *ev,
				  void *arg)
{
	struct local *l = greta_alloc(sizeof *l);

	l->base.ops = &local_ops;
	l->loop = loop;
	l->agent = greta_strdup(agent);
	l->ev = ev;
	l->arg = arg;
	l->soon = greta_loop_timer(loop, 0, 0, on_connected, l);
	return &l->base;
}
