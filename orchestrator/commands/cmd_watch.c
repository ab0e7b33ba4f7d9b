/* watch: shows how a campaign goes, without being needed for it. */
#include "base/mem.h"
#include "db/campaigns.h"
#include "db/db.h"
#include "orchestrator/cmd.h"
#include "orchestrator/commands/watch.h"
#include "orchestrator/control/client.h"
#include <stdio.h>

static int watch_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	struct greta_err why = {0};
	struct client *client;
	int64_t id;
	int rc;

	(void)values;
	if (greta_campaigns_find(ctx->db, ctx->operands.n ? ctx->operands.items[0] : NULL, &id, e) < 0)
		return -1;
	client = client_open(ctx->db_path, false, &why);
	if (!client) {
		if (!ctx->json)
			printf("no controller is running (`greta-orch resume` starts one)\n");
		return watch_verdict(ctx, id, e);
	}
	rc = watch_campaign(ctx, client, id, false, e);
	client_close(client);
	return rc;
}

const struct cmd cmd_watch = {
	.name = "watch",
	.group = "Run",
	.summary = "show a campaign's progress until it ends",
	.operands = "[CAMPAIGN]",
	.max_operands = 1,
	.details = "CAMPAIGN is an id, a name or the start of a uuid; without it, the newest. Leaving it stops nothing.",
	.needs = CMD_NEEDS_READER,
	.exec = watch_exec,
};
