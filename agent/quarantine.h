/* quarantine: slots that must not be used until a person says so: a GPU that fails its probe after a hang, or whose reset
 * took down its neighbours; a node with processes that KILL does not end. Kept as files in the slot folder, so that it
 * holds for all users, controllers and boots: <slots>/quarantine/NAME holds since when and the reason, NAME being "node"
 * or "gpu-UUID". */
#ifndef AGENT_QUARANTINE_H
#define AGENT_QUARANTINE_H

#include "base/err.h"
#include "base/str.h"
#include "schemas/msg.h"

#define QUARANTINE_FOLDER "quarantine" /* in the slot folder; slots_prepare makes it */
#define QUARANTINE_REASON_MAX 480

/* What is in quarantine already stays so for its first reason. */
int quarantine_put(const char *slots, const char *name, const char *reason, struct greta_err *e);
bool quarantine_is(const char *slots, const char *name, char reason[QUARANTINE_REASON_MAX]);
void quarantine_list(const char *slots, struct greta_strs *names);
int quarantine_release(const char *slots, const char *name, struct greta_err *e); /* ENOENT: it was not */

/* All of them, added to the members `slots` of m. */
void quarantine_tell(const char *slots, struct greta_msg *m);

#endif
