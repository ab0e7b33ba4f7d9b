/* pool_quarantine: what the machines of a pool keep out of use. Each keeps its own, in its slot folder (quarantine.h), which
 * nobody else sees; so pilots tell of theirs in the pool's spool, and hear there what a person let go:
 *
 *   <spool>/quarantine/MACHINE:SLOT   since when, and the reason, as in the slot folder
 *          /released/MACHINE:SLOT     to be let go there, by the next pilot that looks
 *
 * The first folder is as that of a slot folder, so quarantine_list and quarantine_tell read it. */
#ifndef AGENT_POOL_QUARANTINE_H
#define AGENT_POOL_QUARANTINE_H

#include "base/err.h"
#include "base/str.h"
#include <stdint.h>

int pool_quarantine_prepare(const char *spool, struct greta_err *e);

/* On the machine: lets go what was released, then tells what there is. */
void pool_quarantine_share(const char *spool, const char *machine, const char *slots);

/* On the login node. ENOENT: there was none of that name. */
int pool_quarantine_release(const char *spool, const char *name, struct greta_err *e);

/* Machines where an allocation of so many GPUs may find nothing to use, with commas; "" if none. The caller owns it. */
char *pool_quarantine_machines(const char *spool, int64_t gpus);

#endif
