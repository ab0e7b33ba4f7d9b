/* scaling: how prefill time grows with context, variant by variant, as rows. */
#ifndef ORCHESTRATOR_SCALING_H
#define ORCHESTRATOR_SCALING_H

#include "orchestrator/cells.h"
#include "orchestrator/table.h"

/* Ratios are to the variant's smallest context that has a result; `expected` is what pure quadratic growth, that of
 * attention, would give from there; `exponent` is k in t ~ n^k from the context before. variant NULL: all. */
struct table *scaling_table(const struct cells *c, const char *variant);

/* What stands out, a sentence a line: growth beyond quadratic; one sample, which proves nothing. */
void scaling_remarks(const struct cells *c, const char *variant, struct greta_buf *out);

#endif
