/* regress: did a campaign get slower than its baseline, or than all that came before? */
#include "base/fs.h"
#include "db/campaigns.h"
#include "orchestrator/analysis/regress.h"
#include "orchestrator/cmd.h"
#include "orchestrator/print/output.h"
#include <inttypes.h>
#include <stdio.h>

struct regress_values {
	struct cmd_common common;
	struct output_options output;
	const char *baseline, *junit;
	bool with_marked;
	double threshold_percent;
};

static void print_json(const struct regress *r)
{
	struct table *cells = compare_table(&r->cells), *differs = envdiff_table(&r->differs);
	cleanup_buf struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_i64(&w, "campaign", r->campaign_id);
	greta_jsonw_str(&w, "against", r->against);
	greta_jsonw_i64(&w, "n_marked", (int64_t)r->runs.marked.total);
	greta_jsonw_i64(&w, "n_marked_history", (int64_t)r->past.marked.total);
	greta_jsonw_bool(&w, "marked_included", r->with_marked);
	greta_jsonw_bool(&w, "regressed", regress_count(r, COMPARE_SLOWER) > 0);
	table_write_json(cells, &w, "cells");
	greta_jsonw_array(&w, "changes");
	for (size_t i = 0; i < r->n_series; i++)
		for (size_t k = 0; k < r->series[i].changes.n; k++) {
			const struct change *c = &r->series[i].changes.items[k];
			greta_jsonw_object(&w, NULL);
			greta_jsonw_str(&w, "variant", r->series[i].variant);
			greta_jsonw_i64(&w, "context", r->series[i].context);
			greta_jsonw_i64(&w, "campaign", r->series[i].points[c->at].campaign_id);
			greta_jsonw_f64(&w, "ratio", c->ratio);
			greta_jsonw_f64(&w, "p", c->p);
			greta_jsonw_end_object(&w);
		}
	greta_jsonw_end_array(&w);
	table_write_json(differs, &w, "differs");
	greta_jsonw_bool(&w, "same_code", r->differs.same_code);
	greta_jsonw_end_object(&w);
	puts(greta_buf_str(&out));
	table_destroy(cells);
	table_destroy(differs);
}

static void print(const struct output *o, const struct regress *r)
{
	cleanup_buf struct greta_buf out = {0};
	if (o->form == OUTPUT_JSON) {
		print_json(r);
		return;
	}
	if (o->form == OUTPUT_MARKDOWN) {
		regress_markdown(r, &out);
	} else {
		struct table *cells = compare_table(&r->cells);
		output_say(o, "B is campaign %" PRId64 " %s, A is %s\n", r->campaign_id, r->campaign,
			   r->against ? r->against : "nothing");
		if (table_rows(cells) || o->form == OUTPUT_CSV)
			output_table(o, cells);
		if (o->form == OUTPUT_TEXT) {
			greta_buf_adds(&out, table_rows(cells) ? "\n" : "");
			regress_words(r, &out);
		}
		table_destroy(cells);
	}
	fwrite(greta_buf_str(&out), 1, out.len, stdout);
}

static int regress_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct regress_values *v = values;
	struct output o = output_of(ctx, &v->output);
	const struct regress_how how = {v->baseline, v->threshold_percent / 100, v->with_marked};
	struct regress r;
	int64_t id;
	if (greta_campaigns_find(ctx->db, ctx->operands.n ? ctx->operands.items[0] : NULL, &id, e) ||
	    regress_make(ctx->db, id, &how, &r, e))
		return -1;
	int code = regress_count(&r, COMPARE_SLOWER) ? CMD_REGRESSED : r.runs.n ? CMD_OK : CMD_NOT_ALL_OK;
	print(&o, &r);
	if (v->junit) {
		cleanup_buf struct greta_buf xml = {0};
		regress_junit(&r, &xml);
		if (greta_fs_write_atomic(v->junit, xml.data, xml.len, 0644, e))
			code = -1;
	}
	regress_release(&r);
	return code;
}

static const struct greta_opt regress_opts[] = {
	{"baseline", 'b', GRETA_OPT_STR, offsetof(struct regress_values, baseline), "NAME",
	 "against this baseline (default: all comparable history)"},
	{"threshold", 0, GRETA_OPT_F64, offsetof(struct regress_values, threshold_percent), "PERCENT",
	 "smaller differences do not matter (default: 1)"},
	{"junit", 0, GRETA_OPT_STR, offsetof(struct regress_values, junit), "FILE", "write JUnit XML there, too"},
	VALIDITY_OPTION(struct regress_values, with_marked),
	OUTPUT_OPTIONS(struct regress_values, output),
	{0},
};

const struct cmd cmd_regress = {
	.name = "regress",
	.group = "Ask",
	.summary = "did it get slower than before",
	.operands = "[CAMPAIGN]",
	.max_operands = 1,
	.details = "Each cell against a named baseline, or against all comparable history: the same variant, context, mode, model\n"
		   "data, device type and dtype, since the cell's last change point, token-verified runs alone. Tests and words\n"
		   "are those of compare. Change points of each cell's history are found by E-divisive with a permutation test at\n"
		   "1 %. Exit code 4 says that some cell is slower; suspicion does not.\n\n"
		   "  greta-orch regress --markdown > comment.md\n"
		   "  greta-orch regress nightly --baseline release --junit regress.xml\n",
	.opts = regress_opts,
	.values_size = sizeof(struct regress_values),
	.needs = CMD_NEEDS_READER,
	.exec = regress_exec,
};
