/* A removed watch stays linked until no callback is running, so that events already fetched and lists being walked
 * never meet freed memory; `removed` keeps it silent. */
#include "base/loop.h"
#include "base/clock.h"
#include "base/mem.h"
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_POLL_MS 10 /* where pidfds are refused (old kernels, seccomp) */
#define NOT_ARMED SIZE_MAX

enum kind { KIND_FD, KIND_TIMER, KIND_SIGNAL, KIND_CHILD };

struct greta_watch {
	struct greta_loop *loop;
	struct greta_watch *prev, *next, *next_removed;
	enum kind kind;
	bool removed;
	greta_loop_fn *fn;
	void *arg;
	int fd; /* the caller's, or a child's pidfd (-1: polled) */
	uint32_t events;
	bool always_ready; /* epoll refuses files and /dev/null: reading those never waits */
	int64_t due_ns, period_ns;
	uint64_t armed; /* counts armings: equal due times fire in that order */
	size_t heap_at;
	int signo;
	pid_t pid;
};

struct greta_loop {
	int epoll_fd;
	struct greta_watch *all;
	struct greta_watch *removed;
	int depth; /* callbacks running */
	bool stop;
	size_t n_always_ready;
	struct {
		struct greta_watch **items;
		size_t n, cap;
		uint64_t armed;
	} timers;
	int signal_fd; /* -1: none yet */
	sigset_t watched, blocked_here;
};

/* timers: a binary heap by (due, order of arming) */

static bool heap_before(const struct greta_watch *a, const struct greta_watch *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->armed < b->armed;
}

static void heap_put(struct greta_loop *l, size_t i, struct greta_watch *w)
{
	l->timers.items[i] = w;
	w->heap_at = i;
}

static void heap_settle(struct greta_loop *l, size_t i, struct greta_watch *w)
{
	struct greta_watch **items = l->timers.items;
	for (; i > 0 && heap_before(w, items[(i - 1) / 2]); i = (i - 1) / 2)
		heap_put(l, i, items[(i - 1) / 2]);
	for (size_t child; (child = 2 * i + 1) < l->timers.n; i = child) {
		if (child + 1 < l->timers.n && heap_before(items[child + 1], items[child]))
			child++;
		if (!heap_before(items[child], w))
			break;
		heap_put(l, i, items[child]);
	}
	heap_put(l, i, w);
}

static void timer_disarm(struct greta_watch *w)
{
	struct greta_loop *l = w->loop;
	size_t at = w->heap_at;
	if (at == NOT_ARMED)
		return;
	struct greta_watch *last = l->timers.items[--l->timers.n];
	w->heap_at = NOT_ARMED;
	if (last != w)
		heap_settle(l, at, last);
}

static void timer_arm(struct greta_watch *w, int64_t due_ns)
{
	struct greta_loop *l = w->loop;
	timer_disarm(w);
	w->due_ns = due_ns;
	w->armed = l->timers.armed++;
	*GRETA_PUSH(l->timers.items, l->timers.n, l->timers.cap) = w;
	heap_settle(l, l->timers.n - 1, w);
}

static int64_t after_ms(int64_t delay_ms)
{
	int64_t now = greta_clock_mono_ns(), due;
	if (__builtin_mul_overflow(delay_ms, GRETA_NS_PER_MS, &due) || __builtin_add_overflow(due, now, &due))
		return INT64_MAX;
	return due;
}

/* watches */

static struct greta_watch *watch_new(struct greta_loop *l, enum kind kind, greta_loop_fn *fn, void *arg)
{
	struct greta_watch *w = greta_alloc(sizeof *w);
	*w = (struct greta_watch){.loop = l, .kind = kind, .fn = fn, .arg = arg, .fd = -1, .heap_at = NOT_ARMED};
	w->next = l->all;
	if (l->all)
		l->all->prev = w;
	l->all = w;
	return w;
}

static void watch_free(struct greta_watch *w)
{
	if (w->prev)
		w->prev->next = w->next;
	else
		w->loop->all = w->next;
	if (w->next)
		w->next->prev = w->prev;
	free(w);
}

static void free_removed(struct greta_loop *l)
{
	while (l->depth == 0 && l->removed) {
		struct greta_watch *w = l->removed;
		l->removed = w->next_removed;
		watch_free(w);
	}
}

static int epoll_set(struct greta_watch *w, int op, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};
	return epoll_ctl(w->loop->epoll_fd, op, w->fd, &ev);
}

static void fd_always_ready(struct greta_watch *w, bool on)
{
	if (on && !w->always_ready)
		w->loop->n_always_ready++;
	else if (!on && w->always_ready)
		w->loop->n_always_ready--;
	w->always_ready = on;
}

