/* repro: a shell script that does by hand what one attempt did: files by their hashes first, then environment, working
 * folder, CPUs and arguments. Pure: from what is known of the attempt to text. */
#ifndef ORCHESTRATOR_REPORT_REPRO_H
#define ORCHESTRATOR_REPORT_REPRO_H

#include "base/buf.h"
#include "schemas/msg.h"
#include <stdbool.h>

struct repro {
	const struct greta_spec *spec;
	const char *what;           /* for the heading: "attempt 17 (8f3e...): campaign c, v3, context 8192, repeat 2" */
	const char *ended;          /* "hung: no progress for 61 s ..." */
	const char *node, *hostname;                         /* NULL: not known, as for what follows */
	const char *engine_sha256, *build_sha256, *model_sha256;
	struct greta_strs slots;    /* "cpu-3"; what {slot} stood for */
	struct greta_strs env;      /* "NAME=value", in order, each name once */
	bool whole;                 /* env is all that it had, not only what is on record */
};

void repro_script(const struct repro *r, struct greta_buf *out);
void repro_release(struct repro *r);

/* Sets or replaces a variable; those that only mean something to the agent that set them are passed over. */
void repro_set(struct repro *r, const char *entry);

/* Evidence "environment": the variables of its first process. */
void repro_take_environment(struct repro *r, const char *evidence);

#endif
