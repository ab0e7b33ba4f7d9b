/* supervise: a process with one attempt at a time, from its spec to its outcome. It outlives the session that started it.
 *
 *   WAITING   files are verified, slots tried until all   -> RUNNING, or ENDED (infra: a wrong file, no slot,
 *             are ours                                       no engine)
 *   RUNNING   the engine lives                            -> SWEEPING when it exits
 *                                                         -> STOPPING: budget, cancel, verdict, told to end
 *   STOPPING  TERM was sent to its group                  -> SWEEPING when it exits, or after the grace
 *   SWEEPING  KILL to every process of the attempt        -> ENDED when none is left, or after UNKILLABLE_S; after a
 *                                                            hang on a GPU only when the driver was heard and probed
 *   ENDED     slots given back, outcome published
 *
 * Teardown order: tree dead -> pipes read to their end -> events synced -> slots free -> outcome published -> lock
 * released by exit. Whoever sees the outcome may use the slot.
 */
#ifndef AGENT_SUPERVISE_H
#define AGENT_SUPERVISE_H

#include "agent/build.h"
#include "agent/cgroup.h"
#include "agent/engine.h"
#include "agent/finish.h"
#include "agent/hash.h"
#include "agent/journal.h"
#include "agent/klog.h"
#include "agent/logs.h"
#include "agent/neighbours.h"
#include "agent/oom.h"
#include "agent/paths.h"
#include "agent/progress.h"
#include "agent/slots.h"
#include "agent/watch.h"
#include "base/loop.h"
#include "schemas/msg.h"

enum supervise_state { SUPERVISE_WAITING, SUPERVISE_RUNNING, SUPERVISE_STOPPING, SUPERVISE_SWEEPING, SUPERVISE_ENDED };

struct supervise {
	const struct agent_paths *paths;
	const char *dir;                /* the attempt's folder */
	int lock_fd, control_fd;
	enum supervise_state state;
	struct greta_spec spec;
	struct greta_end end;
	struct journal journal;
	struct greta_loop *loop;

	/* waiting */
	pid_t verify_pid;
	int verify_fd;
	char model_facts[HASH_LINE_MAX]; /* model.h; "": no file to hash */
	struct greta_watch *verified;
	struct slots slots;
	char said_waiting[256];
	int64_t waiting_since_ns;
	struct greta_watch *retry;

	/* the engine and what it says */
	struct engine engine;
	struct cgroup_own own_groups;
	struct cgroup cgroup;
	struct oom oom;
	struct klog klog;
	struct logs logs;
	struct progress progress;
	struct greta_result_reader *reader;
	struct watch watch;
	struct build build;
	int64_t exec_ns, exit_ns;       /* monotonic */
	int status;
	bool exited;
	struct greta_buf complaints;    /* of the result reader */
	bool contradicts;
	struct greta_watch *out, *err, *progress_watch, *flush, *progress_flush, *wall;

	/* the end */
	enum stop_why stop;
	char stop_text[400];
	bool told;                      /* to end, by a signal, which may come when the engine is dead of it already */
	const char *start_cause;
	struct greta_err start_error;
	int64_t killed_ns;              /* when KILL began */
	struct greta_watch *after;      /* the kernel's log is watched on, then GPUs are probed */
	pid_t probe;
	char quarantined[96];           /* what was put into quarantine; "": nothing */
	struct neighbours_blame blame;  /* whose doing its end is */
	struct greta_watch *grace, *sweep;
};

/* Runs the attempt in DIR to its outcome. lock_fd: its lock, held. Returns when the outcome is published. */
int supervise_run(const struct agent_paths *paths, const char *dir, int lock_fd, struct greta_err *e);

/* Ends an attempt whose supervisor died: kills what is left of it and publishes `lost`. */
int supervise_recover(const struct agent_paths *paths, const char *dir, int lock_fd, struct greta_err *e);

/* for the files that share the work */
void supervise_start(struct supervise *s);  /* the slots are ours */
void supervise_fail_start(struct supervise *s, const char *cause, const struct greta_err *e);
void supervise_stop(struct supervise *s, enum stop_why why, const char *text);
void supervise_finish(struct supervise *s);

#endif
