/* relay: passes one attempt's events from its spool to the controller, as far as credit allows.
 *
 * Events of an attempt keep their order. Logs, telemetry and evidence are bulk: they spend credit, and yield to other
 * attempts' events and to everything the session itself has to say. */
#ifndef AGENT_RELAY_H
#define AGENT_RELAY_H

#include "agent/tail.h"
#include <sys/types.h>

#define RELAY_CREDIT (256 * 1024) /* where the controller does not say */

struct relay {
	char attempt[GRETA_UUID_LEN + 1];
	char *dir;
	struct tail tail;
	int64_t credit;
	int watch;        /* inotify's number for dir; -1: none, polled */
	bool listens;     /* to events, too, not only to the outcome */
	bool have;        /* tail's current frame waits to be sent */
	bool maybe_more;  /* something may have been appended since the last look */
	bool broken;      /* said to the controller once */
};

struct relays {
	struct relay **items;
	size_t n, cap;
	size_t turn;      /* who is asked first next time */
	int inotify;      /* -1: none to be had, polled */
};

void relays_init(struct relays *rs);
void relays_release(struct relays *rs);

struct relay *relays_find(const struct relays *rs, const char *attempt);

/* Begins after `seq`, or begins anew if it was attached. */
struct relay *relays_attach(struct relays *rs, const char *attempt, const char *dir, int64_t seq, int64_t credit,
			    struct greta_err *e);
void relays_drop(struct relays *rs, struct relay *r);

/* Reads what inotify has to say; all: looks at every attempt regardless. True when an outcome has appeared: that can't
 * wait, while events may until more of them have come. */
bool relays_wake(struct relays *rs, bool all);

/* Appends the next frame that may go out. False: none now. A damaged spool comes back in *broken, once. */
bool relays_next(struct relays *rs, struct greta_buf *out, struct relay **broken, struct greta_err *e);

#endif
