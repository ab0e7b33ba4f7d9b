/* validity: which good results of a campaign say nothing about speed, and why. The one place that judges it, once a
 * campaign has ended; marks are kept by db/validity.h.
 *
 *	throttled        NVIDIA: a slowdown for heat or power brake was read during the run
 *	slow clocks      a GPU's mean clock was below VALIDITY_CLOCK of what is usual in the same cell on the same device
 *	                 type, three runs at least; AMD's count of throttling is named beside it, since running into the
 *	                 power cap is normal there
 *	busy neighbour   processes that are none of our engines took half of the CPUs, or a tenth of them while the machine
 *	                 was full
 *	off the reference variant   another top-1 token than the campaign's reference variant has at this context
 *	off the same variant ...    another top-1 token or, by the same build on the same device type, other logits than
 *	                 on the other GPUs: possible silent data corruption. Where bits vary on several GPUs, the engine is
 *	                 not deterministic, and its bits say nothing.
 *
 * Readings need VALIDITY_READINGS time stamps: a run of a moment proves nothing. */
#ifndef ORCHESTRATOR_ANALYSIS_VALIDITY_H
#define ORCHESTRATOR_ANALYSIS_VALIDITY_H

#include "base/buf.h"
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct greta_db;

#define VALIDITY_READINGS 10
#define VALIDITY_CLOCK 0.85
#define VALIDITY_CLOCK_PEERS 3
#define VALIDITY_NEIGHBOUR 0.5
#define VALIDITY_NEIGHBOUR_FULL 0.1
#define VALIDITY_FULL_PERCENT 90.0

/* Judges every counted result anew. *n_marked may be NULL. */
int validity_judge(struct greta_db *db, int64_t campaign_id, int64_t *n_marked, struct greta_err *e);

/* ---- what a table or report says of results that were left out */

#define VALIDITY_OPTION(type, member)                                              \
	{"include-marked", 0, GRETA_OPT_FLAG, offsetof(type, member), NULL,        \
	 "take in counted results that are marked (throttled, busy neighbour, ...)"}


struct validity_tally {
	struct validity_group {
		char *why; /* as attempt.excluded has it */
		size_t n;
	} *items;
	size_t n, cap, total;
};
void validity_tally_add(struct validity_tally *t, const char *excluded); /* NULL: nothing */
void validity_tally_release(struct validity_tally *t);
/* "3 results are marked (2 throttled, 1 busy neighbour) and left out of the statistics; --include-marked takes them in"; nothing for
 * none. included: they were taken in. */
void validity_tally_text(const struct validity_tally *t, bool included, struct greta_buf *out);

#endif
