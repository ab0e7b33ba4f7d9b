/* eta: how long what is left will take. Pure.
 *
 * A cell (variant, context) is expected to take the mean of what it took so far. One that has not run yet is expected
 * on the curve a*n + b*n^2 through the variant's other contexts (both not negative), else on the mean ratio to other
 * variants at the same context. Where nothing is known, nothing is said.
 */
#ifndef ORCHESTRATOR_CONTROL_ETA_H
#define ORCHESTRATOR_CONTROL_ETA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct eta;
struct eta *eta_create(size_t n_variants);
void eta_destroy(struct eta *t);

/* history: of an earlier campaign; the first own run of a cell replaces it. */
void eta_add(struct eta *t, size_t variant, int64_t context, double wall_s, bool history);

/* Seconds; NAN: not known. *measured: this cell has run in this campaign. */
double eta_expect(const struct eta *t, size_t variant, int64_t context, bool *measured);

/* Campaigns that share slots: a slot that becomes free goes to the queue of the highest priority, among equals to the one
 * that runs least, as sched does it. */
struct eta_queue {
	int64_t id, priority;
	double *job_s;           /* in their order */
	size_t n_jobs;
	double end_s;            /* answer: when its last job ends; NAN: never, there is no slot */
	/* kept by eta_share */
	size_t n_begun;
	int64_t n_running;
};
struct eta_slot {
	double free_s;
	struct eta_queue *queue; /* whose attempt runs there until then; NULL: nobody's */
};
void eta_share(struct eta_slot *slots, size_t n_slots, struct eta_queue *queues, size_t n_queues); /* changes slots */

#endif