/* Without events a descriptor leaves epoll, which would report its hang-up again and again. */
static int fd_watch(struct greta_watch *w, uint32_t events)
{
	int result = 0;
	if (w->always_ready || (!w->events && !events))
		goto done;
	if (!events)
		epoll_set(w, EPOLL_CTL_DEL, 0);
	else
		result = epoll_set(w, w->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, events);
	if (result != 0 && errno == EPERM) {
		fd_always_ready(w, true);
		result = 0;
	}
done:
	w->events = events;
	return result;
}

static void signal_unwatch(struct greta_loop *l, int signo)
{
	for (struct greta_watch *w = l->all; w; w = w->next)
		if (!w->removed && w->kind == KIND_SIGNAL && w->signo == signo)
			return;
	sigdelset(&l->watched, signo);
	signalfd(l->signal_fd, &l->watched, 0);
	if (sigismember(&l->blocked_here, signo) == 1) {
		sigset_t one;
		sigemptyset(&one);
		sigaddset(&one, signo);
		sigdelset(&l->blocked_here, signo);
		pthread_sigmask(SIG_UNBLOCK, &one, NULL);
	}
}

void greta_watch_remove(struct greta_watch *w)
{
	if (!w || w->removed)
		return;
	struct greta_loop *l = w->loop;
	w->removed = true;
	timer_disarm(w);
	if (w->kind == KIND_FD) {
		fd_watch(w, 0);
		fd_always_ready(w, false);
	} else if (w->kind == KIND_CHILD && w->fd >= 0) {
		epoll_set(w, EPOLL_CTL_DEL, 0);
		close(w->fd);
	} else if (w->kind == KIND_SIGNAL) {
		signal_unwatch(l, w->signo);
	}
	w->next_removed = l->removed;
	l->removed = w;
	free_removed(l);
}

/* For constructors: the reason survives in errno. */
static struct greta_watch *give_up(struct greta_watch *w)
{
	int why = errno;
	w->events = 0; /* epoll does not have it */
	greta_watch_remove(w);
	errno = why;
	return NULL;
}

struct greta_watch *greta_loop_fd(struct greta_loop *l, int fd, uint32_t events, greta_loop_fn *fn, void *arg)
{
	struct greta_watch *w = watch_new(l, KIND_FD, fn, arg);
	w->fd = fd;
	return fd_watch(w, events) == 0 ? w : give_up(w);
}

void greta_watch_events(struct greta_watch *w, uint32_t events)
{
	if (!w->removed && w->events != events)
		fd_watch(w, events);
}

struct greta_watch *greta_loop_timer(struct greta_loop *l, int64_t delay_ms, int64_t period_ms, greta_loop_fn *fn,
				     void *arg)
{
	struct greta_watch *w = watch_new(l, KIND_TIMER, fn, arg);
	w->period_ns = period_ms * GRETA_NS_PER_MS;
	greta_watch_rearm(w, delay_ms);
	return w;
}

void greta_watch_rearm(struct greta_watch *w, int64_t delay_ms)
{
	if (w->removed)
		return;
	if (delay_ms < 0)
		timer_disarm(w);
	else
		timer_arm(w, after_ms(delay_ms));
}

struct greta_watch *greta_loop_signal(struct greta_loop *l, int signo, greta_loop_fn *fn, void *arg)
{
	sigset_t one, was;
	sigemptyset(&one);
	if (sigaddset(&one, signo) != 0)
		return NULL;
	sigset_t watched = l->watched;
	sigaddset(&watched, signo);
	int fd = signalfd(l->signal_fd, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return NULL;
	if (l->signal_fd < 0) {
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
		if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0) {
			close(fd);
			return NULL;
		}
		l->signal_fd = fd;
	}
	l->watched = watched;
	pthread_sigmask(SIG_BLOCK, &one, &was);
	if (!sigismember(&was, signo))
		sigaddset(&l->blocked_here, signo);
	struct greta_watch *w = watch_new(l, KIND_SIGNAL, fn, arg);
	w->signo = signo;
	return w;
}

struct greta_watch *greta_loop_child(struct greta_loop *l, pid_t pid, greta_loop_fn *fn, void *arg)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0 && (errno == ESRCH || errno == EINVAL))
		return NULL;
	struct greta_watch *w = watch_new(l, KIND_CHILD, fn, arg);
	w->pid = pid;
	w->fd = fd;
	if (fd < 0)
		timer_arm(w, after_ms(0));
	else if (epoll_set(w, EPOLL_CTL_ADD, EPOLLIN) != 0)
		return give_up(w);
	return w;
}

/* the loop */

struct greta_loop *greta_loop_create(struct greta_err *e)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd < 0) {
		greta_err_sys(e, "can't create an event loop");
		return NULL;
	}
	struct greta_loop *l = greta_alloc(sizeof *l);
	l->epoll_fd = fd;
	l->signal_fd = -1;
	sigemptyset(&l->watched);
	sigemptyset(&l->blocked_here);
	return l;
}

