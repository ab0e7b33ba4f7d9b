/* collect: attempts of a pool that run in a spool on the machine's own disk, and are collected into the shared one.
 *
 *   taken   the shared folder's lock is ours, and it says that something may have run
 *   running in a folder of its own in the near spool, by a supervisor as on any node; whole events are appended to the
 *           shared folder, where the login node reads them, and its cancel is passed on
 *   over    the near outcome is published in the shared folder, then the near one is removed
 *
 * A pilot that dies leaves near folders behind. The next one on that machine collects those that nobody has ended yet. */
#ifndef AGENT_COLLECT_H
#define AGENT_COLLECT_H

#include "agent/paths.h"
#include "agent/tail.h"
#include "base/uuid.h"

struct collected { /* one that runs */
	char attempt[GRETA_UUID_LEN + 1];
	char *from, *to;        /* its folders */
	int lock;               /* of the shared folder */
	struct tail tail;       /* of the near events */
	bool waits;             /* its current frame could not be brought over yet */
	int events;             /* the shared ones, for appending */
	off_t events_bytes;     /* of whole frames there */
	bool cancelled;
};
struct collect {
	struct agent_paths paths; /* spool: the near one, owned; the rest borrowed */
	const char *shared;
	struct collected *items;
	size_t n, cap;
};

/* Makes <folder>/greta-UID/<name of the shared spool> ready, and collects what dead pilots have left there. */
int collect_init(struct collect *c, const struct agent_paths *paths, const char *folder, const char *shared,
		 struct greta_err *e);
void collect_release(struct collect *c);

/* Runs an attempt of the shared spool; of one that has run before, ends what is left. */
void collect_begin(struct collect *c, const char *attempt);

/* Brings over what is new; an attempt that is through is then forgotten. */
void collect_tend(struct collect *c, const char *attempt);

#endif
