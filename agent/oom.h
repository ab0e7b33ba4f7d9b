/* oom: was it lack of memory? The kernel counts its kills in several places and logs them; an engine that finds its
 * device full says so itself. An answer always carries the line that proves it. */
#ifndef AGENT_OOM_H
#define AGENT_OOM_H

#include "agent/cgroup.h"
#include "agent/klog.h"
#include <stdint.h>
#include <sys/types.h>

struct oom {
	const char *proc;
	const struct cgroup_own *own;           /* borrowed */
	int64_t v2_kills, v1_kills, node_kills; /* counters at the start; -1: not told */
};

void oom_begin(struct oom *o, const char *proc, const struct cgroup_own *own);

/* killed: the engine ended by a KILL that was not ours (signal 9, or 137 from a shell). NULL: no sign of it; else the
 * proof in a line, which the caller frees. */
char *oom_host_proof(const struct oom *o, const struct cgroup *c, const struct klog *k, pid_t engine, bool killed);

/* The line of an engine's last output that tells of a full device or host; the caller frees. NULL: none. */
char *oom_engine_proof(const char *tail, size_t n);

#endif
