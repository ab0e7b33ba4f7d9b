/* devices: the GPUs of a node, from what the drivers publish as files: KFD topology and DRM for AMD,
 * /proc/driver/nvidia for NVIDIA. Nothing is opened or initialised, so asking costs a GPU nothing. */
#ifndef AGENT_DEVICES_H
#define AGENT_DEVICES_H

#include "agent/paths.h"
#include "schemas/msg.h"

/* UUIDs with commas between them: where this is set, a scheduler gave us these GPUs of the node and no others. */
#define DEVICES_ALLOCATED "GRETA_ALLOCATION_DEVICES"

/* Appends to f->devices, in the order of the runtime (KFD node number, NVIDIA minor). */
void devices_find(const char *sys, const char *proc, const char *dev, struct greta_facts *f);

/* "ROCR_VISIBLE_DEVICES" or "CUDA_VISIBLE_DEVICES". */
const char *devices_visible_variable(const struct greta_device *d);

#endif
