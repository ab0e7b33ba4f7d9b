/* launch: starts a supervisor that outlives us. */
#ifndef AGENT_LAUNCH_H
#define AGENT_LAUNCH_H

#include "base/err.h"
#include <stdbool.h>

/* Runs `greta-agent supervise DIR` detached: in a session of its own, child of nobody here, holding lock_fd.
 * recover: the former supervisor is dead; clean up after it and publish `lost`. Closes lock_fd in any case. */
int launch_supervisor(const char *dir, int lock_fd, bool recover, struct greta_err *e);

#endif
