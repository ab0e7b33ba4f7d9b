/* engine: starts the program of an attempt, with its pipes, its environment and the slot's locks. */
#ifndef AGENT_ENGINE_H
#define AGENT_ENGINE_H

#include "agent/cgroup.h"
#include "agent/slots.h"
#include "schemas/msg.h"
#include <sys/types.h>

struct engine {
	pid_t pid;                  /* leader of its own session and process group; 0: not started */
	int out, err, progress;     /* our ends, non-blocking; -1: closed */
	bool in_cgroup;
	int page;                   /* of a gpu or node slot: the page that GPU kernels report in (breadcrumb); -1: none */
};

/* cwd: where spec->cwd is NULL. -1: nothing runs, and *e says why in words for the outcome. */
int engine_start(struct engine *eng, const struct greta_spec *spec, const struct slots *slots, const struct cgroup *cg,
		 const char *cwd, struct greta_err *e);

void engine_close(struct engine *eng); /* our pipe ends */

/* The environment an engine gets: an allow-list of ours, what the slot needs, then the spec's own. */
void engine_environment(const struct greta_spec *spec, const struct slots *slots, const char *const *ours,
			struct greta_strs *out);
void engine_environment_set(struct greta_strs *env, const char *entry); /* "K=V", in place of what K was */

#endif
