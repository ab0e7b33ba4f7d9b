/* paths: where the agent keeps and finds things on a node.
 *
 * Each place can be moved by a variable, so that several simulated nodes live on one machine and recorded sysfs trees
 * can be played back:
 *   GRETA_SPOOL_DIR   instead of /var/tmp/greta-UID (the node's id is appended)
 *   GRETA_SLOTS_DIR   instead of /var/tmp/greta-slots
 *   GRETA_CACHE_DIR   instead of $XDG_CACHE_HOME/greta or ~/.cache/greta
 *   GRETA_SYSFS_ROOT  instead of /sys
 *   GRETA_PROC_ROOT   instead of /proc
 *   GRETA_DEV_ROOT    instead of /dev
 *   GRETA_NODE_ID     instead of the id derived from the machine (simulations only)
 */
#ifndef AGENT_PATHS_H
#define AGENT_PATHS_H

#include "base/err.h"

struct agent_paths {
	char *spool_base; /* /var/tmp/greta-UID */
	char *spool;      /* spool_base/<node-id> */
	char *slots;
	char *cache;
	char *sys, *proc, *dev;
	char *node_id;
};

void agent_paths_places(struct agent_paths *p);                  /* only looks them up; no node_id, no spool */
int agent_paths_init(struct agent_paths *p, struct greta_err *e); /* and makes the spool ready */
void agent_paths_release(struct agent_paths *p);

#endif
