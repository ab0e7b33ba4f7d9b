/* pilot: runs attempts on one allocation of a scheduler until none waits, its time is up, or it is told to end.
 *
 *   FLYING   takes tickets that fit its free slots and its time; each gets a supervisor, as on any node
 *   LANDING  SIGTERM came (time limit, preemption, scancel): takes none, passes the signal on, waits for outcomes
 *
 * It holds nothing that its end would lose: tickets and spools are on the shared file system. Where it dies, whoever looks
 * after the pool (pool.h) sees to what it had taken. */
#ifndef AGENT_PILOT_H
#define AGENT_PILOT_H

#include "agent/paths.h"
#include "base/err.h"

struct pilot_options {
	const char *spool;
	const char *local_spool; /* folder on the machine's own disk, where attempts run; NULL: in the spool */
	double limit_s;  /* when the scheduler ends the job, from now; 0: never */
	double idle_s;   /* without work */
};
int pilot_run(const struct agent_paths *paths, const struct pilot_options *o, struct greta_err *e);

#endif