void greta_loop_destroy(struct greta_loop *l)
{
	if (!l)
		return;
	l->depth++; /* keeps the list whole while it is walked */
	for (struct greta_watch *w = l->all; w; w = w->next)
		greta_watch_remove(w);
	l->depth--;
	free_removed(l);
	if (l->signal_fd >= 0)
		close(l->signal_fd);
	close(l->epoll_fd);
	free(l->timers.items);
	free(l);
}

static void child_check(struct greta_watch *w)
{
	int status;
	pid_t got = waitpid(w->pid, &status, WNOHANG);
	if (got == 0 || (got < 0 && errno == EINTR)) {
		if (w->fd < 0)
			timer_arm(w, after_ms(CHILD_POLL_MS));
		return;
	}
	greta_loop_fn *fn = w->fn;
	uint32_t events = got < 0 ? GRETA_LOOP_STATUS_UNKNOWN : (uint32_t)status;
	fn(w, events, w->arg);
	greta_watch_remove(w);
}

static void dispatch_signals(struct greta_loop *l)
{
	struct signalfd_siginfo info;
	while (l->signal_fd >= 0 && read(l->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
		for (struct greta_watch *w = l->all; w; w = w->next)
			if (!w->removed && w->kind == KIND_SIGNAL && w->signo == (int)info.ssi_signo)
				w->fn(w, info.ssi_signo, w->arg);
}

static void dispatch_fd(struct greta_watch *w, uint32_t events)
{
	if (w->removed)
		return;
	if (w->kind == KIND_CHILD) {
		child_check(w);
		return;
	}
	/* An earlier callback of this round may have asked for less since. */
	events &= w->events | EPOLLERR | EPOLLHUP;
	if (w->events && events)
		w->fn(w, events, w->arg);
}

static void dispatch_always_ready(struct greta_loop *l)
{
	for (struct greta_watch *w = l->n_always_ready ? l->all : NULL; w; w = w->next)
		if (w->always_ready && w->kind == KIND_FD)
			dispatch_fd(w, EPOLLIN | EPOLLOUT);
}

/* Fires what was due when the round began. A timer that rearms itself with 0 is due later: it can't starve the rest. */
static void dispatch_timers(struct greta_loop *l)
{
	int64_t now = greta_clock_mono_ns();
	while (l->timers.n && l->timers.items[0]->due_ns <= now) {
		struct greta_watch *w = l->timers.items[0];
		int64_t due = w->due_ns;
		timer_disarm(w);
		if (w->kind == KIND_CHILD) {
			child_check(w);
			continue;
		}
		if (w->period_ns > 0)
			timer_arm(w, due + ((now - due) / w->period_ns + 1) * w->period_ns);
		w->fn(w, 0, w->arg);
	}
}

/* In whole milliseconds, rounded up: waking early would spin until the timer is due. */
static int wait_ms(const struct greta_loop *l, int64_t timeout_ms)
{
	if (l->stop)
		return 0;
	for (struct greta_watch *w = l->n_always_ready ? l->all : NULL; w; w = w->next)
		if (w->always_ready && !w->removed && (w->events & (EPOLLIN | EPOLLOUT)))
			return 0;
	int64_t ms = timeout_ms < 0 ? INT64_MAX : timeout_ms;
	if (l->timers.n) {
		int64_t left = l->timers.items[0]->due_ns - greta_clock_mono_ns();
		int64_t left_ms = left <= 0 ? 0 : left / GRETA_NS_PER_MS + (left % GRETA_NS_PER_MS != 0);
		ms = left_ms < ms ? left_ms : ms;
	}
	return ms == INT64_MAX ? -1 : ms > INT_MAX ? INT_MAX : (int)ms;
}

int greta_loop_once(struct greta_loop *l, int64_t timeout_ms, struct greta_err *e)
{
	struct epoll_event events[16]; /* timers are not to wait for long */
	int n = epoll_wait(l->epoll_fd, events, GRETA_COUNT(events), wait_ms(l, timeout_ms));
	if (n < 0 && errno != EINTR)
		return greta_err_sys(e, "can't wait for events");
	l->depth++;
	for (int i = 0; i < n; i++) {
		if (events[i].data.ptr)
			dispatch_fd(events[i].data.ptr, events[i].events);
		else
			dispatch_signals(l);
	}
	dispatch_always_ready(l);
	dispatch_timers(l);
	l->depth--;
	free_removed(l);
	return 0;
}

int greta_loop_run(struct greta_loop *l, struct greta_err *e)
{
	int result = 0;
	while (!l->stop && result == 0)
		result = greta_loop_once(l, -1, e);
	l->stop = false; /* it may be run again */
	return result;
}

void greta_loop_stop(struct greta_loop *l)
{
	l->stop = true;
}
