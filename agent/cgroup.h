/* cgroup: a cgroup of the attempt's own, where the kernel lets us have one (cgroup v2, delegated or root).
 *
 * It lets the whole tree be killed at once and tells of kills for lack of memory. It is a bonus: everything works
 * without it, by process groups, reaping and scans. */
#ifndef AGENT_CGROUP_H
#define AGENT_CGROUP_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>

struct cgroup {
	char *path;        /* NULL: none; `why` says why not */
	char why[160];
};

#define CGROUP_PATH_MAX 1024

/* The folders of our own groups; "" where there is none. */
struct cgroup_own {
	char unified[CGROUP_PATH_MAX]; /* of cgroup v2 */
	char memory[CGROUP_PATH_MAX];  /* of the memory controller of v1 */
};

/* proc: /proc, or where a test keeps one. */
void cgroup_find_own(struct cgroup_own *own, const char *proc);

void cgroup_create(struct cgroup *c, const struct cgroup_own *own, const char *attempt);
int cgroup_open_procs(const struct cgroup *c); /* for greta_child_spec; -1: none */
void cgroup_kill(const struct cgroup *c);      /* KILL to all in it; nothing where the kernel has no cgroup.kill */
void cgroup_remove(struct cgroup *c);          /* stays behind while processes are in it */
void cgroup_release(struct cgroup *c);         /* frees only */

#endif
