/* import: a B3.89 artifact tree becomes a campaign. */
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "orchestrator/cmd.h"
#include "orchestrator/import.h"
#include "orchestrator/writer.h"
#include <stdio.h>

struct import_values {
	struct cmd_common common;
	const char *name;
	const char *mode;
	const char *variants;
};

static void split_commas(const char *text, struct greta_strs *out)
{
	while (text && *text) {
		size_t n = strcspn(text, ",");
		if (n)
			greta_strs_addf(out, "%.*s", (int)n, text);
		text += n + (text[n] == ',');
	}
}

static void print_json(const struct import_summary *s, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_i64(&w, "campaign", s->campaign_id);
	greta_jsonw_i64(&w, "added", s->n_added);
	greta_jsonw_i64(&w, "known", s->n_known);
	greta_jsonw_i64(&w, "ok", s->n_ok);
	greta_jsonw_i64(&w, "invalid", s->n_invalid);
	greta_jsonw_i64(&w, "failed", s->n_failed);
	greta_jsonw_i64(&w, "never_ran", s->n_never_ran);
	greta_jsonw_str(&w, "notes", greta_buf_str(&s->notes));
	greta_jsonw_end_object(&w);
	greta_buf_addc(out, '\n');
}

static void print_text(const struct import_summary *s, const char *dir, struct greta_buf *out)
{
	greta_buf_adds(out, greta_buf_str(&s->notes));
	greta_buf_addf(out, "%s: %lld runs added to campaign %lld", dir, (long long)s->n_added,
		       (long long)s->campaign_id);
	if (s->n_added)
		greta_buf_addf(out, " (%lld ok, %lld invalid, %lld failed)", (long long)s->n_ok,
			       (long long)s->n_invalid, (long long)s->n_failed);
	if (s->n_known)
		greta_buf_addf(out, ", %lld known already", (long long)s->n_known);
	if (s->n_never_ran)
		greta_buf_addf(out, ", %lld planned cells never ran", (long long)s->n_never_ran);
	greta_buf_adds(out, "\n");
}

static int import_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct import_values *v = values;
	const char *dir = ctx->operands.items[0];
	struct import_request request = {.dir = dir, .name = v->name, .mode = v->mode};
	struct import_summary summary = {0};
	struct writer writer;
	if (writer_open(ctx->db_path, &writer, e))
		return -1;
	split_commas(v->variants, &request.variants);
	int rc = import_tree(writer.db, &request, &summary, e);
	writer_close(&writer);
	if (rc == 0) {
		cleanup_buf struct greta_buf out = {0};
		if (ctx->json)
			print_json(&summary, &out);
		else
			print_text(&summary, dir, &out);
		fputs(greta_buf_str(&out), stdout);
	}
	greta_strs_release(&request.variants);
	import_summary_release(&summary);
	return rc;
}

static const struct greta_opt import_opts[] = {
	{"name", 0, GRETA_OPT_STR, offsetof(struct import_values, name), "NAME",
	 "the campaign's name (default: the tree's ticket, else the folder's name)"},
	{"variants", 0, GRETA_OPT_STR, offsetof(struct import_values, variants), "LIST",
	 "variants that were planned, NAME or NAME=ATTN_IMPL, with commas: cells that never ran are shown"},
	{"mode", 0, GRETA_OPT_STR, offsetof(struct import_values, mode), "perf|debug",
	 "mode of runs that do not say theirs (default: perf)"},
	{0},
};

const struct cmd cmd_import = {
	.name = "import",
	.group = "Data",
	.summary = "take over the results of a B3.89 artifact tree",
	.operands = "DIR",
	.min_operands = 1,
	.max_operands = 1,
	.details = "Reads <variant>/ctx_<N>_run<i>/perf.json and the older runs/ctx_<N>_<i>/perf.json, with run.log,\n"
		   "vram_samples.jsonl and diag.txt beside them, and the executor's event log. Importing again adds\n"
		   "nothing twice. A prefill_s of 0, or fewer tokens than the context, comes in as invalid.\n\n"
		   "  greta-orch import artifacts/b3_89 --variants baseline=flash_v2_naive,v3=q_lds,v4=q_lds_v2\n",
	.opts = import_opts,
	.values_size = sizeof(struct import_values),
	.exec = import_exec,
};
