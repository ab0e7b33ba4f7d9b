/* report: one campaign in Markdown, to standard output or a file, or as an HTML page. */
#include "base/buf.h"
#include "base/fs.h"
#include "base/jsonw.h"
#include "db/campaigns.h"
#include "orchestrator/analysis/validity.h"
#include "orchestrator/cmd.h"
#include "orchestrator/report/html.h"
#include "orchestrator/report/report.h"
#include <stdio.h>

struct report_values {
	struct cmd_common common;
	const char *output, *html;
	bool with_marked;
};

/* The page alone, unless Markdown is asked for by its own option. */
static int write_html(struct cmd_ctx *ctx, int64_t id, const struct report_values *v, struct greta_err *e)
{
	cleanup_buf struct greta_buf page = {0};
	if (html_report(ctx->db, id, v->with_marked, &page, e) ||
	    greta_fs_write_atomic(v->html, page.data, page.len, 0644, e))
		return -1;
	if (!ctx->json)
		printf("%s: %zu KB, opens in any browser without a network\n", v->html, page.len / 1000);
	return 0;
}

static int report_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct report_values *v = values;
	int64_t id;
	cleanup_buf struct greta_buf text = {0};
	if (greta_campaigns_find(ctx->db, ctx->operands.n ? ctx->operands.items[0] : NULL, &id, e) ||
	    (v->html && write_html(ctx, id, v, e)))
		return -1;
	if (v->html && !v->output && !ctx->json)
		return CMD_OK;
	if (report_markdown(ctx->db, id, v->with_marked, &text, e))
		return -1;
	if (v->output && greta_fs_write_atomic(v->output, text.data, text.len, 0644, e))
		return -1;
	if (ctx->json) {
		cleanup_buf struct greta_buf out = {0};
		struct greta_jsonw w = greta_jsonw(&out);
		greta_jsonw_object(&w, NULL);
		greta_jsonw_i64(&w, "campaign", id);
		greta_jsonw_str(&w, "file", v->output);
		greta_jsonw_str(&w, "html", v->html);
		greta_jsonw_str(&w, "markdown", greta_buf_str(&text));
		greta_jsonw_end_object(&w);
		puts(greta_buf_str(&out));
	} else if (!v->output) {
		fwrite(text.data, 1, text.len, stdout);
	}
	return CMD_OK;
}

static const struct greta_opt report_opts[] = {
	{"output", 'o', GRETA_OPT_STR, offsetof(struct report_values, output), "FILE",
	 "write there (whole or not at all) instead of standard output"},
	{"html", 0, GRETA_OPT_STR, offsetof(struct report_values, html), "FILE",
	 "one page with charts, tables and verdicts, that opens from disk without a network"},
	VALIDITY_OPTION(struct report_values, with_marked),
	{0},
};

const struct cmd cmd_report = {
	.name = "report",
	.group = "Ask",
	.summary = "a campaign's report, in Markdown or as a page",
	.operands = "[CAMPAIGN]",
	.max_operands = 1,
	.details = "  greta-orch report b3_89 -o report.md\n"
		   "  greta-orch report b3_89 --html report.html\n",
	.opts = report_opts,
	.values_size = sizeof(struct report_values),
	.needs = CMD_NEEDS_READER,
	.exec = report_exec,
};
