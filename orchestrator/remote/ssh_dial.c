#include "orchestrator/remote/ssh_dial.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define SAID_MAX 512

/* Shared by the thread that looks up and the dial that waits; whoever comes second frees it. */
struct lookup {
	char *host, port[8];
	struct addrinfo *addresses;
	int error, sys;
	int done_fd;         /* the thread's end of a pipe: closed when it is done */
	atomic_bool one_left;
};

struct dial {
	struct greta_loop *loop;
	char *name;          /* "host port 22", for messages */
	dial_fn *fn;
	void *arg;
	/* TCP */
	struct lookup *lookup;
	int lookup_fd, fd;
	struct addrinfo *addresses, *next;
	struct greta_watch *watch;
	struct greta_err why;
	/* proxy */
	pid_t pid;
	struct greta_watch *child, *errors;
	int err_fd;
	char said[SAID_MAX];
};

static void dial_done(struct dial *d, int fd, const struct greta_err *why)
{
	dial_fn *fn = d->fn;

	greta_watch_remove(d->watch);
	d->watch = NULL;
	d->fn = NULL;
	if (fn)
		fn(d->arg, fd, why);
	else if (fd >= 0)
		close(fd);
}

static void dial_fail(struct dial *d)
{
	struct greta_err why = d->why;

	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
	dial_done(d, -1, &why);
}

/* ---- TCP */

/* The system gives up on a dead peer in some minutes; the ping of the protocol does in seconds. This is its backstop. */
static void set_options(int fd)
{
	const int on = 1, idle_s = 10, interval_s = 5, count = 3, user_ms = 20000;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof user_ms);
}

static void try_next(struct dial *d);

static void on_tcp(struct greta_watch *w, uint32_t events, void *arg)
{
	struct dial *d = arg;
	int error = 0, fd = d->fd;
	socklen_t len = sizeof error;

	(void)events;
	greta_watch_remove(w);
	d->watch = NULL;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (!error) {
		d->fd = -1;
		set_options(fd);
		dial_done(d, fd, NULL);
		return;
	}
	errno = error;
	greta_err_sys(&d->why, "%s", d->name);
	close(fd);
	d->fd = -1;
	try_next(d);
}

static void try_next(struct dial *d)
{
	while (d->next) {
		struct addrinfo *a = d->next;

		d->next = a->ai_next;
		d->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (d->fd >= 0 && (connect(d->fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS)) {
			d->watch = greta_loop_fd(d->loop, d->fd, EPOLLOUT, on_tcp, d);
			return;
		}
		greta_err_sys(&d->why, "%s", d->name);
		if (d->fd >= 0)
			close(d->fd);
		d->fd = -1;
	}
	dial_fail(d);
}

static void lookup_drop(struct lookup *l)
{
	if (!atomic_exchange(&l->one_left, true))
		return;
	if (l->addresses)
		freeaddrinfo(l->addresses);
	free(l->host);
	free(l);
}

static void *lookup_run(void *arg)
{
	struct lookup *l = arg;
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	int fd = l->done_fd;

	l->error = getaddrinfo(l->host, l->port, &hints, &l->addresses);
	l->sys = errno;
	lookup_drop(l);
	close(fd);
	return NULL;
}

static void on_lookup(struct greta_watch *w, uint32_t events, void *arg)
{
	struct dial *d = arg;

	(void)events;
	greta_watch_remove(w);
	d->watch = NULL;
	close(d->lookup_fd);
	d->lookup_fd = -1;
	if (d->lookup->error)
		greta_err_set(&d->why, GRETA_EFAIL, "%s: %s", d->name, gai_strerror(d->lookup->error));
	d->addresses = d->next = d->lookup->addresses;
	d->lookup->addresses = NULL;
	lookup_drop(d->lookup);
	d->lookup = NULL;
	try_next(d);
}

static int lookup_start(struct dial *d, const char *host, int64_t port)
{
	struct lookup *l = greta_alloc(sizeof *l);
	pthread_attr_t attr;
	pthread_t thread;
	int fds[2], rc;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		free(l);
		return greta_err_sys(&d->why, "pipe");
	}
	l->host = greta_strdup(host);
	snprintf(l->port, sizeof l->port, "%d", (int)port);
	l->done_fd = fds[1];
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(&thread, &attr, lookup_run, l);
	pthread_attr_destroy(&attr);
	if (rc) {
		close(fds[0]);
		close(fds[1]);
		free(l->host);
		free(l);
		errno = rc;
		return greta_err_sys(&d->why, "a thread to look up %s", host);
	}
	d->lookup = l;
	d->lookup_fd = fds[0];
	d->watch = greta_loop_fd(d->loop, d->lookup_fd, EPOLLIN, on_lookup, d);
	return 0;
}

