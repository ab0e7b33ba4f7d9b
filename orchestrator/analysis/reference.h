/* reference: the variant of a campaign that its others are compared with. */
#ifndef ORCHESTRATOR_ANALYSIS_REFERENCE_H
#define ORCHESTRATOR_ANALYSIS_REFERENCE_H

#include "base/err.h"
#include <stdint.h>

struct greta_db;

/* *name NULL: an import, which has no campaign file. The caller owns it. */
int reference_of_campaign(struct greta_db *db, int64_t campaign_id, char **name, struct greta_err *e);

#endif
