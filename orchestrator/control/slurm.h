/* slurm: nodes that are pools of Slurm allocations, as the controller sees them. What runs there, and how, is the agent's
 * business on the login node. */
#ifndef ORCHESTRATOR_CONTROL_SLURM_H
#define ORCHESTRATOR_CONTROL_SLURM_H

#include "base/jsonw.h"
#include "db/db.h"
#include "orchestrator/control/sched.h"
#include "schemas/campaign.h"
#include "schemas/slurm.h"

/* Sizes the node by its settings: all allocations that may run at once, and a few attempts more, which wait in the shared
 * spool so that a pilot that has a slot free need not ask across the network. */
void slurm_size(const char *settings, struct sched_node *out);

/* For `node check`: "allocations", "slot_gpus", "slot_cpus". */
void slurm_write_size(const char *settings, struct greta_jsonw *w);

/* What the campaign would submit, for each pool that may run it. script: with the batch script. Nothing where no pool is. */
int slurm_plan_print(struct greta_db *db, const struct greta_campaign *c, bool script, struct greta_err *e);
int slurm_plan_json(struct greta_db *db, const struct greta_campaign *c, struct greta_jsonw *w, struct greta_err *e);

#endif
