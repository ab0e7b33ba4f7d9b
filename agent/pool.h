/* pool: looks after pilots in jobs of Slurm, on a login node, beside a session.
 *
 *   tickets wait, and pilots that are there or asked for can't hold them   -> sbatch, one job at a time
 *   sbatch refuses for good (no such partition ...)                        -> what waits ends as infra, with the reason
 *   a pilot is gone: its job ended, or was requeued                        -> what it had taken and not begun waits again;
 *                                                                             what ran ends as Slurm says
 *   a job was requeued                                                     -> scancel; others come in its place
 *
 * It keeps nothing but that: tickets, pilots' folders and squeue say everything again after a restart. One at a time looks
 * after a pool, by a lock. Without one, pilots that are there go on by themselves; only new ones are not asked for. */
#ifndef AGENT_POOL_H
#define AGENT_POOL_H

#include "base/err.h"
#include "schemas/slurm.h"

/* The folder of this pool: as the settings say, or below the home; the caller owns it. Made ready. */
char *pool_spool(const struct greta_slurm *s, struct greta_err *e);

/* Until standard input ends. What people should know is written to standard output, a line each. */
int pool_run(const struct greta_slurm *s, const char *spool);

/* What it is, as the answer to `probe`: can we submit as the settings say, and which cluster is it? */
int pool_facts(const struct greta_slurm *s, const char *spool, struct greta_err *e);

#endif
