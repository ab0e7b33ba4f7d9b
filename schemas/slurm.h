/* slurm: how a pool of Slurm allocations is asked for. The controller stores it with the node and prints what would be
 * submitted; the agent on the login node submits the same.
 *
 * An allocation is one job of one node, a pilot, that runs attempts one after the other on every slot it was given. */
#ifndef SCHEMAS_SLURM_H
#define SCHEMAS_SLURM_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>

#define GRETA_SLURM_ROUNDS 8         /* attempts that an allocation has time for on each slot, at their full budgets */
#define GRETA_SLURM_MARGIN_S 120.0   /* of an attempt: hashing files, TERM to KILL, evidence */
#define GRETA_SLURM_IDLE_S 60.0
#define GRETA_SLURM_NO_BUDGET_S 3600.0 /* what is asked for an attempt that has no wall budget */

struct greta_slurm {
	char *name;                  /* the node's; jobs are called greta-NAME */
	char *spool;                 /* folder that login and compute nodes share; NULL: below the home there */
	char *local_spool;           /* folder on compute nodes' own disks, where attempts run; NULL: in the spool */
	char *partition, *account, *qos, *gres; /* NULL: Slurm's defaults */
	struct greta_strs options;   /* further ones for sbatch, "--constraint=mi300x" */
	int64_t nodes;               /* allocations at once */
	int64_t cpus;                /* of an allocation; 0: Slurm's default */
	double limit_s;              /* longest allocation; 0: as long as attempts need */
	double idle_s;               /* a pilot without work ends after this */
};

int greta_slurm_parse(const char *text, size_t n, struct greta_slurm *out, struct greta_err *e);
void greta_slurm_print(const struct greta_slurm *s, struct greta_buf *out);
void greta_slurm_release(struct greta_slurm *s);

/* GPUs of an allocation, by its gres: "gpu:mi300x:8" is 8, "gpu" is 1, none is 0. */
int64_t greta_slurm_gpus(const struct greta_slurm *s);

/* Seconds to ask for when the longest waiting attempt has this budget. EINVAL: limit_s is too short for even one. */
int greta_slurm_limit_s(const struct greta_slurm *s, double longest_s, double *out, struct greta_err *e);

/* sbatch and its options, without the script, which goes to its standard input. spool: where it is on the cluster. */
void greta_slurm_argv(const struct greta_slurm *s, const char *spool, double limit_s, struct greta_strs *argv);
void greta_slurm_script(const struct greta_slurm *s, const char *agent, const char *spool, double limit_s,
			struct greta_buf *out);

#endif
