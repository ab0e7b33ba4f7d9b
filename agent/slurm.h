/* slurm: what we ask Slurm's own programs. Every call blocks, within a deadline: a controller of Slurm that is away makes
 * them wait. Never called from a session's loop. */
#ifndef AGENT_SLURM_H
#define AGENT_SLURM_H

#include "schemas/outcome.h"
#include "schemas/slurm.h"

/* Slurm's job states: whether the job has no processes yet (or not again), has some, is losing them, or is over; and what
 * becomes of an attempt that such a job has left without an outcome. A state that is not here is unknown. */
#define SLURM_STATES(X) \
	X(UNKNOWN,       "UNKNOWN",       OVER,  LOST) \
	X(PENDING,       "PENDING",       WAITS, PREEMPTED) \
	X(CONFIGURING,   "CONFIGURING",   WAITS, PREEMPTED) \
	X(REQUEUED,      "REQUEUED",      WAITS, PREEMPTED) \
	X(REQUEUE_HOLD,  "REQUEUE_HOLD",  WAITS, PREEMPTED) \
	X(REQUEUE_FED,   "REQUEUE_FED",   WAITS, PREEMPTED) \
	X(SPECIAL_EXIT,  "SPECIAL_EXIT",  WAITS, PREEMPTED) \
	X(RUNNING,       "RUNNING",       RUNS,  LOST) \
	X(SUSPENDED,     "SUSPENDED",     RUNS,  LOST) \
	X(STOPPED,       "STOPPED",       RUNS,  LOST) \
	X(RESIZING,      "RESIZING",      RUNS,  LOST) \
	X(SIGNALING,     "SIGNALING",     RUNS,  LOST) \
	X(STAGE_OUT,     "STAGE_OUT",     RUNS,  LOST) \
	X(COMPLETING,    "COMPLETING",    ENDS,  LOST) \
	X(COMPLETED,     "COMPLETED",     OVER,  LOST) \
	X(FAILED,        "FAILED",        OVER,  LOST) \
	X(TIMEOUT,       "TIMEOUT",       OVER,  TIMED_OUT) \
	X(DEADLINE,      "DEADLINE",      OVER,  TIMED_OUT) \
	X(NODE_FAIL,     "NODE_FAIL",     OVER,  LOST) \
	X(BOOT_FAIL,     "BOOT_FAIL",     OVER,  LOST) \
	X(PREEMPTED,     "PREEMPTED",     OVER,  PREEMPTED) \
	X(REVOKED,       "REVOKED",       OVER,  PREEMPTED) \
	X(CANCELLED,     "CANCELLED",     OVER,  PREEMPTED) \
	X(OUT_OF_MEMORY, "OUT_OF_MEMORY", OVER,  OOM)

enum slurm_life { SLURM_WAITS, SLURM_RUNS, SLURM_ENDS, SLURM_OVER };
enum slurm_state {
#define X(id, name, life, outcome) SLURM_##id,
	SLURM_STATES(X)
#undef X
	SLURM_STATE_COUNT
};
const char *slurm_state_name(enum slurm_state s);
enum slurm_state slurm_state_parse(const char *text); /* also "CANCELLED by 0" and "COMPLETED+" */
enum slurm_life slurm_state_life(enum slurm_state s);
enum greta_outcome slurm_state_outcome(enum slurm_state s);

struct slurm_job {
	int64_t id, restarts;
	enum slurm_state state;
	char reason[64];     /* why it waits, as Slurm says it: "Resources"; "": nothing said */
	int wait_status;     /* of an ended one, as waitpid gives it; -1: not known */
};
struct slurm_jobs {
	struct slurm_job *items;
	size_t n, cap;
};
void slurm_jobs_release(struct slurm_jobs *jobs);

/* The pool's jobs that Slurm still knows of, by `squeue --json`. EUNSUPPORTED: this Slurm is too old for that. */
int slurm_list(const struct greta_slurm *s, struct slurm_jobs *out, struct greta_err *e);
int slurm_list_parse(const char *json, size_t n, const char *job_name, struct slurm_jobs *out, struct greta_err *e);

/* One that squeue no longer shows: `scontrol`, then `sacct`. UNKNOWN when neither knows it. */
void slurm_find(int64_t id, struct slurm_job *out);

/* Submits one allocation; the job's id, or -1. EBUSY: not now, later perhaps (a full queue, no answer); any other code:
 * not as it is asked for, and the text says in one line what to change. without: machines with commas; "": on any. */
int64_t slurm_submit(const struct greta_slurm *s, const char *spool, const char *agent, double limit_s,
		     const char *without, struct greta_err *e);
int slurm_try(const struct greta_slurm *s, const char *spool, struct greta_err *e); /* sbatch --test-only */

int slurm_cancel(int64_t id); /* 0: done, or gone already */

/* What sbatch said when it refused, as one line with the way out. */
void slurm_refusal(const struct greta_slurm *s, const char *said, struct greta_err *e);

/* "greta", "22.05.8"; "" where the programs do not say. */
void slurm_cluster(char name[64], char version[32]);

#endif
