/* eta: how long what is left will take. Pure.
 *
 * A cell (variant, context) is expected to take the mean of what it took so far. One that has not run yet is expected
 * on the curve a*n + b*n^2 through the variant's other contexts (both not negative), else on the mean ratio to other
 * variants at the same context. Where nothing is known, nothing is said.
 */
#ifndef ORCHESTRATOR_ETA_H
#define ORCHESTRATOR_ETA_H

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

/* Makespan of jobs given in order, on slots that become free after free_s[i] seconds: each job goes to the slot that
 * is free first. free_s is changed. */
double eta_makespan(double *free_s, size_t n_slots, const double *job_s, size_t n_jobs);

#endif
