#include "agent/session.h"
#include "agent/launch.h"
#include "agent/request.h"
#include "agent/spare.h"
#include "agent/spool.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define READ_BYTES (64 * 1024)
#define SENDING_BYTES (32 * 1024) /* gathered for one write */
#define LOOK_MS 1000              /* how soon a dead supervisor is noticed */
#define GATHER_MS 50              /* what nobody waits for goes out together: a short attempt in one packet, not in six */
#define SILENCE_NS (10 * GRETA_NS_PER_S) /* controllers ping every 5 s, and give up after as much without an answer */
#define POOL_LOOK_MS 250          /* inotify does not tell what other machines write */

void session_send(struct session *s, const struct greta_msg *m)
{
	struct greta_err e = {0};
	if (greta_msg_encode(m, &s->urgent, &e) != 0)
		greta_error("can't send %s: %s", greta_msg_type_name(m->type), e.text);
}

/* The pool says something that people should know. */
static void on_pool_news(void *arg, const char *line)
{
	struct session *s = arg;
	struct greta_msg m = {.type = GRETA_MSG_REFUSED, .code = GRETA_EBUSY, .text = (char *)line};
	session_send(s, &m);
	session_flush(s);
}

static void report_broken(struct session *s, const struct relay *r, const struct greta_err *why)
{
	struct greta_msg m = {.type = GRETA_MSG_REFUSED, .code = why->code, .text = (char *)why->text};
	greta_str_copy(m.attempt, sizeof m.attempt, r->attempt);
	session_send(s, &m);
}

static void gather(struct session *s)
{
	while (s->sending.len < SENDING_BYTES) {
		struct relay *broken = NULL;
		struct greta_err e = {0};
		if (s->urgent.len) {
			greta_buf_add(&s->sending, s->urgent.data, s->urgent.len);
			greta_buf_clear(&s->urgent);
		}
		bool more = !s->ending && relays_next(&s->relays, &s->sending, &broken, &e);
		if (broken)
			report_broken(s, broken, &e);
		if (!more && !s->urgent.len)
			return;
	}
}

/* Writes until nothing is left or the other side takes no more. */
void session_flush(struct session *s)
{
	s->gathering = false;
	for (;;) {
		if (!s->sending.len)
			gather(s);
		if (!s->sending.len)
			break;
		ssize_t n = write(STDOUT_FILENO, s->sending.data, s->sending.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			greta_loop_stop(s->loop); /* the reader is gone */
			return;
		}
		if (n < 0)
			break;
		greta_buf_consume(&s->sending, (size_t)n);
	}
	greta_watch_events(s->out, s->sending.len ? EPOLLOUT : 0);
	if (s->ending && !s->sending.len)
		greta_loop_stop(s->loop);
}

static void on_writable(struct greta_watch *w, uint32_t events, void *arg)
{
	struct session *s = arg;
	(void)w;
	if (events & (EPOLLERR | EPOLLHUP))
		greta_loop_stop(s->loop);
	else
		session_flush(s);
}

static void flush_soon(struct session *s)
{
	if (s->gathering)
		return;
	s->gathering = true;
	greta_watch_rearm(s->gather, GATHER_MS);
}

static void on_notify(struct greta_watch *w, uint32_t events, void *arg)
{
	struct session *s = arg;
	(void)w, (void)events;
	if (relays_wake(&s->relays, false))
		session_flush(s);
	else
		flush_soon(s);
}

static void on_gathered(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w, (void)events;
	session_flush(arg);
}

/* Supervisors die without a word: their locks tell. */
static void on_look(struct greta_watch *w, uint32_t events, void *arg)
{
	struct session *s = arg;
	(void)w, (void)events;
	launch_reap();
	for (size_t i = 0; i < s->relays.n && !s->pool; i++)
		launch_adopt(s->paths, s->relays.items[i]->dir, NULL);
	relays_wake(&s->relays, s->relays.inotify < 0 || s->pool);
	request_tell_quarantine(s);
	session_flush(s);
}

