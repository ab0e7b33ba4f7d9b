/* export: a campaign's results in the formats of other programs. */
#include "base/fs.h"
#include "base/mem.h"
#include "db/campaigns.h"
#include "orchestrator/cmd.h"
#include "orchestrator/report/export.h"
#include <inttypes.h>
#include <stdio.h>

struct export_values {
	struct cmd_common common;
	const char *format, *output;
};

#define EXPORT_FORMATS(X)                    \
	X("csv",         export_csv)         \
	X("jsonl",       export_jsonl)       \
	X("prometheus",  export_prometheus)  \
	X("llama-bench", export_llama_bench)

static const struct {
	const char *name;
	int (*write)(struct greta_db *db, int64_t campaign_id, struct greta_buf *out, struct greta_err *e);
} formats[] = {
#define X(name, write) {name, write},
	EXPORT_FORMATS(X)
#undef X
};

static int export_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct export_values *v = values;
	const char *wanted = v->format ? v->format : "csv";
	cleanup_buf struct greta_buf out = {0};
	int64_t id;
	size_t i = 0;
	while (i < GRETA_COUNT(formats) && !greta_str_eq(formats[i].name, wanted))
		i++;
	if (i == GRETA_COUNT(formats))
		return greta_err_set(e, GRETA_EINVAL, "there is no format '%s'", wanted);
	if (greta_campaigns_find(ctx->db, ctx->operands.n ? ctx->operands.items[0] : NULL, &id, e))
		return -1;
	int n = formats[i].write(ctx->db, id, &out, e);
	if (n < 0 || (v->output && greta_fs_write_atomic(v->output, out.data, out.len, 0644, e)))
		return -1;
	if (!v->output)
		fwrite(greta_buf_str(&out), 1, out.len, stdout);
	if (n)
		return CMD_OK;
	fprintf(stderr, "campaign %" PRId64 " has nothing that %s could hold (greta-orch results %" PRId64 " shows what became of it)\n", id,
		wanted, id);
	return CMD_NOT_ALL_OK;
}

static const struct greta_opt export_opts[] = {
	{"format", 'f', GRETA_OPT_STR, offsetof(struct export_values, format), "csv|jsonl|prometheus|llama-bench",
	 "how (default: csv)"},
	{"output", 'o', GRETA_OPT_STR, offsetof(struct export_values, output), "FILE",
	 "write there (whole or not at all) instead of standard output"},
	{0},
};

const struct cmd cmd_export = {
	.name = "export",
	.group = "Data",
	.summary = "a campaign's results for other programs",
	.operands = "[CAMPAIGN]",
	.max_operands = 1,
	.details = "csv and jsonl have one row an attempt, whatever became of it; prometheus and llama-bench have one for each cell,\n"
		   "over its counted runs. Exit code 1 says that there is none.\n\n"
		   "  greta-orch export b3_89 -f jsonl | jq -s 'map(select(.counted == 1)) | group_by(.variant)'\n"
		   "  greta-orch export -f prometheus -o /var/lib/node_exporter/textfile/greta.prom\n",
	.opts = export_opts,
	.values_size = sizeof(struct export_values),
	.needs = CMD_NEEDS_READER,
	.exec = export_exec,
};
