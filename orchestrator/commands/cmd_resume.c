/* resume: goes on with what was submitted: after a crash, a reboot, or a mended node. */
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "db/campaigns.h"
#include "db/db.h"
#include "orchestrator/cmd.h"
#include "orchestrator/commands/watch.h"
#include "orchestrator/control/client.h"
#include <stdio.h>

struct resume_values {
	struct cmd_common common;
	bool detach;
};

/* Asked before a controller is started: there may be nothing for it to do. *id 0: no campaign is active. */
static int choose(struct cmd_ctx *ctx, int64_t *id, struct greta_err *e)
{
	struct greta_db *db = greta_db_open_reader(ctx->db_path, e);
	struct greta_campaign_rows rows = {0};
	int rc = db ? 0 : -1;

	*id = 0;
	if (rc == 0 && ctx->operands.n)
		rc = greta_campaigns_find(db, ctx->operands.items[0], id, e);
	else if (rc == 0)
		rc = greta_campaigns_active(db, &rows, e);
	if (rc == 0 && rows.n)
		*id = rows.items[0].id;
	greta_campaign_rows_release(&rows);
	greta_db_close(db);
	return rc;
}

/* A database of an older version is migrated by its controller, so that has to come first. */
static int choose_migrated(struct cmd_ctx *ctx, int64_t *id, struct greta_err *e)
{
	struct greta_err why = {0};
	struct client *client;

	if (!choose(ctx, id, &why))
		return 0;
	if (why.code != GRETA_EVERSION) {
		*e = why;
		return -1;
	}
	client = client_open(ctx->db_path, true, e);
	if (!client)
		return -1;
	client_close(client);
	return choose(ctx, id, e);
}

static void print_answer(const struct cmd_ctx *ctx, const struct greta_json *answer, bool detach)
{
	const struct greta_json_val *ok = greta_json_get(greta_json_root(answer), "ok");
	const struct greta_json_val *list = greta_json_get(ok, "campaigns");
	cleanup_buf struct greta_buf json = {0};
	int64_t running = 0;

	greta_json_i64(greta_json_get(ok, "running"), &running);
	if (ctx->json && detach) {
		greta_json_print(ok, &json);
		puts(greta_buf_str(&json));
	} else if (!ctx->json) {
		printf("%zu campaigns go on, %lld attempts were running\n", list ? greta_json_size(list) : 0,
		       (long long)running);
		fflush(stdout);
	}
}

static int resume_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct resume_values *v = values;
	cleanup_free char *args = NULL;
	struct greta_json *answer;
	struct client *client;
	int64_t id;
	int rc = CMD_OK;

	if (choose_migrated(ctx, &id, e) < 0)
		return -1;
	if (!id) {
		puts(ctx->json ? "{\"campaigns\":[],\"running\":0}" : "nothing to resume: no campaign is active");
		return CMD_OK;
	}
	client = client_open(ctx->db_path, true, e);
	if (!client)
		return -1;
	if (ctx->operands.n)
		args = greta_format("{\"campaign\":%lld,\"detach\":%s}", (long long)id, v->detach ? "true" : "false");
	else
		args = greta_format("{\"detach\":%s}", v->detach ? "true" : "false");
	answer = client_call(client, "resume", args, e);
	if (!answer) {
		client_close(client);
		return -1;
	}
	print_answer(ctx, answer, v->detach);
	greta_json_destroy(answer);
	if (!v->detach)
		rc = watch_campaign(ctx, client, id, true, e);
	client_close(client);
	return rc;
}

static const struct greta_opt resume_opts[] = {
	{"detach", 'd', GRETA_OPT_FLAG, offsetof(struct resume_values, detach), NULL,
	 "return at once; the controller goes on in the background"},
	{0},
};

const struct cmd cmd_resume = {
	.name = "resume",
	.group = "Run",
	.summary = "go on with campaigns after a crash, a reboot or an interruption",
	.operands = "[CAMPAIGN]",
	.max_operands = 1,
	.details = "Attempts that ran on meanwhile are found again on their nodes, and nothing that ended is run twice.\n"
		   "Nodes that had refused are asked again.",
	.opts = resume_opts,
	.values_size = sizeof(struct resume_values),
	.exec = resume_exec,
};