/* The stream can't be trusted beyond this point: says why, and ends. */
static void break_off(struct session *s, const struct greta_err *e)
{
	struct greta_msg m = {.type = GRETA_MSG_REFUSED, .code = e->code, .text = (char *)e->text};
	session_send(s, &m);
	s->ending = true;
	greta_watch_remove(s->in);
	s->in = NULL;
}

/* That an attempt was started or acknowledged, its events will tell as well. */
static bool is_waited_for(enum greta_msg_type type)
{
	return type != GRETA_MSG_START && type != GRETA_MSG_ACK;
}

/* True when the answers should go out at once. */
static bool take_frames(struct session *s)
{
	size_t used = 0;
	bool urgent = false;
	while (!s->ending) {
		struct greta_msg m = {0};
		struct greta_err e = {0};
		ssize_t n = greta_msg_decode(s->received.data + used, s->received.len - used, &m, &e);
		if (n < 0)
			break_off(s, &e);
		if (n <= 0)
			break;
		used += (size_t)n;
		urgent |= is_waited_for(m.type);
		if (request_handle(s, &m, &e) != 0)
			break_off(s, &e);
		greta_msg_release(&m);
	}
	greta_buf_consume(&s->received, used);
	return urgent || s->ending;
}

static void note_silence(struct session *s)
{
	int64_t now = greta_clock_boot_ns();
	s->given_up |= s->greeted && now - s->heard_ns >= SILENCE_NS;
	s->heard_ns = now;
}

static void on_readable(struct greta_watch *w, uint32_t events, void *arg)
{
	struct session *s = arg;
	(void)w, (void)events;
	ssize_t n = read(STDIN_FILENO, greta_buf_reserve(&s->received, READ_BYTES), READ_BYTES);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		greta_loop_stop(s->loop);
		return;
	}
	s->received.len += (size_t)n;
	s->received.data[s->received.len] = '\0';
	note_silence(s);
	if (take_frames(s))
		session_flush(s);
	else
		flush_soon(s);
}

static int set_up(struct session *s, const char *slurm, struct greta_err *e)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigaction(SIGPIPE, &ignore, NULL);
	greta_child_raise_files(); /* each attempt that waits or runs takes some */
	relays_init(&s->relays);
	s->loop = greta_loop_create(e);
	if (!s->loop || greta_fs_set_nonblock(STDIN_FILENO, e) != 0 || greta_fs_set_nonblock(STDOUT_FILENO, e) != 0)
		return -1;
	if (slurm && !(s->pool = pool_child_start(s->loop, slurm, on_pool_news, s, e)))
		return -1;
	s->in = greta_loop_fd(s->loop, STDIN_FILENO, EPOLLIN, on_readable, s);
	s->out = greta_loop_fd(s->loop, STDOUT_FILENO, 0, on_writable, s);
	if (s->relays.inotify >= 0)
		s->notify = greta_loop_fd(s->loop, s->relays.inotify, EPOLLIN, on_notify, s);
	int64_t look_ms = s->pool ? POOL_LOOK_MS : LOOK_MS;
	greta_loop_timer(s->loop, look_ms, look_ms, on_look, s);
	s->gather = greta_loop_timer(s->loop, -1, 0, on_gathered, s);
	return 0;
}

static void session_release(struct session *s)
{
	if (!s->pool)
		spare_clear(s->paths->spool);
	request_release(s);
	pool_child_end(s->pool);
	if (s->loop)
		greta_loop_destroy(s->loop);
	relays_release(&s->relays);
	greta_buf_release(&s->received);
	greta_buf_release(&s->urgent);
	greta_buf_release(&s->sending);
	fence_release(&s->fence);
}

int session_run(const struct agent_paths *paths, const char *nonce, const char *slurm, struct greta_err *e)
{
	struct session s = {.paths = paths};
	spool_tidy(paths->spool);
	int rc = set_up(&s, slurm, e);
	if (rc == 0) {
		greta_buf_addf(&s.urgent, GRETA_MAGIC " %s %d\n", nonce, GRETA_PROTOCOL_MAX);
		session_flush(&s);
		rc = greta_loop_run(s.loop, e);
	}
	session_release(&s);
	return rc;
}
