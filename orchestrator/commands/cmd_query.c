/* query: one SQL statement on the read-only database. */
#include "base/mem.h"
#include "db/db.h"
#include "orchestrator/cmd.h"
#include "orchestrator/print/output.h"
#include "orchestrator/print/table.h"
#include <stdlib.h>

struct query_values {
	struct cmd_common common;
	struct output_options output;
};

static void add_value(struct table *t, struct greta_query *q, int column)
{
	size_t n;
	char note[48];
	switch (greta_query_type(q, column)) {
	case GRETA_VALUE_INTEGER:
		table_int(t, greta_query_i64(q, column));
		break;
	case GRETA_VALUE_REAL:
		table_num(t, greta_query_f64(q, column));
		break;
	case GRETA_VALUE_TEXT:
		table_str(t, greta_query_str(q, column));
		break;
	case GRETA_VALUE_BLOB:
		greta_query_blob(q, column, &n);
		snprintf(note, sizeof note, "(%zu bytes)", n);
		table_str(t, note);
		break;
	default:
		table_none(t);
	}
}

static int run_query(struct greta_query *q, const struct output *o, struct greta_err *e)
{
	size_t n = (size_t)greta_query_columns(q);
	struct table_column *columns = greta_alloc(n * sizeof *columns);
	for (size_t c = 0; c < n; c++) {
		const char *name = greta_query_name(q, (int)c);
		columns[c] = (struct table_column){.key = name, .title = name, .format = TABLE_GENERAL};
	}
	struct table *t = table_create(columns, n);
	int rc;
	while ((rc = greta_query_step(q, e)) == 1) {
		table_row(t);
		for (size_t c = 0; c < n; c++)
			add_value(t, q, (int)c);
	}
	if (rc == 0)
		output_table(o, t);
	table_destroy(t);
	free(columns);
	return rc;
}

static int query_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct query_values *v = values;
	struct output o = output_of(ctx, &v->output);
	cleanup_query struct greta_query *q = greta_query_user(ctx->db, ctx->operands.items[0], e);
	return q ? run_query(q, &o, e) : -1;
}

static const struct greta_opt query_opts[] = {
	OUTPUT_OPTIONS(struct query_values, output),
	{0},
};

const struct cmd cmd_query = {
	.name = "query",
	.group = "Ask",
	.summary = "one SQL statement on the database, read-only",
	.operands = "SQL",
	.min_operands = 1,
	.max_operands = 1,
	.details = "The views result, cell, scaling, hang and more are the public face: docs/database.md tells their columns.\n\n"
		   "  greta-orch query \"SELECT variant, context, prefill_s FROM result WHERE outcome = 'ok'\"\n"
		   "  greta-orch query --csv \"SELECT * FROM scaling\" > scaling.csv\n",
	.opts = query_opts,
	.values_size = sizeof(struct query_values),
	.needs = CMD_NEEDS_READER,
	.exec = query_exec,
};
