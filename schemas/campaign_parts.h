/* campaign_parts: what reading, checking and releasing a campaign share. Private to schemas/. */
#ifndef SCHEMAS_CAMPAIGN_PARTS_H
#define SCHEMAS_CAMPAIGN_PARTS_H

#include "schemas/campaign.h"
#include "schemas/keys.h"

void campaign_defaults(struct greta_campaign *c);
void campaign_read(struct reader *r);  /* the document into r->c, value by value */
void campaign_check(struct reader *r); /* what contradicts what */

void engine_copy(struct greta_engine *to, const struct greta_engine *from);
void engine_release(struct greta_engine *e);
void strs_copy(struct greta_strs *to, const struct greta_strs *from);

/* "K=V" of an environment list, or "K"; NULL if it is not there. */
const char *env_find(const struct greta_strs *env, const char *name);

extern const char *const greta_infer_command[]; /* ends with NULL */

#endif
