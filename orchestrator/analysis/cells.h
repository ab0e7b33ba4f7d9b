/* cells: a campaign's matrix with what came out, for results, scaling and report.
 *
 * A cell is variant x context; its jobs are its repeats. A job shows its counted attempt, else its last one. Statistics
 * are over the attempts' own medians (samples of one process are not independent), counted and not excluded. */
#ifndef ORCHESTRATOR_ANALYSIS_CELLS_H
#define ORCHESTRATOR_ANALYSIS_CELLS_H

#include "base/buf.h"
#include "base/err.h"
#include "orchestrator/analysis/stats.h"
#include "orchestrator/analysis/validity.h"
#include "schemas/outcome.h"
#include <stdbool.h>
#include <stdint.h>

struct greta_db;

struct cell_job {
	int64_t id, repeat, n_attempts;
	char *state, *reason;       /* of the job; reason may be NULL */
	int64_t attempt_id;         /* 0: it never ran */
	bool attempt_open;          /* planned, dispatched or running: no outcome yet */
	enum greta_outcome outcome;
	bool counted, verified;
	char *why;                  /* of an outcome that is not ok; NULL: none */
	char *excluded;             /* why statistics leave it out, in a word; NULL: they take it */
	char *excluded_reason;      /* the same in a sentence; NULL: none */
	char *attn_impl, *node, *class_; /* NULL: not known */
	int64_t n_samples;
	double prefill_s, prefill_min_s, prefill_max_s, model_load_s, decode_s, wall_s; /* NAN: not measured */
	double flops;               /* of one prefill, as the engine counts them; NAN: not said */
	double limit_tflops;        /* what the device reaches at most: the engine's word, else the node's label; NAN: not known */
};

struct cell {
	char *variant;
	int64_t context;
	struct cell_job *jobs;
	size_t n, cap;
	struct stats_sample runs;   /* seconds, one a run that counts and is not excluded */
	struct stats_median prefill;
	double flops;               /* NAN: not known */
	double limit_share;         /* of the device's limit: median over the runs; NAN: not known */
};

struct cells {
	int64_t campaign_id;
	char *campaign, *mode, *state, *kind;
	struct cell *items;         /* by variant in campaign order, then by context */
	size_t n, cap;
	struct validity_tally marked; /* counted results that statistics leave out, unless: */
	bool with_marked;
};

int cells_load(struct greta_db *db, int64_t campaign_id, struct cells *out, struct greta_err *e);
void cells_release(struct cells *c);

/* Takes counted results into the statistics that are marked, too. */
void cells_take_marked(struct cells *c);
/* Leaves only the runs of this node (by its alias, else its host name); cells stay. */
void cells_keep_node(struct cells *c, const char *node);

/* The same variant's cell at the next smaller context that has a median, before items[i]; NULL: none. */
const struct cell *cells_previous(const struct cells *c, size_t i);
const struct cell *cells_first(const struct cells *c, size_t i); /* its smallest such one, itself perhaps; NULL: none */

/* "ok", "never ran", "skipped: ...", "invalid: prefill_s is 0": what a person reads of a job; then, by the second, why
 * statistics leave it out. */
void cells_job_outcome(const struct cell_job *j, struct greta_buf *out);
void cells_job_text(const struct cell_job *j, struct greta_buf *out);
/* True when every job of the campaign has a counted result. */
bool cells_all_good(const struct cells *c);

#endif
