/* launch: starts a supervisor that outlives us. */
#ifndef AGENT_LAUNCH_H
#define AGENT_LAUNCH_H

#include "base/err.h"
#include <stdbool.h>

/* Runs `greta-agent supervise DIR` in a session of its own, holding lock_fd. recover: the former supervisor is dead;
 * clean up after it and publish `lost`. Closes lock_fd in any case. */
int launch_supervisor(const char *dir, int lock_fd, bool recover, struct greta_err *e);

/* Takes note of those that have ended, so that no zombies stay; they live on when we end. */
void launch_reap(void);

/* An attempt without an outcome whose lock nobody holds gets a new supervisor: one that runs it if nothing of it has
 * run yet, else one that ends it as `lost`. True when one was launched. */
bool launch_adopt(const char *dir, struct greta_err *e);

#endif
