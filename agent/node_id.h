/* node_id: which machine this is, independent of its name and addresses.
 *
 * Derived from the machine-id and the UUIDs of its GPUs, so that clones of one disk image differ. It is remembered
 * beside the spool: a node whose GPU has fallen off the bus stays the same node, and finds its spool again. */
#ifndef AGENT_NODE_ID_H
#define AGENT_NODE_ID_H

#include "base/err.h"
#include "base/str.h"

#define NODE_ID_LEN 32

/* base: the folder that remembers it (made by the caller). gpus: their UUIDs, in any order. */
int node_id_get(const char *base, const char *machine_id, const struct greta_strs *gpus, char out[NODE_ID_LEN + 1],
		struct greta_err *e);

/* The machine-id, hashed so that the raw one never leaves the machine; "" where there is none. */
void node_id_machine(const char *etc_machine_id, char out[NODE_ID_LEN + 1]);

#endif
