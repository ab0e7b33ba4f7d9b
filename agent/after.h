/* after: what follows a hang on a GPU, or a neighbour's that took it down, before its slot is free again.
 *
 * amdgpu speaks only when it fails to preempt the killed queue, 9 s later by default, and goes on to evictions and a reset
 * that may take the hive: the kernel's log is watched for two minutes, for 12 s where no GPU is AMD's (GRETA_AFTER_KILL_S
 * sets another time). Then the GPUs are probed by a program that allocates, launches and copies back: GRETA_GPU_PROBE, or
 * greta-gpu-probe beside this one, once for each GPU, which alone is visible to it. It is told --driver hip or cuda, and
 * must exit 0 in time, or 3: it can't tell. A GPU that fails goes into quarantine; one that could not be probed is said to
 * be so. */
#ifndef AGENT_AFTER_H
#define AGENT_AFTER_H

#include "agent/supervise.h"

/* Tells the neighbours of a hang on a GPU that is about to be killed: the reset that this leads to may take them down long
 * before the last of its processes is gone. */
void after_note_hang(const struct supervise *s);

/* True when the outcome must wait for it; supervise_finish is called again when it is done. */
bool after_begin(struct supervise *s);

/* The probe's process has ended. */
void after_probed(struct supervise *s, int status);

/* Names those of its slots that are in quarantine now, and the one that took it down, in end.quarantined. */
void after_tell(struct supervise *s);

/* Processes that KILL did not end: the node is no place for measurements any more. */
void after_survivors(struct supervise *s);

#endif
