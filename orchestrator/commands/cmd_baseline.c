/* baseline set, list, remove: campaigns that later ones are held against. */
#include "base/clock.h"
#include "db/campaigns.h"
#include "db/records.h"
#include "orchestrator/cmd.h"
#include "orchestrator/control/action.h"
#include "orchestrator/control/client.h"
#include "orchestrator/print/output.h"
#include <stdio.h>

/* ---- in the controller */

static const char *text_of(const struct greta_json_val *args, const char *key)
{
	const char *s = NULL;
	return greta_json_str(greta_json_get(args, key), &s) == 0 ? s : NULL;
}

static int set_run(struct greta_db *db, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	const char *name = text_of(args, "name");
	cleanup_txn struct greta_txn txn = greta_txn_none;
	struct greta_campaign_row row;
	int64_t id;
	if (!name || !*name)
		return greta_err_set(e, GRETA_EINVAL, "a baseline needs a name");
	if (greta_txn_begin(db, &txn, e) || greta_campaigns_find(db, text_of(args, "campaign"), &id, e) ||
	    greta_baselines_set(db, name, id, text_of(args, "variant"), text_of(args, "note"), e) ||
	    greta_actions_add(db, NULL, "baseline set", NULL, e) || greta_campaigns_get(db, id, &row, e))
		return -1;
	greta_jsonw_str(reply, "name", name);
	greta_jsonw_i64(reply, "campaign_id", id);
	greta_jsonw_str(reply, "campaign", row.name);
	greta_campaign_row_release(&row);
	return greta_txn_commit(&txn, e);
}

static int remove_run(struct greta_db *db, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	const char *name = text_of(args, "name");
	cleanup_txn struct greta_txn txn = greta_txn_none;
	if (greta_txn_begin(db, &txn, e) || greta_baselines_remove(db, name ? name : "", e) ||
	    greta_actions_add(db, NULL, "baseline remove", NULL, e))
		return -1;
	greta_jsonw_str(reply, "name", name);
	return greta_txn_commit(&txn, e);
}

const struct action action_baseline_set = {"baseline_set", set_run};
const struct action action_baseline_remove = {"baseline_remove", remove_run};

/* ---- in the commands */

struct baseline_values {
	struct cmd_common common;
	const char *variant, *note;
};

static void print_json(const struct greta_json_val *reply)
{
	cleanup_buf struct greta_buf out = {0};
	greta_json_print(reply, &out);
	puts(greta_buf_str(&out));
}

static int set_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct baseline_values *v = values;
	cleanup_buf struct greta_buf args = {0};
	struct greta_jsonw w = greta_jsonw(&args);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "name", ctx->operands.items[0]);
	greta_jsonw_str(&w, "campaign", ctx->operands.n > 1 ? ctx->operands.items[1] : NULL);
	greta_jsonw_str(&w, "variant", v->variant);
	greta_jsonw_str(&w, "note", v->note);
	greta_jsonw_end_object(&w);
	struct greta_json *answer = client_action(ctx->db_path, action_baseline_set.name, greta_buf_str(&args), e);
	if (!answer)
		return -1;
	const struct greta_json_val *reply = greta_json_get(greta_json_root(answer), "ok");
	if (ctx->json)
		print_json(reply);
	else
		printf("baseline %s is campaign %s%s%s\n", ctx->operands.items[0], text_of(reply, "campaign"),
		       v->variant ? ", variant " : "", v->variant ? v->variant : "");
	greta_json_destroy(answer);
	return CMD_OK;
}

static int remove_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	cleanup_buf struct greta_buf args = {0};
	struct greta_jsonw w = greta_jsonw(&args);
	(void)values;
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "name", ctx->operands.items[0]);
	greta_jsonw_end_object(&w);
	struct greta_json *answer = client_action(ctx->db_path, action_baseline_remove.name, greta_buf_str(&args), e);
	if (!answer)
		return -1;
	if (ctx->json)
		print_json(greta_json_get(greta_json_root(answer), "ok"));
	else
		printf("baseline %s is removed; its campaign stays\n", ctx->operands.items[0]);
	greta_json_destroy(answer);
	return CMD_OK;
}

static const struct table_column columns[] = {
	{"name", "baseline", TABLE_TEXT, 0}, {"campaign_id", "id", TABLE_INT, 0}, {"campaign", "campaign", TABLE_TEXT, 0},
	{"variant", "variant", TABLE_TEXT, 0}, {"set", "set", TABLE_TEXT, 0},     {"note", "note", TABLE_TEXT, 0},
};

static int list_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	struct output o = output_of(ctx, NULL);
	struct greta_baseline_rows rows = {0};
	(void)values;
	if (greta_baselines_list(ctx->db, &rows, e))
		return -1;
	struct table *t = table_create(columns, sizeof columns / sizeof *columns);
	for (size_t i = 0; i < rows.n; i++) {
		char when[GRETA_ISO_LEN + 1];
		table_row(t);
		table_str(t, rows.items[i].name);
		table_int(t, rows.items[i].campaign_id);
		table_str(t, rows.items[i].campaign);
		table_str(t, rows.items[i].variant);
		table_note(t, rows.items[i].variant ? rows.items[i].variant : "each its own");
		table_str(t, greta_clock_iso(when, rows.items[i].set_ns));
		table_str(t, rows.items[i].note);
	}
	if (rows.n == 0)
		output_say(&o, "there is no baseline (greta-orch baseline set NAME CAMPAIGN makes one)\n");
	if (rows.n || o.form != OUTPUT_TEXT)
		output_table(&o, t);
	table_destroy(t);
	greta_baseline_rows_release(&rows);
	return CMD_OK;
}

static const struct greta_opt set_opts[] = {
	{"variant", 'v', GRETA_OPT_STR, offsetof(struct baseline_values, variant), "NAME",
	 "hold every variant against this one (default: each against its own name)"},
	{"note", 0, GRETA_OPT_STR, offsetof(struct baseline_values, note), "TEXT", "why, for those who list it"},
	{0},
};

const struct cmd cmd_baseline_set = {
	.name = "baseline set",
	.group = "Ask",
	.summary = "name a campaign that later ones are held against",
	.operands = "NAME [CAMPAIGN]",
	.min_operands = 1,
	.max_operands = 2,
	.details = "Without CAMPAIGN, the latest. A name that is taken moves. Results that do not say how many tokens they\n"
		   "prefilled can't be a baseline.\n\n"
		   "  greta-orch baseline set release b3_89 --note 'as shipped'\n"
		   "  greta-orch regress --baseline release\n",
	.opts = set_opts,
	.values_size = sizeof(struct baseline_values),
	.exec = set_exec,
};

const struct cmd cmd_baseline_list = {
	.name = "baseline list",
	.group = "Ask",
	.summary = "the baselines there are",
	.operands = "",
	.needs = CMD_NEEDS_READER,
	.exec = list_exec,
};

const struct cmd cmd_baseline_remove = {
	.name = "baseline remove",
	.group = "Ask",
	.summary = "forget a baseline's name",
	.operands = "NAME",
	.min_operands = 1,
	.max_operands = 1,
	.exec = remove_exec,
};
