/* fence: which controller owns a database's attempts on this node.
 *
 * Every controller that takes over a database has a higher fence. The highest seen is on disk before it is answered;
 * from then on a lower one can neither start, cancel nor acknowledge, however late it wakes up. */
#ifndef AGENT_FENCE_H
#define AGENT_FENCE_H

#include "base/err.h"
#include <stdint.h>

#define FENCE_PEER_CAP 128

struct fence {
	char *path;           /* <spool>/fence/<db-uuid> */
	int64_t mine;
	int64_t highest;      /* as last read */
	char peer[FENCE_PEER_CAP]; /* who holds the highest */
};

/* Raises the node's fence to `mine` if that is higher. f->highest tells the result either way. */
int fence_raise(struct fence *f, const char *spool, const char *db, int64_t mine, const char *peer, struct greta_err *e);

/* Enters an action that only the owner may take: a descriptor to be closed after it, which keeps the fence from being
 * raised meanwhile; or -1 with EFENCED naming the owner. */
int fence_enter(struct fence *f, const char *action, struct greta_err *e);

void fence_release(struct fence *f);

#endif
