/* scaling: prefill time against context. */
#include "base/buf.h"
#include "db/campaigns.h"
#include "orchestrator/cells.h"
#include "orchestrator/cmd.h"
#include "orchestrator/output.h"
#include "orchestrator/scaling.h"
#include <inttypes.h>
#include <stdio.h>

struct scaling_values {
	struct cmd_common common;
	struct output_options output;
	const char *variant;
};

static int scaling_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct scaling_values *v = values;
	struct output o = output_of(ctx, &v->output);
	struct cells cells;
	int64_t id;
	if (greta_campaigns_find(ctx->db, ctx->operands.n ? ctx->operands.items[0] : NULL, &id, e) ||
	    cells_load(ctx->db, id, &cells, e))
		return -1;
	cleanup_buf struct greta_buf remarks = {0};
	struct table *t = scaling_table(&cells, v->variant);
	scaling_remarks(&cells, v->variant, &remarks);
	output_say(&o, "campaign %" PRId64 " %s (%s, %s)\n", id, cells.campaign, cells.mode, cells.state);
	output_table(&o, t);
	output_say(&o, "%s", greta_buf_str(&remarks));
	int code = table_rows(t) ? CMD_OK : CMD_NOT_ALL_OK;
	if (table_rows(t) == 0)
		output_say(&o, "no cell matches\n");
	table_destroy(t);
	cells_release(&cells);
	return code;
}

static const struct greta_opt scaling_opts[] = {
	{"variant", 'v', GRETA_OPT_STR, offsetof(struct scaling_values, variant), "NAME", "only this variant"},
	OUTPUT_OPTIONS(struct scaling_values, output),
	{0},
};

const struct cmd cmd_scaling = {
	.name = "scaling",
	.group = "Ask",
	.summary = "how prefill time grows with context",
	.operands = "[CAMPAIGN]",
	.max_operands = 1,
	.details = "ratio is to the variant's smallest context; exponent is k in t ~ n^k from the context before: 1 is linear,\n"
		   "2 is pure attention, and more than 2 means that something breaks.\n",
	.opts = scaling_opts,
	.values_size = sizeof(struct scaling_values),
	.needs = CMD_NEEDS_READER,
	.exec = scaling_exec,
};
