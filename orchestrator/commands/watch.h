/* watch: follows a campaign until it ends, drawing what happens, and says with which exit code to leave. Shared by
 * submit, resume and watch. */
#ifndef ORCHESTRATOR_COMMANDS_WATCH_H
#define ORCHESTRATOR_COMMANDS_WATCH_H

#include "orchestrator/cmd.h"
#include "orchestrator/control/client.h"

/* holds: this command runs the campaign, and a second Ctrl-C ends the controller too, unless it is also somebody else's;
 * else it only looks. Returns an exit code, or -1. */
int watch_campaign(struct cmd_ctx *ctx, struct client *client, int64_t campaign_id, bool holds, struct greta_err *e);

/* How the campaign stands, as an exit code; prints one closing line (or with --json one object). */
int watch_verdict(struct cmd_ctx *ctx, int64_t campaign_id, struct greta_err *e);

#endif
