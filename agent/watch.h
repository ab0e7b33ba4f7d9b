/* watch: looks after a running engine once a tick: samples host and GPU, feeds the watchdog, writes telemetry, gathers
 * evidence before a kill. */
#ifndef AGENT_WATCH_H
#define AGENT_WATCH_H

#include "agent/breadcrumb.h"
#include "agent/engine.h"
#include "agent/finish.h"
#include "agent/gauge.h"
#include "agent/kill.h"
#include "agent/telemetry.h"
#include "agent/watchdog.h"
#include "base/loop.h"

struct supervise;

struct watch {
	struct watchdog dog;
	struct telemetry telemetry;
	struct greta_watch *tick;
	int64_t period_ns, looked_ns;   /* of ticks; when the time was last looked at */
	int64_t frozen_ns;              /* that the budget has not been given yet */
	int64_t second_ns;              /* the last row of telemetry */
	struct kill_pids helpers;       /* all that were started: what they have left behind is in their sessions */
	/* the reader of GPU counters */
	struct greta_facts gpus;        /* the devices held */
	struct greta_watch *gauge_due;  /* when it starts */
	pid_t reader;
	int gauge_fd;
	struct gauge_record gauge;
	double errors_before[GAUGE_MAX]; /* uncorrectable, when they were first read */
	bool errors_known[GAUGE_MAX];
	struct breadcrumb crumb;        /* as last read */
	/* the collector of evidence, and what follows when it is done */
	pid_t collector;
	int evidence_fd;
	struct greta_buf items;
	struct greta_watch *evidence, *evidence_deadline;
	size_t kernel_log_told;         /* bytes of it */
	bool moved;                     /* progress came since it was started */
	enum stop_why stop_after;
	char stop_text[400];
	/* at the end */
	bool projected;
	double projection_s;
	char projection[160];
};

void watch_begin(struct supervise *s);
void watch_progress(struct supervise *s);      /* new lines of progress were understood */

/* The budget is over: true when the engine may go on (on_slow: extend; it was frozen), or evidence is being gathered first. */
bool watch_wall(struct supervise *s);

/* The engine is gone: helpers are ended, last rows told. */
void watch_end(struct supervise *s);
/* When the attempt did not end well: the black box, and what the kernel has said since the kill. */
void watch_last_evidence(struct supervise *s);
/* A child was reaped: true when it was a helper. Its number may be anybody's from now on. */
bool watch_reaped(struct supervise *s, pid_t pid);
/* An item of evidence, as events; arg: the struct supervise. */
void watch_tell_item(void *arg, const char *name, const char *bytes, size_t n);
void watch_release(struct supervise *s);

#endif
