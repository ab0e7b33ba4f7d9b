/* foreign: who uses a GPU without having asked for its slot: somebody's own shell, another user's job, another tool.
 *
 * AMD: KFD publishes per process what it holds of each GPU, to everybody. NVIDIA: NVML knows the processes that compute,
 * asked in a child of ours with a deadline, since a call may hang while a GPU is being reset. A lock on a device file:
 * /proc/locks has the holder of every flock, whoever it is. Nothing is opened on the GPU itself. */
#ifndef AGENT_FOREIGN_H
#define AGENT_FOREIGN_H

#include "agent/paths.h"
#include "schemas/msg.h"
#include <sys/types.h>

/* A process that computes on it: its id, or 0. */
pid_t foreign_user(const char *sys, const struct greta_device *d);

/* Who holds a flock on the open file; 0: nobody who can be seen from here. */
pid_t foreign_lock_holder(const char *proc, int fd);

/* "pid 4711 (python3) of user ada"; what can't be seen is left out. */
void foreign_name(const char *proc, pid_t pid, char *out, size_t cap);

#endif
