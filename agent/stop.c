#include "agent/stop.h"
#include "agent/after.h"
#include "agent/capture.h"
#include "agent/kill.h"
#include "base/clock.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GRACE_DEFAULT_S 30.0
#define GRACE_CANCEL_S 3.0    /* a person waits, 5 s at most */
#define SWEEP_FIRST_MS 10
#define SWEEP_MS 100
#define UNKILLABLE_S 60.0     /* as Slurm's UnkillableStepTimeout; GRETA_UNKILLABLE_S sets another */

static double unkillable_s(void)
{
	double s;
	const char *set = getenv("GRETA_UNKILLABLE_S");
	return set && greta_str_f64(set, &s) == 0 && s > 0 ? s : UNKILLABLE_S;
}

static void give_up(struct supervise *s)
{
	s->end.survivors = true;
	s->exit_ns = s->exit_ns ? s->exit_ns : greta_clock_mono_ns();
	greta_error("processes of attempt %s are left after %g s of KILL", s->spec.attempt, unkillable_s());
	after_survivors(s);
	supervise_finish(s);
}

static void on_sweep(struct greta_watch *w, uint32_t events, void *arg)
{
	struct supervise *s = arg;
	const struct kill_target target = {.proc = "/proc", .ancestor = getpid(), .cgroup = &s->cgroup,
					   .helpers = &s->watch.helpers};
	(void)w, (void)events;
	size_t left = kill_all(&target), helpers = kill_helpers(&target);
	capture_drain(s, false);
	if (s->exited && left == 0 && helpers)
		stop_sweep(s, true); /* a reader of ours that hangs in the kernel is not the attempt's */
	else if ((double)(greta_clock_mono_ns() - s->killed_ns) >= unkillable_s() * (double)GRETA_NS_PER_S)
		give_up(s);
	else
		greta_watch_rearm(s->sweep, SWEEP_MS);
}

void stop_sweep(struct supervise *s, bool none_left)
{
	greta_watch_remove(s->grace);
	s->grace = NULL;
	if (none_left) {
		capture_drain(s, true);
		supervise_finish(s);
		return;
	}
	if (s->state == SUPERVISE_SWEEPING)
		return;
	s->state = SUPERVISE_SWEEPING;
	s->killed_ns = greta_clock_mono_ns();
	s->sweep = greta_loop_timer(s->loop, SWEEP_FIRST_MS, 0, on_sweep, s);
	on_sweep(s->sweep, 0, s);
}

static void on_grace(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w, (void)events;
	stop_sweep(arg, false);
}

static double grace_s(const struct supervise *s)
{
	double grace = s->spec.term_grace_s > 0 ? s->spec.term_grace_s : GRACE_DEFAULT_S;
	return s->stop == STOP_CANCEL && grace > GRACE_CANCEL_S ? GRACE_CANCEL_S : grace;
}

void supervise_stop(struct supervise *s, enum stop_why why, const char *text)
{
	if (s->state != SUPERVISE_WAITING && s->state != SUPERVISE_RUNNING)
		return;
	s->stop = why;
	if (text)
		greta_str_copy(s->stop_text, sizeof s->stop_text, text);
	if (s->state == SUPERVISE_WAITING) {
		supervise_finish(s);
		return;
	}
	s->state = SUPERVISE_STOPPING;
	after_note_hang(s);
	kill_ask(s->engine.pid);
	s->grace = greta_loop_timer(s->loop, (int64_t)(grace_s(s) * 1e3), 0, on_grace, s);
}
