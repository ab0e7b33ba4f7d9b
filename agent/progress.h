/* progress: reads an engine's progress pipe, and thins it out for the journal: every change of phase, else at most one
 * event in PROGRESS_EVERY_NS, always the newest. Whoever learns from progress is given every line. Pure: fed with bytes
 * and the time. */
#ifndef AGENT_PROGRESS_H
#define AGENT_PROGRESS_H

#include "base/buf.h"
#include "schemas/result.h"

#define PROGRESS_EVERY_NS (250 * INT64_C(1000000))
#define PROGRESS_LINE_MAX 4096
#define PROGRESS_BURST 64 /* changes of phase told at once; an engine that changes all the time is thinned out too */

struct progress {
	struct greta_buf line;
	bool skipping;               /* inside an over-long line */
	struct greta_progress last;  /* the newest understood */
	struct greta_progress *fresh; /* all that the last feed brought, the newest last */
	size_t n_fresh, cap_fresh;
	bool waiting;                /* `last` has not been told yet */
	bool urgent;                 /* ... and its phase is new */
	int64_t told_ns;
	int burst_left;
	int64_t n_lines;             /* understood */
	int64_t n_garbled;           /* not understood, or torn by a full pipe */
};

void progress_init(struct progress *p);
/* True when something was understood. */
bool progress_feed(struct progress *p, const char *bytes, size_t n);
/* True when `last` should be told now; it then counts as told. */
bool progress_due(struct progress *p, int64_t now_ns);
/* When progress_due may become true: ns from now; -1: nothing waits. */
int64_t progress_wait_ns(const struct progress *p, int64_t now_ns);
void progress_release(struct progress *p);

#endif
