/* queue: attempts in a spool that several machines share, and who runs them.
 *
 *   <spool>/queue/<ticket>              an attempt that waits for a pilot, in the order of coming
 *          /pilots/<pilot>/<ticket>     one that this pilot took, until its outcome is there
 *          /log/<job>                   what the pilot's job prints, Slurm's own last words included
 *
 * Tickets are empty files whose name says all: when it came, which attempt, what it needs. Taking one is a rename, which
 * the file system gives to one alone, also on NFS; no lock is needed. Readers look into the queue before they look at
 * pilots, so an attempt on its way between the two is never missed. */
#ifndef AGENT_QUEUE_H
#define AGENT_QUEUE_H

#include "base/err.h"
#include "base/str.h"
#include "base/uuid.h"
#include "schemas/msg.h"

struct ticket {
	char name[128];
	char attempt[GRETA_UUID_LEN + 1];
	enum greta_slot_kind slot;
	int64_t came_ns;            /* wall clock */
	int64_t gpus, cpus, wall_s; /* wall_s 0: no budget */
};
struct tickets {
	struct ticket *items;
	size_t n, cap;
};
void tickets_release(struct tickets *t);

int queue_prepare(const char *spool, struct greta_err *e);
int queue_add(const char *spool, const struct greta_spec *spec, struct greta_err *e);
void queue_list(const char *spool, struct tickets *out);

/* True when the ticket was there and is now ours: out of the queue, below the pilot, back from it. */
bool queue_drop(const char *spool, const struct ticket *t);
bool queue_drop_attempt(const char *spool, const char *attempt);
bool queue_take(const char *spool, const char *pilot, const struct ticket *t);
bool queue_return(const char *spool, const char *pilot, const struct ticket *t);

/* Pilots are named "<job>.<restarts>": a job that was requeued comes back as another one. */
int queue_pilot_begin(const char *spool, const char *pilot, struct greta_err *e);
void queue_pilot_end(const char *spool, const char *pilot); /* if it holds nothing */
void queue_pilots(const char *spool, struct greta_strs *out);
void queue_taken(const char *spool, const char *pilot, struct tickets *out);
void queue_done(const char *spool, const char *pilot, const struct ticket *t);

#endif
