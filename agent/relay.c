#include "agent/relay.h"
#include "base/mem.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define WATCHED (IN_MOVED_TO | IN_DELETE_SELF | IN_ONLYDIR)

void relays_init(struct relays *rs)
{
	*rs = (struct relays){.inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
}

static void relay_destroy(struct relays *rs, struct relay *r)
{
	if (r->watch >= 0)
		inotify_rm_watch(rs->inotify, r->watch);
	tail_close(&r->tail);
	free(r->dir);
	free(r);
}

void relays_release(struct relays *rs)
{
	for (size_t i = 0; i < rs->n; i++)
		relay_destroy(rs, rs->items[i]);
	free(rs->items);
	if (rs->inotify >= 0)
		close(rs->inotify);
	*rs = (struct relays){.inotify = -1};
}

struct relay *relays_find(const struct relays *rs, const char *attempt)
{
	for (size_t i = 0; i < rs->n; i++)
		if (strcmp(rs->items[i]->attempt, attempt) == 0)
			return rs->items[i];
	return NULL;
}

void relays_drop(struct relays *rs, struct relay *r)
{
	for (size_t i = 0; i < rs->n; i++) {
		if (rs->items[i] != r)
			continue;
		rs->items[i] = rs->items[--rs->n];
		relay_destroy(rs, r);
		return;
	}
}

/* Once it is known that there are events, the next ones need not wake anybody before those are read. */
static void listen_to(struct relays *rs, struct relay *r, bool events)
{
	if (rs->inotify >= 0)
		r->watch = inotify_add_watch(rs->inotify, r->dir, WATCHED | (events ? IN_MODIFY : 0));
	r->listens = events;
}

struct relay *relays_attach(struct relays *rs, const char *attempt, const char *dir, int64_t seq, int64_t credit,
			    struct greta_err *e)
{
	struct tail t;
	if (tail_open(&t, dir, seq, e) != 0)
		return NULL;
	struct relay *old = relays_find(rs, attempt);
	if (old)
		relays_drop(rs, old);
	struct relay *r = greta_alloc(sizeof *r);
	greta_str_copy(r->attempt, sizeof r->attempt, attempt);
	r->dir = greta_strdup(dir);
	r->tail = t;
	r->credit = credit > 0 ? credit : RELAY_CREDIT;
	r->watch = -1;
	listen_to(rs, r, true);
	r->maybe_more = true;
	*GRETA_PUSH(rs->items, rs->n, rs->cap) = r;
	return r;
}

static void wake_watch(struct relays *rs, int watch)
{
	for (size_t i = 0; i < rs->n; i++) {
		struct relay *r = rs->items[i];
		if (r->watch != watch)
			continue;
		r->maybe_more = true;
		if (r->listens)
			listen_to(rs, r, false);
	}
}

/* Of the other files in the folder the controller hears nothing. */
static bool concerns_us(const struct inotify_event *ev)
{
	return ev->len && (strcmp(ev->name, "events") == 0 || strcmp(ev->name, "outcome.json") == 0);
}

bool relays_wake(struct relays *rs, bool all)
{
	bool ended = false;
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n;
	while (rs->inotify >= 0 && (n = read(rs->inotify, buf, sizeof buf)) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *ev = (const struct inotify_event *)(buf + at);
			at += (ssize_t)(sizeof *ev + ev->len);
			if (ev->mask & IN_Q_OVERFLOW)
				all = true;
			else if (concerns_us(ev))
				wake_watch(rs, ev->wd);
			ended |= (ev->mask & IN_MOVED_TO) != 0;
		}
	}
	for (size_t i = 0; i < rs->n; i++)
		if (all || rs->items[i]->watch < 0)
			rs->items[i]->maybe_more = true;
	return ended;
}

static bool is_bulk(enum greta_event_kind kind)
{
	return kind == GRETA_EVENT_LOG || kind == GRETA_EVENT_TELEMETRY || kind == GRETA_EVENT_EVIDENCE;
}

/* True when the relay holds a frame. */
static bool fetch(struct relays *rs, struct relay *r, struct greta_err *e)
{
	if (r->have || r->broken || !r->maybe_more)
		return r->have;
	if (!r->listens)
		listen_to(rs, r, true);
	int got = tail_next(&r->tail, e);
	if (got == 0 && access(r->dir, F_OK) != 0 && errno == ENOENT)
		got = greta_err_set(e, GRETA_ENOENT, "%s is gone: does something clean up there while attempts run?", r->dir);
	r->have = got == 1;
	r->maybe_more = got == 1;
	r->broken = got < 0;
	return r->have;
}

static void give(struct relay *r, struct greta_buf *out)
{
	greta_buf_add(out, r->tail.frame, r->tail.n_frame);
	if (is_bulk(r->tail.kind))
		r->credit -= (int64_t)r->tail.n_frame;
	r->have = false;
}

bool relays_next(struct relays *rs, struct greta_buf *out, struct relay **broken, struct greta_err *e)
{
	struct relay *bulk = NULL;
	*broken = NULL;
	for (size_t i = 0; i < rs->n; i++) {
		struct relay *r = rs->items[(rs->turn + i) % rs->n];
		bool was_broken = r->broken;
		if (!fetch(rs, r, e)) {
			if (r->broken && !was_broken)
				*broken = r;
			continue;
		}
		if (!is_bulk(r->tail.kind)) {
			give(r, out);
			return true;
		}
		if (!bulk && r->credit > 0)
			bulk = r;
	}
	if (!bulk)
		return false;
	rs->turn++;
	give(bulk, out);
	return true;
}
