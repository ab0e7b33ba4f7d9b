/* limits: how long a phase of an attempt may be silent before the suspicion of a hang is more than that, from what is
 * known. Each phase by itself, in this order:
 *
 *	history     at least LIMITS_MIN_RUNS good runs of the same cell (variant, context, mode, model, kind of device):
 *	            median and spread, and no less than the longest of them
 *	curve       a fit through the variant's shorter contexts: the upper bound of its prediction here
 *	configured  else: silence makes the watchdog look, and what it sees decides
 *
 * What is learned only bounds silence, and is many times what a whole phase took: LIMITS_FACTOR_SURE where
 * LIMITS_SURE_RUNS runs of the cell itself never came near it (NVIDIA's Resiliency Extension takes 5 times, too; the next
 * run is beyond all of n with a probability of 1 / (n + 1)), else LIMITS_FACTOR: a healthy cell 20 times slower than its
 * siblings, because it spills or leaves the LDS, is below that. A cell without either is judged by what is seen alone. */
#ifndef ORCHESTRATOR_CONTROL_LIMITS_H
#define ORCHESTRATOR_CONTROL_LIMITS_H

#include "base/err.h"
#include "schemas/campaign.h"
#include <stddef.h>
#include <stdint.h>

#define LIMITS_MIN_RUNS 5
#define LIMITS_SURE_RUNS 20
#define LIMITS_FACTOR 25
#define LIMITS_FACTOR_SURE 5
#define LIMITS_CELL_RUNS 50 /* of a cell in a campaign, its first: they tell enough, and in a large one are found at once */
#define LIMITS_RUNS_MAX 500 /* of all that say something about a cell, the newest */

struct greta_db;

struct limits_run {
	int64_t context;
	double phase_s[GRETA_PHASE_COUNT]; /* NAN: not known. [NONE]: the whole run, for engines that name no phases */
};
struct limits_runs {
	struct limits_run *items;
	size_t n, cap;
};
void limits_runs_release(struct limits_runs *r);

/* Fills bound_s and basis of each phase. runs: good ones of the variant, at this context and shorter ones. */
void limits_learn(const struct limits_runs *runs, int64_t context, struct greta_phase_limit phases[GRETA_PHASE_COUNT]);

struct limits_cell {
	int64_t campaign_id, variant_id, context;
	int64_t model_id;       /* 0: not known */
	bool has_model;         /* the campaign names one */
	const char *devices;    /* JSON array: what the node's devices are called, as attempt.device_type has it */
};
/* Good runs that say something about the cell, newest first: of its campaign, and of the last ones of that name and mode
 * with the same variant, model and variables; of each cell there the first LIMITS_CELL_RUNS repeats. Adds. */
int limits_load(struct greta_db *db, const struct limits_cell *cell, struct limits_runs *out, struct greta_err *e);

#endif
