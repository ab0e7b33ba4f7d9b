/* evidence: what a kernel engineer needs of a run that does not move, gathered before it is killed.
 *
 * A collector process goes through a fixed list, in this order: what sysfs has (GPU counters, the driver's core dump
 * before it expires, KFD's view), the host's threads and their stacks, maps and limits, the environment without secrets,
 * debugfs (root only, by exact names: some of its files act when they are read, and amdgpu_gpu_recover resets the GPU), a
 * debugger's backtrace, GPU counters again. Every item is read by a child of its own with a deadline of seconds, since
 * any of these reads can hang in the kernel; what could not be had is named instead. */
#ifndef AGENT_EVIDENCE_H
#define AGENT_EVIDENCE_H

#include "agent/kill.h"
#include "schemas/msg.h"

#define EVIDENCE_ITEM_MAX (256 * 1024)
#define EVIDENCE_PART (48 * 1024)   /* of an item in one event */
#define EVIDENCE_DEADLINE_MS 45000  /* of all together */

struct evidence_plan {
	const char *sys, *proc;
	const struct greta_device *devices;
	size_t n_devices;
	const struct greta_spec *spec; /* says which variables must not be stored; NULL: all may */
	const pid_t *pids;      /* of the attempt, the engine first */
	size_t n_pids;
	bool debugger;          /* false where it would hang: threads in D state */
};

/* One item, as it came. text: "" and a note when there was nothing. */
typedef void evidence_fn(void *arg, const char *name, const char *text, size_t n);

/* Goes through the list in this process, for tests. */
void evidence_gather(const struct evidence_plan *plan, evidence_fn *fn, void *arg);

/* Forks the collector, a session of its own; items come through *fd, to be taken by evidence_take. */
pid_t evidence_start(const struct evidence_plan *plan, int *fd, struct greta_err *e);

/* Takes whole items out of what was read from the pipe. */
void evidence_take(struct greta_buf *in, evidence_fn *fn, void *arg);

#endif
