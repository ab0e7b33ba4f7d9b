/* scaling: prefill time against context. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "db/campaigns.h"
#include "orchestrator/analysis/cells.h"
#include "orchestrator/analysis/scaling.h"
#include "orchestrator/cmd.h"
#include "orchestrator/print/output.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREDICT_MAX 32
#define CONTEXT_MAX 1000000000

struct scaling_values {
	struct cmd_common common;
	struct output_options output;
	const char *variant, *node, *predict;
	bool with_marked;
};

struct contexts {
	int64_t n[PREDICT_MAX];
	size_t count;
};

static int parse_contexts(const char *text, struct contexts *out, struct greta_err *e)
{
	cleanup_free char *copy = greta_strdup(text);
	char *rest = copy, *word;
	while ((word = strsep(&rest, ",")) != NULL) {
		if (out->count == PREDICT_MAX)
			return greta_err_set(e, GRETA_EINVAL, "--predict: at most %d contexts", PREDICT_MAX);
		if (greta_str_i64(word, &out->n[out->count]) || out->n[out->count] < 1 || out->n[out->count] > CONTEXT_MAX)
			return greta_err_set(e, GRETA_EINVAL, "--predict: '%s' is not a context length (8192,65536)", word);
		out->count++;
	}
	return 0;
}

static void print_json(const struct scaling *s, const struct contexts *predict, const struct greta_buf *remarks)
{
	struct table *t[] = {scaling_table(s), scaling_fits(s), scaling_predictions(s, predict->n, predict->count)};
	static const char *const keys[] = {"cells", "fits", "predictions"};
	cleanup_buf struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_i64(&w, "campaign", s->cells->campaign_id);
	for (size_t i = 0; i < GRETA_COUNT(t); i++) {
		table_write_json(t[i], &w, keys[i]);
		table_destroy(t[i]);
	}
	greta_jsonw_i64(&w, "n_marked", (int64_t)s->cells->marked.total);
	greta_jsonw_lines(&w, "remarks", greta_buf_str(remarks));
	greta_jsonw_end_object(&w);
	puts(greta_buf_str(&out));
}

static void print_more(const struct output *o, struct table *t)
{
	if (table_rows(t)) {
		puts("");
		output_table(o, t);
	}
	table_destroy(t);
}

/* CSV is the cells alone: one header, one kind of row. */
static void print_text(const struct output *o, const struct scaling *s, const struct contexts *predict,
		       const struct greta_buf *remarks)
{
	const struct cells *c = s->cells;
	struct table *t = scaling_table(s);
	output_say(o, "campaign %" PRId64 " %s (%s, %s)\n", c->campaign_id, c->campaign, c->mode, c->state);
	output_table(o, t);
	table_destroy(t);
	if (o->form == OUTPUT_CSV)
		return;
	print_more(o, scaling_fits(s));
	print_more(o, scaling_predictions(s, predict->n, predict->count));
	output_say(o, remarks->len ? "\n%s" : "%s", greta_buf_str(remarks));
}

static int scaling_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct scaling_values *v = values;
	struct output o = output_of(ctx, &v->output);
	struct cells cells;
	struct scaling s;
	struct contexts predict = {0};
	int64_t id;
	if ((v->predict && parse_contexts(v->predict, &predict, e)) ||
	    greta_campaigns_find(ctx->db, ctx->operands.n ? ctx->operands.items[0] : NULL, &id, e) ||
	    cells_load(ctx->db, id, &cells, e))
		return -1;
	if (v->with_marked)
		cells_take_marked(&cells);
	if (v->node)
		cells_keep_node(&cells, v->node);
	scaling_make(&cells, v->variant, &s);
	int code = CMD_NOT_ALL_OK;
	for (size_t i = 0; i < s.n; i++)
		if (s.lines[i].n)
			code = CMD_OK;
	if (cells.n == 0 && o.form != OUTPUT_JSON) {
		output_say(&o, "no run is planned in %s, so nothing can be said about scaling\n", cells.campaign);
	} else if (s.n == 0 && o.form != OUTPUT_JSON) {
		output_say(&o, "no cell matches%s%s\n", v->variant ? ": there is no variant " : "", v->variant ? v->variant : "");
	} else {
		cleanup_buf struct greta_buf remarks = {0};
		scaling_remarks(&s, &remarks);
		if (o.form == OUTPUT_JSON)
			print_json(&s, &predict, &remarks);
		else
			print_text(&o, &s, &predict, &remarks);
	}
	scaling_release(&s);
	cells_release(&cells);
	return code;
}

static const struct greta_opt scaling_opts[] = {
	{"variant", 'v', GRETA_OPT_STR, offsetof(struct scaling_values, variant), "NAME", "only this variant"},
	{"node", 0, GRETA_OPT_STR, offsetof(struct scaling_values, node), "NAME", "only runs on this node"},
	{"predict", 'p', GRETA_OPT_STR, offsetof(struct scaling_values, predict), "N,...",
	 "the time at contexts that were not run, by the fit"},
	VALIDITY_OPTION(struct scaling_values, with_marked),
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
		   "2 is pure attention, and more than 2 means that something breaks.\n\n"
		   "The fit is t(n) = a + b n + c n^2 with no negative term, over medians weighted by runs / median^2; lin % and\n"
		   "quad % are the shares of its terms, and `off` says how far the medians lie off the curve. Its 95 %\n"
		   "intervals come from drawing anew both how far contexts lie off the curve and how far runs lie off their\n"
		   "median. A curve breaks where the fit of the contexts before predicts less than was measured; the fit then\n"
		   "ends before that context.\n\n"
		   "  greta-orch scaling b3_89 --predict 32768,65536\n",
	.opts = scaling_opts,
	.values_size = sizeof(struct scaling_values),
	.needs = CMD_NEEDS_READER,
	.exec = scaling_exec,
};
