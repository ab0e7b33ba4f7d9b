/* placing: which nodes a campaign may use, by what it and they are called. */
#ifndef ORCHESTRATOR_PLAN_PLACING_H
#define ORCHESTRATOR_PLAN_PLACING_H

#include "schemas/campaign.h"

/* labels: the node's, a JSON object */
bool placing_allows(const struct greta_campaign *c, const char *node, const char *labels);
bool placing_names(const struct greta_strs *names, const char *node); /* an empty list names all */

#endif
