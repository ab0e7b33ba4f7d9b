/* slots: who may use which part of a node, across controllers and users.
 *
 * A slot is a set of flocks, all taken without waiting or none. They are held by open descriptors that the engine's
 * whole tree inherits, so a slot stays taken while any of its processes lives, whatever becomes of its supervisor.
 *
 *   <slots>/node        exclusive for a node slot; shared by every cpu and gpu slot
 *   <slots>/node.wants  exclusive while somebody waits for the whole node: no new cpu or gpu slot begins then
 *   <slots>/cpu-K       one logical CPU
 *   <slots>/gpu-UUID    one GPU, together with a flock on its device file
 *   <slots>/quarantine/, hangs/   not slots: quarantine.h, neighbours.h
 *
 * The folder is 1777 and shared by all users of the node; its files are 0666 and hold who has them, for messages:
 * "pid uid attempt". A cpu slot of n takes n CPUs and the engine is bound to them; of 0, all CPUs. The node slot
 * excludes everything. */
#ifndef AGENT_SLOTS_H
#define AGENT_SLOTS_H

#include "agent/paths.h"
#include "schemas/msg.h"
#include <sched.h>

struct slots {
	int *fds;                    /* to be inherited by the engine */
	size_t n_fds, cap_fds;
	struct greta_strs devices;   /* UUIDs taken */
	struct greta_strs visible;   /* "ROCR_VISIBLE_DEVICES=..." for the engine's environment */
	struct greta_strs names;     /* "cpu-0", "gpu-GPU-0123..." */
	cpu_set_t cpus;              /* bound to these ... */
	bool bind_cpus;              /* ... if this says so */
	int wants_fd;                /* node.wants while waiting; 0: none */
	char waiting_for[256];       /* whom, after EBUSY */
	bool foreign;                /* and that is nobody of GRETA's: it costs more to look again */
};

/* Makes the folder, and those in it for quarantine.h and neighbours.h, and checks them. */
int slots_prepare(const char *dir, struct greta_err *e);

/* One try. 0: taken; -1: EBUSY while somebody has what is needed (waiting_for says who), anything else is an error. */
int slots_take(struct slots *s, const struct agent_paths *paths, const struct greta_spec *spec, struct greta_err *e);

void slots_release(struct slots *s); /* closes: free again once no process of the engine's tree is left */

/* Who holds what now, for `status`: appends lines "name: pid 1, user, attempt". */
struct slots_holder {
	char name[96];
	bool held;
	int pid;
	unsigned uid;
	char attempt[GRETA_UUID_LEN + 1];
};
size_t slots_holders(const char *dir, struct slots_holder **out); /* the caller frees */

#endif
