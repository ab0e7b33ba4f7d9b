/* kill: finds and ends all processes of an attempt.
 *
 * Three ways, for what each can't see: descent (the supervisor is a subreaper, so whoever loses its parent becomes its
 * child), the cgroup, and the attempt's id in the environment (for whoever cleans up after a dead supervisor).
 * Stop signals can't hide a process: KILL ends stopped ones, and TERM is followed by CONT. */
#ifndef AGENT_KILL_H
#define AGENT_KILL_H

#include "agent/cgroup.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define KILL_ATTEMPT_VARIABLE "GRETA_ATTEMPT"

struct kill_pids {
	pid_t *items;
	size_t n, cap;
};

struct kill_target {
	const char *proc;      /* /proc */
	const char *attempt;   /* looked for in environments; NULL: not */
	pid_t ancestor;        /* whose descendants are meant, itself excluded; 0: nobody's */
	const struct cgroup *cgroup; /* NULL: none */
	/* Leaders of sessions that are our own, not the attempt's, with all that is in them, also when the leader is gone; the
	 * attempt's processes can't join a session. NULL: none */
	const struct kill_pids *helpers;
};

/* Who belongs to it now, zombies left out. */
void kill_find(const struct kill_target *t, struct kill_pids *out);

/* TERM to the process group, then CONT so that stopped members can act on it. */
void kill_ask(pid_t group);

/* KILL to all that can be found; returns how many were found. To be repeated until none is. */
size_t kill_all(const struct kill_target *t);

/* The same for its helpers. */
size_t kill_helpers(const struct kill_target *t);

void kill_pids_release(struct kill_pids *p);

#endif
