/* history: counted runs of any campaigns, selected: what comparisons, regressions and charts over time are made of. */
#ifndef ORCHESTRATOR_ANALYSIS_HISTORY_H
#define ORCHESTRATOR_ANALYSIS_HISTORY_H

#include "base/err.h"
#include "base/str.h"
#include "orchestrator/analysis/validity.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct greta_db;

/* NULL and 0: any. */
struct history_filter {
	const char *variant, *node, *build, *mode;
	int64_t campaign_id, context;
	int64_t before_campaign_id;  /* only campaigns that were submitted before that one */
	int64_t since_ns, until_ns;  /* when the attempt ended: from .. before */
	bool with_marked;            /* also runs that are marked (validity.h) */
	int64_t last_campaigns;      /* only the newest so many of those left by the above, or as few as hold HISTORY_RUNS
				      * planned runs: what a question costs does not grow with the campaigns' size */
};

#define HISTORY_RUNS 10000

/* What runs share that one variant of one campaign made of one build, in one environment, at one place. Ids 0 and NULL: not
 * known. */
struct history_kind {            /* its texts are the history's */
	int64_t campaign_id, submitted_ns, variant_id, environment_id, build_id, model_id, alias_id, node_id;
	const char *variant, *campaign, *mode, *device_type, *dtype, *attn_impl, *model_data, *model, *node, *build;
	const char *command;             /* with args and environment, JSON arrays */
};

struct history_run {
	const struct history_kind *kind; /* the history's */
	int64_t context;
	double prefill_s;
	int64_t attempt_id, ended_ns;    /* ended_ns 0: not known */
	bool verified;
};

struct history {
	struct history_run *items;   /* oldest campaign first, then as they ended */
	size_t n, cap;
	struct history_kind **kinds;
	size_t n_kinds, cap_kinds;
	struct greta_strs texts;      /* of the kinds, which share them */
	struct validity_tally marked; /* runs that passed the filter but for their marks, left out or taken in */
};

int history_load(struct greta_db *db, const struct history_filter *f, struct history *out, struct greta_err *e); /* adds */
void history_release(struct history *h);

/* Comparable: the same mode, model data, device type and dtype; what is not known on either side does not part them. */
bool history_comparable(const struct history_kind *a, const struct history_kind *b);

/* "CAMPAIGN[:VARIANT]" or terms with commas between them: campaign= variant= context= node= build= mode= date= since=
 * until= (dates as 2026-02-12, in UTC). `text` is kept in parts by the selection; *f borrows from it. */
struct selection {
	char *text;                  /* as given */
	char *parts;
	struct history_filter filter;
};
int selection_parse(struct greta_db *db, const char *text, struct selection *out, struct greta_err *e);
void selection_release(struct selection *s);

#endif
