/* regress: a campaign's cells against a named baseline or all comparable history, and where history itself shifted.
 *
 * History is comparable runs (history.h) of earlier campaigns, token-verified ones alone; of each cell it is the stretch
 * since its last change point, so that an old level is no yardstick for a new one. */
#ifndef ORCHESTRATOR_ANALYSIS_REGRESS_H
#define ORCHESTRATOR_ANALYSIS_REGRESS_H

#include "orchestrator/analysis/changes.h"
#include "orchestrator/analysis/compare.h"
#include "orchestrator/analysis/envdiff.h"
#include "orchestrator/print/term.h"

struct greta_db;

#define REGRESS_PAST_CAMPAIGNS 100

struct regress_series {             /* of one cell, this campaign last */
	const char *variant;        /* borrowed from the campaign's runs */
	int64_t context;
	struct regress_point {
		int64_t campaign_id, ended_ns;
		const char *campaign; /* borrowed from the history */
		double median;
		size_t n_runs;
	} *points;
	size_t n, cap;
	struct changes changes;
};

struct regress {
	int64_t campaign_id;
	char *campaign;
	char *against;              /* "baseline nightly (b3_88)", "2 earlier campaigns" */
	struct history runs, past;  /* this campaign's, and what came before */
	struct history yardstick;   /* of past: what the cells were compared with; its texts are past's */
	bool with_marked;
	size_t n_unverified;        /* runs of history left out, since nothing says how many tokens they prefilled */
	struct compare cells;
	struct regress_series *series; /* as cells come */
	size_t n_series, cap_series;
	struct envdiff differs;
};

struct regress_how {
	const char *baseline;       /* NULL: all comparable history */
	double threshold;           /* 0: COMPARE_THRESHOLD */
	bool with_marked;           /* take in marked results (validity.h), on both sides */
};
int regress_make(struct greta_db *db, int64_t campaign_id, const struct regress_how *how, struct regress *out,
		 struct greta_err *e);
void regress_release(struct regress *r);

size_t regress_count(const struct regress *r, enum compare_verdict v);
bool regress_has_yardstick(const struct regress *r);

void regress_words(const struct regress *r, struct greta_buf *out);    /* conclusions, a line each */
void regress_markdown(const struct regress *r, struct greta_buf *out); /* for a pull request */
void regress_junit(const struct regress *r, struct greta_buf *out);    /* JUnit XML, for CI */

/* For the end of a campaign: its words, or nothing where there is nothing to compare with. *regressed may be NULL. */
int regress_after_campaign(struct greta_db *db, int64_t campaign_id, struct greta_buf *out, bool *regressed,
			   struct greta_err *e);

#endif
