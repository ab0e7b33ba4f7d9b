/* cancel: ends a campaign, a cell or one job; processes on nodes are killed with their whole tree. */
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "db/campaigns.h"
#include "orchestrator/cmd.h"
#include "orchestrator/control/client.h"
#include <stdio.h>

struct cancel_values {
	struct cmd_common common;
	const char *variant;
	int64_t context, repeat;
};

static int cancel_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct cancel_values *v = values;
	cleanup_buf struct greta_buf args = {0};
	struct greta_jsonw w = greta_jsonw(&args);
	struct client *client;
	struct greta_json *answer;
	int64_t id = 0, n = 0;

	if (greta_campaigns_find(ctx->db, ctx->operands.items[0], &id, e) < 0)
		return -1;
	client = client_open(ctx->db_path, true, e);
	if (!client)
		return -1;
	greta_jsonw_object(&w, NULL);
	greta_jsonw_i64(&w, "campaign", id);
	if (v->variant)
		greta_jsonw_str(&w, "variant", v->variant);
	if (v->context)
		greta_jsonw_i64(&w, "context", v->context);
	if (v->repeat)
		greta_jsonw_i64(&w, "repeat", v->repeat);
	greta_jsonw_end_object(&w);
	answer = client_call(client, "cancel", greta_buf_str(&args), e);
	client_close(client);
	if (!answer)
		return -1;
	greta_json_i64(greta_json_get(greta_json_get(greta_json_root(answer), "ok"), "jobs"), &n);
	greta_json_destroy(answer);
	if (ctx->json)
		printf("{\"campaign\":%lld,\"jobs\":%lld}\n", (long long)id, (long long)n);
	else if (n)
		printf("campaign %lld: %lld jobs cancelled\n", (long long)id, (long long)n);
	else
		printf("campaign %lld: nothing to cancel, no such job is queued or running\n", (long long)id);
	return n ? CMD_OK : CMD_NOT_ALL_OK;
}

static const struct greta_opt cancel_opts[] = {
	{"variant", 0, GRETA_OPT_STR, offsetof(struct cancel_values, variant), "NAME", "only jobs of this variant"},
	{"context", 0, GRETA_OPT_I64, offsetof(struct cancel_values, context), "N", "only jobs of this context"},
	{"repeat", 0, GRETA_OPT_I64, offsetof(struct cancel_values, repeat), "N", "only this repeat (from 1)"},
	{0},
};

const struct cmd cmd_cancel = {
	.name = "cancel",
	.group = "Run",
	.summary = "cancel a campaign, a cell or a job",
	.operands = "CAMPAIGN",
	.min_operands = 1,
	.max_operands = 1,
	.details = "Queued jobs never run; running ones are stopped on their nodes with every process they started.",
	.needs = CMD_NEEDS_READER,
	.opts = cancel_opts,
	.values_size = sizeof(struct cancel_values),
	.exec = cancel_exec,
};
