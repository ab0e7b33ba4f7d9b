/* gc: keeps the store of uploaded files (agent, engines, models) under a size.
 *
 * <cache>/store/<sha256>[/...]: an entry is a file or a folder named by its content's hash. The least recently used go
 * first; what an attempt in the spool names, where an upload is half finished (<name>.part) that got something within a
 * day, and this program itself stay. */
#ifndef AGENT_GC_H
#define AGENT_GC_H

#include "agent/paths.h"
#include <stdint.h>

struct gc_report {
	int64_t kept_bytes, freed_bytes;
	int64_t kept, removed; /* entries */
};

int gc_store(const struct agent_paths *paths, int64_t keep_bytes, struct gc_report *out, struct greta_err *e);

/* Marks an entry of the store as used now; any other path is none of its business. */
void gc_touch(const struct agent_paths *paths, const char *path);

#endif
