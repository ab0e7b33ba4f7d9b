/* import: a B3.89 artifact tree becomes a campaign. */
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "orchestrator/cmd.h"
#include "orchestrator/control/action.h"
#include "orchestrator/control/client.h"
#include "orchestrator/import/import.h"
#include "orchestrator/import/import_bench.h"
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

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

/* ---- in the controller */

static void write_reply(const struct import_summary *s, struct greta_jsonw *w)
{
	greta_jsonw_i64(w, "campaign", s->campaign_id);
	greta_jsonw_i64(w, "added", s->n_added);
	greta_jsonw_i64(w, "known", s->n_known);
	greta_jsonw_i64(w, "ok", s->n_ok);
	greta_jsonw_i64(w, "invalid", s->n_invalid);
	greta_jsonw_i64(w, "failed", s->n_failed);
	greta_jsonw_i64(w, "never_ran", s->n_never_ran);
	greta_jsonw_str(w, "notes", greta_buf_str(&s->notes));
}

static const char *text_of(const struct greta_json_val *args, const char *key)
{
	const char *s;
	return greta_json_str(greta_json_get(args, key), &s) == 0 ? s : NULL;
}

static int import_run(struct greta_db *db, const struct greta_json_val *args, struct greta_jsonw *reply,
		      struct greta_err *e)
{
	struct import_request request = {
		.dir = text_of(args, "dir"),
		.name = text_of(args, "name"),
		.mode = text_of(args, "mode"),
	};
	struct import_summary summary = {0};
	split_commas(text_of(args, "variants"), &request.variants);
	struct stat st;
	bool is_file = request.dir && stat(request.dir, &st) == 0 && S_ISREG(st.st_mode);
	int rc = is_file ? import_bench(db, &request, &summary, e) : import_tree(db, &request, &summary, e);
	if (rc == 0)
		write_reply(&summary, reply);
	greta_strs_release(&request.variants);
	import_summary_release(&summary);
	return rc;
}

const struct action action_import = {"import", import_run};

/* ---- in the command */

static int64_t number_of(const struct greta_json_val *reply, const char *key)
{
	int64_t v = 0;
	greta_json_i64(greta_json_get(reply, key), &v);
	return v;
}

static void print_text(const struct greta_json_val *r, const char *dir)
{
	const char *notes = text_of(r, "notes");
	printf("%s%s: %" PRId64 " runs added to campaign %" PRId64, notes ? notes : "", dir, number_of(r, "added"),
	       number_of(r, "campaign"));
	if (number_of(r, "added"))
		printf(" (%" PRId64 " ok, %" PRId64 " invalid, %" PRId64 " failed)", number_of(r, "ok"),
		       number_of(r, "invalid"), number_of(r, "failed"));
	if (number_of(r, "known"))
		printf(", %" PRId64 " known already", number_of(r, "known"));
	if (number_of(r, "never_ran"))
		printf(", %" PRId64 " planned cells never ran", number_of(r, "never_ran"));
	puts("");
}

static void print_json(const struct greta_json_val *reply)
{
	cleanup_buf struct greta_buf out = {0};
	greta_json_print(reply, &out);
	puts(greta_buf_str(&out));
}

static int import_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct import_values *v = values;
	const char *dir = ctx->operands.items[0];
	cleanup_free char *path = realpath(dir, NULL); /* the controller works elsewhere */
	if (!path)
		return greta_err_sys(e, "%s", dir);
	cleanup_buf struct greta_buf args = {0};
	struct greta_jsonw w = greta_jsonw(&args);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "dir", path);
	greta_jsonw_str(&w, "name", v->name);
	greta_jsonw_str(&w, "mode", v->mode);
	greta_jsonw_str(&w, "variants", v->variants);
	greta_jsonw_end_object(&w);
	struct greta_json *answer = client_action(ctx->db_path, action_import.name, greta_buf_str(&args), e);
	if (!answer)
		return -1;
	if (ctx->json)
		print_json(greta_json_get(greta_json_root(answer), "ok"));
	else
		print_text(greta_json_get(greta_json_root(answer), "ok"), dir);
	greta_json_destroy(answer);
	return CMD_OK;
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
	.summary = "take over results: a B3.89 artifact tree, llama-bench, JSON lines",
	.operands = "DIR|FILE",
	.min_operands = 1,
	.max_operands = 1,
	.details = "Reads <variant>/ctx_<N>_run<i>/perf.json and the older runs/ctx_<N>_<i>/perf.json, with run.log,\n"
		   "vram_samples.jsonl and diag.txt beside them, and the executor's event log. Importing again adds\n"
		   "nothing twice. A prefill_s of 0, or fewer tokens than the context, comes in as invalid.\n\n"
		   "A file is what llama-bench prints with -o json, -o jsonl or -o sql (a test is one run with its repetitions, or\n"
		   "their mean, as samples; tests that generate tokens are left out; the first of --variants names it, else\n"
		   "model type and backends), or JSON lines as\n"
		   "{\"variant\":\"x\",\"context\":4096,\"prefill_s\":1.2}.\n\n"
		   "  greta-orch import artifacts/b3_89 --variants baseline=flash_v2_naive,v3=q_lds,v4=q_lds_v2\n",
	.opts = import_opts,
	.values_size = sizeof(struct import_values),
	.exec = import_exec,
};
