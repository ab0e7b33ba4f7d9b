/* hangs: all attempts that hung, grouped by what they are known by (db/fingerprint.h), beside the runs of the same variants
 * and contexts that did not. */
#ifndef ORCHESTRATOR_ANALYSIS_HANGS_H
#define ORCHESTRATOR_ANALYSIS_HANGS_H

#include "base/err.h"
#include "base/str.h"
#include "orchestrator/analysis/vanish.h"
#include <stddef.h>
#include <stdint.h>

struct greta_db;

enum hang_by { HANG_BY_NODE, HANG_BY_VARIANT, HANG_BY_CONTEXT, HANG_BY_CAMPAIGN, HANG_BY_COUNT };
extern const char *const hang_by_names[HANG_BY_COUNT]; /* "nodes", "variants" ... */

struct hang_count {
	char *name;
	int64_t n;
};
struct hang_counts {
	struct hang_count *items;
	size_t n, cap;
};

struct hang_group {
	char *fingerprint;
	int64_t n, first_ns, last_ns;     /* when they ended */
	struct hang_counts by[HANG_BY_COUNT];
	struct greta_strs attempts;       /* uuids, oldest first */
	struct vanish_list vanished;
};

struct hangs {
	struct hang_group *items;         /* the one that came last first */
	size_t n, cap;
};

/* campaigns: only what hung in these; none: in all. What made a hang vanish is looked for in all of them. */
int hangs_load(struct greta_db *db, const int64_t *campaigns, size_t n_campaigns, struct hangs *out, struct greta_err *e);
void hangs_release(struct hangs *h);

#endif
