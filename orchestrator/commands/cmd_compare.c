/* compare: any two selections of counted runs, cell by cell. */
#include "base/cleanup.h"
#include "base/mem.h"
#include "orchestrator/analysis/compare.h"
#include "orchestrator/analysis/envdiff.h"
#include "orchestrator/cmd.h"
#include "orchestrator/print/output.h"
#include <inttypes.h>
#include <stdio.h>

#define PAST_CAMPAIGNS 50 /* of history, for noise floors and for what explains a difference */

struct compare_values {
	struct cmd_common common;
	struct output_options output;
	double threshold_percent;
	bool with_marked;
};

struct sides {
	struct selection select_a, select_b;
	struct history a, b, past;
	struct compare result;
	struct envdiff differs;
};

static void sides_release(struct sides *s)
{
	selection_release(&s->select_a);
	selection_release(&s->select_b);
	history_release(&s->a);
	history_release(&s->b);
	history_release(&s->past);
	compare_release(&s->result);
	envdiff_release(&s->differs);
}

static int load_side(struct greta_db *db, struct selection *s, bool with_marked, struct history *out, struct greta_err *e)
{
	s->filter.with_marked = with_marked;
	if (history_load(db, &s->filter, out, e))
		return -1;
	if (out->n == 0)
		return greta_err_set(e, GRETA_EINVAL, "'%s' has no counted run%s", s->text,
				     out->marked.total ? " that is not marked; --include-marked takes those in"
						       : " (greta-orch results shows what became of them)");
	return 0;
}

static int load(struct cmd_ctx *ctx, const struct compare_values *v, struct sides *s, struct greta_err *e)
{
	double threshold = v->threshold_percent > 0 ? v->threshold_percent / 100 : COMPARE_THRESHOLD;
	const char *a = ctx->operands.items[0], *b = ctx->operands.items[1];
	if (selection_parse(ctx->db, a, &s->select_a, e) || selection_parse(ctx->db, b, &s->select_b, e) ||
	    load_side(ctx->db, &s->select_a, v->with_marked, &s->a, e) ||
	    load_side(ctx->db, &s->select_b, v->with_marked, &s->b, e))
		return -1;
	struct history_filter f = {.mode = s->a.items[0].kind->mode, .last_campaigns = PAST_CAMPAIGNS,
				   .with_marked = v->with_marked};
	if (history_load(ctx->db, &f, &s->past, e) || compare_pair(&s->a, &s->b, &s->past, &s->result, e) ||
	    envdiff_make(ctx->db, &s->a, &s->b, &s->past, &s->differs, e))
		return -1;
	compare_judge(&s->result, threshold);
	return 0;
}

static void print_json(const struct sides *s, bool with_marked)
{
	struct table *cells = compare_table(&s->result), *differs = envdiff_table(&s->differs);
	cleanup_buf struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "a", s->select_a.text);
	greta_jsonw_str(&w, "b", s->select_b.text);
	greta_jsonw_i64(&w, "n_marked_a", (int64_t)s->a.marked.total);
	greta_jsonw_i64(&w, "n_marked_b", (int64_t)s->b.marked.total);
	greta_jsonw_bool(&w, "marked_included", with_marked);
	table_write_json(cells, &w, "cells");
	table_write_json(differs, &w, "differs");
	greta_jsonw_bool(&w, "same_code", s->differs.same_code);
	greta_jsonw_end_object(&w);
	puts(greta_buf_str(&out));
	table_destroy(cells);
	table_destroy(differs);
}

static void say_side(const struct output *o, char name, const struct selection *s, const struct history *h, bool with_marked)
{
	cleanup_buf struct greta_buf marked = {0};
	validity_tally_text(&h->marked, with_marked, &marked);
	output_say(o, "%c %s: %zu runs%s%s", name, s->text, h->n, marked.len ? "; " : "\n", greta_buf_str(&marked));
}

static void print_text(const struct output *o, const struct sides *s, bool with_marked)
{
	struct table *cells = compare_table(&s->result), *differs = envdiff_table(&s->differs);
	cleanup_buf struct greta_buf words = {0};
	compare_words(&s->result, &words);
	say_side(o, 'A', &s->select_a, &s->a, with_marked);
	say_side(o, 'B', &s->select_b, &s->b, with_marked);
	output_table(o, cells);
	if (o->form != OUTPUT_CSV) {
		if (table_rows(differs)) {
			puts("");
			output_table(o, differs);
		}
		output_say(o, "\n%s", greta_buf_str(&words));
		if (s->differs.same_code)
			output_say(o, "both sides ran the same code by the same command: a difference comes from the environment\n");
		else if (table_rows(differs) == 0)
			output_say(o, "nothing that is recorded of environment, build, model or node differs\n");
	}
	table_destroy(cells);
	table_destroy(differs);
}

static int compare_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct compare_values *v = values;
	struct output o = output_of(ctx, &v->output);
	struct sides s = {0};
	int rc = load(ctx, v, &s, e);
	if (rc == 0 && o.form == OUTPUT_JSON)
		print_json(&s, v->with_marked);
	else if (rc == 0)
		print_text(&o, &s, v->with_marked);
	sides_release(&s);
	return rc ? -1 : CMD_OK;
}

static const struct greta_opt compare_opts[] = {
	{"threshold", 0, GRETA_OPT_F64, offsetof(struct compare_values, threshold_percent), "PERCENT",
	 "smaller differences do not matter (default: 1)"},
	VALIDITY_OPTION(struct compare_values, with_marked),
	OUTPUT_OPTIONS(struct compare_values, output),
	{0},
};

const struct cmd cmd_compare = {
	.name = "compare",
	.group = "Ask",
	.summary = "is B faster or slower than A, and what else differs",
	.operands = "A B",
	.min_operands = 2,
	.max_operands = 2,
	.details = "A and B select counted runs: CAMPAIGN, CAMPAIGN:VARIANT, or terms with commas between them: campaign= variant=\n"
		   "context= node= build= mode= date= since= until= (dates as 2026-02-12). Two selections of one variant each are\n"
		   "paired by context, others by variant and context.\n\n"
		   "B/A is the ratio of medians with a 95 % interval (Hodges-Lehmann from four runs a side on, else Student's t\n"
		   "with the comparison's pooled noise). q is the false discovery rate at which the cell would be reported; 1 %\n"
		   "is the line. limit % is what a difference must exceed: the threshold, or twice the spread of the cell's\n"
		   "history. One run on a side is never more than suspected. `explains %` is association over the history, not\n"
		   "cause.\n\n"
		   "  greta-orch compare b3_89:baseline b3_89:v4\n"
		   "  greta-orch compare variant=v4,date=2026-02-12 variant=v4,date=2026-02-14\n",
	.opts = compare_opts,
	.values_size = sizeof(struct compare_values),
	.needs = CMD_NEEDS_READER,
	.exec = compare_exec,
};