/* An address needs no look-up and no thread. */
static bool numeric(struct dial *d, const char *host, int64_t port)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	char service[8];

	snprintf(service, sizeof service, "%d", (int)port);
	if (getaddrinfo(host, service, &hints, &d->addresses))
		return false;
	d->next = d->addresses;
	return true;
}

static void on_start(struct greta_watch *w, uint32_t events, void *arg)
{
	struct dial *d = arg;

	(void)events;
	greta_watch_remove(w);
	d->watch = NULL;
	if (d->fd >= 0) {
		int fd = d->fd;

		d->fd = -1;
		dial_done(d, fd, NULL);
	} else if (d->next) {
		try_next(d);
	} else {
		dial_fail(d);
	}
}

/* ---- proxy */

static void on_proxy_errors(struct greta_watch *w, uint32_t events, void *arg)
{
	struct dial *d = arg;
	char bytes[SAID_MAX];
	ssize_t n = read(d->err_fd, bytes, sizeof bytes - 1);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		greta_watch_remove(w);
		d->errors = NULL;
		return;
	}
	while (n > 0 && (bytes[n - 1] == '\n' || bytes[n - 1] == '\r'))
		n--;
	bytes[n] = '\0';
	for (char *c = bytes; *c; c++)
		if (*c == '\n' || *c == '\r')
			*c = ' ';
	if (n)
		greta_str_copy(d->said, sizeof d->said, bytes);
}

static void on_proxy_end(struct greta_watch *w, uint32_t status, void *arg)
{
	struct dial *d = arg;

	(void)w;
	(void)status;
	d->child = NULL;
	d->pid = 0;
}

static int proxy_start(struct dial *d, const struct greta_strs *argv)
{
	int sockets[2], errors[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
		return greta_err_sys(&d->why, "socketpair");
	if (pipe2(errors, O_CLOEXEC | O_NONBLOCK) < 0) {
		close(sockets[0]);
		close(sockets[1]);
		return greta_err_sys(&d->why, "pipe");
	}
	d->pid = greta_child_spawn(&(struct greta_child_spec){
		.argv = (const char *const *)argv->items,
		.fds = (const struct greta_child_fd[]){{sockets[1], 0}, {sockets[1], 1}, {errors[1], 2}},
		.n_fds = 3,
		.new_session = true,
		.death_signal = SIGTERM,
	}, &d->why);
	close(sockets[1]);
	close(errors[1]);
	d->err_fd = errors[0];
	if (d->pid < 0) {
		close(sockets[0]);
		return -1;
	}
	d->fd = sockets[0];
	d->errors = greta_loop_fd(d->loop, d->err_fd, EPOLLIN, on_proxy_errors, d);
	d->child = greta_loop_child(d->loop, d->pid, on_proxy_end, d);
	return greta_fs_set_nonblock(d->fd, &d->why);
}

struct dial *dial_start(struct greta_loop *loop, const struct ssh_settings *s, const struct node_settings *node,
			dial_fn *fn, void *arg)
{
	struct dial *d = greta_alloc(sizeof *d);
	cleanup_strs struct greta_strs proxy = {0};

	*d = (struct dial){ .loop = loop, .fn = fn, .arg = arg, .lookup_fd = -1, .fd = -1, .err_fd = -1 };
	d->name = greta_format("%s port %lld", s->host, (long long)s->port);
	if (ssh_settings_proxy(s, node, &proxy))
		proxy_start(d, &proxy);
	else if (!numeric(d, s->host, s->port))
		lookup_start(d, s->host, s->port);
	if (!d->watch)
		d->watch = greta_loop_timer(loop, 0, 0, on_start, d);
	return d;
}

const char *dial_said(struct dial *d)
{
	if (d && d->errors)
		on_proxy_errors(d->errors, 0, d);
	return d ? d->said : "";
}

static void on_orphan(struct greta_watch *w, uint32_t status, void *arg)
{
	(void)w;
	(void)status;
	(void)arg;
}

void dial_destroy(struct dial *d)
{
	if (!d)
		return;
	greta_watch_remove(d->watch);
	greta_watch_remove(d->errors);
	greta_watch_remove(d->child);
	if (d->pid > 0) {
		kill(-d->pid, SIGTERM);
		greta_loop_child(d->loop, d->pid, on_orphan, NULL);
	}
	if (d->lookup)
		lookup_drop(d->lookup);
	if (d->addresses)
		freeaddrinfo(d->addresses);
	for (size_t i = 0; i < 3; i++) {
		int fd = i == 0 ? d->lookup_fd : i == 1 ? d->fd : d->err_fd;

		if (fd >= 0)
			close(fd);
	}
	free(d->name);
	free(d);
}
