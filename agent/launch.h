/* launch: makes a supervisor that outlives us.
 *
 * It is forked and not executed: greta-agent is in memory already, and loading it anew would cost more than all else
 * that supervision does. It leaves everything of ours behind: descriptors, signals, session, folder, and in `ps` the
 * name.
 *
 * One that is through with its attempt, and has no child left, takes the next: the fork is half of what a short attempt
 * costs. The lock comes to it through a socket whose end with us tells it to go. */
#ifndef AGENT_LAUNCH_H
#define AGENT_LAUNCH_H

#include "agent/paths.h"
#include "base/err.h"
#include "base/loop.h"
#include <stdbool.h>

/* Supervises the attempt in dir, in a session of its own, holding lock_fd. recover: the former supervisor is dead;
 * clean up after it and publish `lost`. Closes lock_fd in any case. */
int launch_supervisor(const struct agent_paths *paths, const char *dir, int lock_fd, bool recover, struct greta_err *e);

/* Calls fn as soon as a supervisor launched from now on is through with its attempt; fn calls launch_reap, which takes
 * note of it. */
void launch_watch(struct greta_loop *loop, greta_loop_fn *fn, void *arg);

/* Takes note of those that have ended, so that no zombies stay, and lets those go that were idle for a while. Those at
 * work live on when we end. */
void launch_reap(void);

/* An attempt without an outcome whose lock nobody holds gets a new supervisor: one that runs it if nothing of it has
 * run yet, else, or if that is not known any more, one that ends it as `lost`. True when one was launched. */
bool launch_adopt(const struct agent_paths *paths, const char *dir, struct greta_err *e);

#endif
