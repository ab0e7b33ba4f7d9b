/* kernel_lines: what the kernel's log says of a hang, in the drivers' own words (amdgpu and amdkfd; NVIDIA's Xid lines),
 * and of whose GPU. One GPU's error can take its whole hive down: what then comes of ours is its sibling's doing.
 *
 * A line that names no GPU is held to be ours. Correctable errors explain nothing and are passed over. */
#ifndef AGENT_KERNEL_LINES_H
#define AGENT_KERNEL_LINES_H

#include "schemas/msg.h"

struct kernel_finding {
	enum greta_class class_; /* NONE: nothing that explains a hang */
	char line[160];          /* that says so */
};

/* Of all lines the most telling: a lost device before a fault, a queue that can't be preempted, an uncorrectable error,
 * a reset. COLLATERAL when another GPU's error or reset stands before any line of ours. */
void kernel_lines_read(const char *log, const struct greta_device *ours, size_t n, struct kernel_finding *out);

bool kernel_lines_name(const char *line, const struct greta_device *d); /* the line is about that GPU */

/* Whom a finding about our own GPUs blames; NULL for others. */
const char *kernel_lines_blamed(enum greta_class c);

#endif
