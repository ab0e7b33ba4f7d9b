#include "agent/take.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include <stdio.h>
#include <string.h>

#define RETRY_MS 100
#define RETRY_FOREIGN_MS 1000

static void tell_waiting(struct supervise *s)
{
	cleanup_buf struct greta_buf detail = {0};
	struct greta_jsonw w = greta_jsonw(&detail);
	if (strcmp(s->said_waiting, s->slots.waiting_for) == 0)
		return;
	greta_str_copy(s->said_waiting, sizeof s->said_waiting, s->slots.waiting_for);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "for", s->slots.waiting_for);
	greta_jsonw_end_object(&w);
	journal_add(&s->journal, GRETA_EVENT_WAITING, detail.data);
}

static bool waited_too_long(const struct supervise *s)
{
	int64_t waited = greta_clock_mono_ns() - s->waiting_since_ns;
	return s->spec.slot_wait_s > 0 && (double)waited >= s->spec.slot_wait_s * (double)GRETA_NS_PER_S;
}

static void try(struct supervise *s)
{
	struct greta_err e = {0};
	if (slots_take(&s->slots, s->paths, &s->spec, &e) == 0) {
		greta_watch_remove(s->retry);
		s->retry = NULL;
		supervise_start(s);
		return;
	}
	if (e.code != GRETA_EBUSY) {
		supervise_fail_start(s, "slot", &e);
	} else if (waited_too_long(s)) {
		greta_err_wrap(&e, "no slot within %.0f s", s->spec.slot_wait_s);
		supervise_fail_start(s, "slot", &e);
	} else {
		tell_waiting(s);
		greta_watch_rearm(s->retry, s->slots.foreign ? RETRY_FOREIGN_MS : RETRY_MS);
	}
}

static void on_retry(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w, (void)events;
	try(arg);
}

void take_begin(struct supervise *s)
{
	struct greta_err e = {0};
	s->waiting_since_ns = greta_clock_mono_ns();
	s->retry = greta_loop_timer(s->loop, -1, 0, on_retry, s);
	if (slots_prepare(s->paths->slots, &e) != 0)
		supervise_fail_start(s, "slot", &e);
	else
		try(s);
}
