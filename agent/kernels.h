/* kernels: asks an engine what its GPU kernels take (`ENGINE --kernel-resources --json`), keeps the answer with the attempt
 * as the evidence item "kernels", and refuses an attempt that the campaign's gate no_spill forbids. */
#ifndef AGENT_KERNELS_H
#define AGENT_KERNELS_H

#include "agent/supervise.h"

/* In the child that verifies, before a slot is taken: -1, and *e says why the gate does not let the attempt start. */
int kernels_check(const struct supervise *s, struct greta_err *e);

/* In the supervisor, afterwards: what the engine answered, if it did. */
void kernels_keep(struct supervise *s);

#endif
