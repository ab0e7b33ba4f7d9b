/* neighbours: what attempts on one node do to each other. The driver may end a hang on one GPU by a reset that takes down
 * all of its hive, so an attempt that dies shortly after a neighbour's reset is `collateral`, not `failed`:
 *
 *   established  the kernel's log tells of another GPU's reset, loss or uncorrectable error before anything of ours, at
 *                most NEIGHBOURS_WINDOW_S before it died
 *   supported    the log could not show it (it can't be read, or this attempt began later), and a neighbour on another GPU
 *                was killed for a hang in that time
 *
 * For the latter, and to name the attempt, each that is about to be killed for a hang leaves a note,
 * <slots>/hangs/<GPU UUID>.<uid>, the newest only: "BOOT-ID BOOTTIME-NS ATTEMPT". The GPU that took its neighbours down goes
 * into quarantine: one that hangs for a fault of its engine does not reset its hive. */
#ifndef AGENT_NEIGHBOURS_H
#define AGENT_NEIGHBOURS_H

#include "agent/klog.h"
#include "schemas/msg.h"

#define NEIGHBOURS_FOLDER "hangs" /* in the slot folder; slots_prepare makes it */

/* The queue's preemption times out after 9 s, the reset takes some 10 more, and an engine may be long in coming to the call
 * that then fails. */
#define NEIGHBOURS_WINDOW_S 60.0

int neighbours_note_hang(const char *slots, const char *gpu, const char *attempt, struct greta_err *e);

struct neighbours_case {
	const char *slots;
	const struct klog *klog;            /* since the attempt began */
	const struct greta_facts *held;     /* its GPUs */
	const struct greta_facts *there;    /* all of the node's */
	int64_t begun_ns, ended_ns;         /* monotonic; ended: its process, or its last progress if it hung */
};

struct neighbours_blame {
	enum greta_certainty certainty;     /* NONE: its end is its own */
	char slot[96];                      /* "gpu-UUID" whose reset it was; "": not known */
	char attempt[GRETA_UUID_LEN + 1];   /* that hung there; "": not known */
	char text[280];
};
void neighbours_blame(const struct neighbours_case *c, struct neighbours_blame *out);

#endif
