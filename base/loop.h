/* loop: one thread waiting for descriptors, timers, signals and children (epoll, timerfd-free timers, signalfd,
 * pidfd). Callbacks run one after the other; each may add and remove anything, itself included.
 *
 * Who adds a watch gets NULL, with errno, if it can't be had (EBADF; EEXIST: the descriptor is watched already; ESRCH:
 * no such child). A process that forks and does not exec must leave the loop alone: its epoll set is its parent's. */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include "base/err.h"
#include <stdint.h>
#include <sys/types.h>

struct greta_loop;
struct greta_watch; /* a descriptor, a timer, a signal or a child; owned by the loop until removed */

/* events: EPOLLIN | EPOLLOUT | ... as epoll reports them; 0 for a timer; the signal number; a child's wait status,
 * or GRETA_LOOP_STATUS_UNKNOWN (neither exited nor signalled) if somebody else reaped it. */
#define GRETA_LOOP_STATUS_UNKNOWN UINT32_MAX
typedef void greta_loop_fn(struct greta_watch *w, uint32_t events, void *arg);

struct greta_loop *greta_loop_create(struct greta_err *e);
/* Removes what is left; closes no descriptor of the caller's. Not from inside a callback. */
void greta_loop_destroy(struct greta_loop *l);

/* Level-triggered. Files that can't be waited for (epoll refuses regular files and /dev/null) are always ready.
 * events 0: paused, hang-ups included. Remove the watch before closing fd. */
struct greta_watch *greta_loop_fd(struct greta_loop *l, int fd, uint32_t events, greta_loop_fn *fn, void *arg);
void greta_watch_events(struct greta_watch *w, uint32_t events);

/* Once after delay_ms, then every period_ms if that is not 0 (missed periods are not made up). A timer that has
 * fired stays, to be rearmed or removed. */
struct greta_watch *greta_loop_timer(struct greta_loop *l, int64_t delay_ms, int64_t period_ms, greta_loop_fn *fn,
				     void *arg);
void greta_watch_rearm(struct greta_watch *w, int64_t delay_ms); /* negative: disarmed until the next rearm */

/* Blocks the signal in this thread and delivers it here; unblocked again when its last watch is removed. */
struct greta_watch *greta_loop_signal(struct greta_loop *l, int signo, greta_loop_fn *fn, void *arg);

/* Calls once with the wait status after reaping pid; the watch is gone after that call. */
struct greta_watch *greta_loop_child(struct greta_loop *l, pid_t pid, greta_loop_fn *fn, void *arg);

void greta_watch_remove(struct greta_watch *w); /* NULL is fine; safe inside callbacks, its own included */

int greta_loop_run(struct greta_loop *l, struct greta_err *e);           /* until greta_loop_stop */
int greta_loop_once(struct greta_loop *l, int64_t timeout_ms, struct greta_err *e); /* -1: wait as long as it takes */
void greta_loop_stop(struct greta_loop *l);

#endif
