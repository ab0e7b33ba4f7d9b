/* vanish: under what a hang was not seen again: settings, builds, nodes, variants and contexts that none of the runs that
 * hung had, with the runs of the same cells that had them, from the first hang on. It is what was observed, over as many
 * runs as are told; whether it is the cause is for an experiment to say. */
#ifndef ORCHESTRATOR_ANALYSIS_VANISH_H
#define ORCHESTRATOR_ANALYSIS_VANISH_H

#include "base/err.h"
#include "base/str.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct greta_db;

/* A run that was good, or hung. */
struct vanish_run {
	int64_t attempt_id, campaign_id, context, environment_id, ended_ns; /* environment 0: not known */
	char *uuid, *variant, *node, *campaign, *build, *model; /* the last five NULL: not known */
	char *fingerprint;                /* NULL: it did not hang */
};
struct vanish_runs {
	struct vanish_run *items;
	size_t n, cap;
};
void vanish_runs_release(struct vanish_runs *r);

struct vanish {
	struct greta_strs with;           /* "HIP_LAUNCH_BLOCKING=1"; several where the same runs had them all */
	int64_t n;                        /* runs with it, none of which hung */
	int64_t n_without, hung_without;  /* the others of these cells */
};
struct vanish_list {
	struct vanish *items;             /* the one with most runs first */
	size_t n, cap;
	int64_t n_unchanged;              /* good runs since the last hang with nothing changed that is recorded */
};

/* runs: of all who share a variant or a context with one that hung by this fingerprint; oldest first. */
int vanish_find(struct greta_db *db, const struct vanish_runs *runs, const char *fingerprint, struct vanish_list *out,
		struct greta_err *e);
void vanish_list_release(struct vanish_list *v);

#endif
