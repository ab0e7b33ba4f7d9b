/* status: what is going on now, once. */
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "db/campaigns.h"
#include "db/db.h"
#include "orchestrator/cmd.h"
#include "orchestrator/commands/live.h"
#include "orchestrator/control/client.h"
#include "orchestrator/print/term.h"
#include <stdio.h>
#include <unistd.h>

static int print_live(struct cmd_ctx *ctx, struct client *client, struct greta_err *e)
{
	struct greta_json *answer = client_call(client, "status", NULL, e);
	const struct greta_json_val *status;
	cleanup_buf struct greta_buf out = {0};
	struct term term = term_of(STDOUT_FILENO, ctx->color);
	struct status s;

	if (!answer)
		return -1;
	status = greta_json_get(greta_json_get(greta_json_root(answer), "ok"), "status");
	if (ctx->json) {
		greta_json_print(status, &out);
		greta_buf_addc(&out, '\n');
	} else {
		status_parse(status, &s);
		term.height = 10000;
		live_draw(&term, &s, 0, &out);
		status_release(&s);
	}
	fputs(greta_buf_str(&out), stdout);
	greta_json_destroy(answer);
	return CMD_OK;
}

/* No controller: what the database says. */
static int print_stored(struct cmd_ctx *ctx, struct greta_err *e)
{
	struct greta_campaign_rows rows = {0};

	if (greta_campaigns_active(ctx->db, &rows, e) < 0)
		return -1;
	if (ctx->json) {
		cleanup_buf struct greta_buf out = {0};
		struct greta_jsonw w = greta_jsonw(&out);

		greta_jsonw_object(&w, NULL);
		greta_jsonw_null(&w, "controller");
		greta_jsonw_array(&w, "waiting");
		for (size_t i = 0; i < rows.n; i++)
			greta_jsonw_i64(&w, NULL, rows.items[i].id);
		greta_jsonw_end_array(&w);
		greta_jsonw_end_object(&w);
		puts(greta_buf_str(&out));
	} else if (!rows.n) {
		puts("no controller is running, and no campaign waits for one");
	} else {
		puts("no controller is running; `greta-orch resume` goes on with:");
		for (size_t i = 0; i < rows.n; i++)
			printf("  campaign %lld (%s)\n", (long long)rows.items[i].id, rows.items[i].name);
	}
	greta_campaign_rows_release(&rows);
	return CMD_OK;
}

static int status_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	struct greta_err why = {0};
	struct client *client = client_open(ctx->db_path, false, &why);
	int rc;

	(void)values;
	if (!client)
		return print_stored(ctx, e);
	rc = print_live(ctx, client, e);
	client_close(client);
	return rc;
}

const struct cmd cmd_status = {
	.name = "status",
	.group = "Run",
	.summary = "show what is running, on which nodes, and how long it will take",
	.operands = "",
	.needs = CMD_NEEDS_READER,
	.exec = status_exec,
};
