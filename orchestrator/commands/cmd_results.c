/* results: every planned cell of a campaign and what came out of it. */
#include "base/buf.h"
#include "base/mem.h"
#include "db/campaigns.h"
#include "orchestrator/analysis/cells.h"
#include "orchestrator/cmd.h"
#include "orchestrator/print/output.h"
#include "orchestrator/print/table.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

struct results_values {
	struct cmd_common common;
	struct output_options output;
	const char *variant;
	int64_t context;
	const char *outcome;
	bool runs, with_marked;
};

static bool wanted_cell(const struct results_values *v, const struct cell *c)
{
	return (!v->variant || greta_str_eq(v->variant, c->variant)) && (!v->context || v->context == c->context);
}

static bool wanted_job(const struct results_values *v, const struct cell_job *j)
{
	if (!v->outcome)
		return true;
	return j->attempt_id && !j->attempt_open && greta_str_eq(v->outcome, greta_outcome_name(j->outcome));
}

static enum term_style style_of(const struct cell_job *j)
{
	if (j->counted)
		return TERM_GOOD;
	return j->attempt_id == 0 || j->attempt_open ? TERM_DIM : TERM_BAD;
}

/* ---- one row a run */

static const struct table_column run_columns[] = {
	{"job", "job", TABLE_INT, 0},
	{"variant", "variant", TABLE_TEXT, 0},
	{"context", "context", TABLE_INT, 0},
	{"repeat", "repeat", TABLE_INT, 0},
	{"tries", "tries", TABLE_INT, 0},
	{"outcome", "outcome", TABLE_TEXT, 0},
	{"prefill_s", "prefill s", TABLE_SIGNIF, 5},
	{"tokens_per_s", "tokens/s", TABLE_FIXED, 1},
	{"n_samples", "samples", TABLE_INT, 0},
	{"model_load_s", "load s", TABLE_SIGNIF, 4},
	{"wall_s", "wall s", TABLE_SIGNIF, 4},
	{"attn_impl", "attention", TABLE_TEXT, 0},
	{"node", "node", TABLE_TEXT, 0},
	{"why", "why", TABLE_TEXT, 0},
	{"excluded", "left out", TABLE_TEXT, 0}, /* and this only where some run is */
	{"excluded_reason", "because", TABLE_TEXT, 0},
};

static void add_run(struct table *t, const struct cell *c, const struct cell_job *j, bool with_marks)
{
	cleanup_buf struct greta_buf text = {0};
	cells_job_outcome(j, &text);
	const char *colon = strstr(greta_buf_str(&text), ": ");
	cleanup_buf struct greta_buf outcome = {0};
	greta_buf_add(&outcome, greta_buf_str(&text), colon ? (size_t)(colon - text.data) : text.len);
	table_row(t);
	table_int(t, j->id);
	table_str(t, c->variant);
	table_int(t, c->context);
	table_int(t, j->repeat + 1);
	table_int(t, j->n_attempts);
	table_str(t, greta_buf_str(&outcome));
	table_style(t, style_of(j));
	table_num(t, j->prefill_s);
	table_num(t, j->counted ? (double)c->context / j->prefill_s : NAN); /* of what is true only */
	table_int(t, j->n_samples);
	table_num(t, j->model_load_s);
	table_num(t, j->wall_s);
	table_str(t, j->attn_impl);
	table_str(t, j->node);
	table_str(t, colon ? colon + 2 : NULL);
	if (with_marks) {
		table_str(t, j->excluded);
		table_str(t, j->excluded_reason);
	}
}

#define MARK_COLUMNS 2

static struct table *runs_table(const struct results_values *v, const struct cells *cells, bool with_marks)
{
	struct table *t = table_create(run_columns, GRETA_COUNT(run_columns) - (with_marks ? 0 : MARK_COLUMNS));
	for (size_t i = 0; i < cells->n; i++)
		for (size_t k = 0; k < cells->items[i].n; k++)
			if (wanted_cell(v, &cells->items[i]) && wanted_job(v, &cells->items[i].jobs[k]))
				add_run(t, &cells->items[i], &cells->items[i].jobs[k], with_marks);
	return t;
}

/* ---- one row a cell */

static const struct table_column cell_columns[] = {
	{"variant", "variant", TABLE_TEXT, 0},
	{"context", "context", TABLE_INT, 0},
	{"counted", "counted", TABLE_TEXT, 0},
	{"n", "n", TABLE_INT, 0},
	{"prefill_s", "prefill s", TABLE_SIGNIF, 5},
	{"prefill_low_s", "from", TABLE_SIGNIF, 5},
	{"prefill_high_s", "to", TABLE_SIGNIF, 5},
	{"level", "covers", TABLE_FIXED, 2},
	{"tokens_per_s", "tokens/s", TABLE_FIXED, 1},
	{"attn_impl", "attention", TABLE_TEXT, 0},
	{"notes", "notes", TABLE_TEXT, 0},
};

/* "#1 #3 invalid: prefill_s is 0; #2 never ran": what does not count, repeats of one kind together. */
static void cell_notes(const struct cell *c, struct greta_buf *out)
{
	bool *told = greta_alloc(c->n * sizeof *told);
	for (size_t i = 0; i < c->n; i++) {
		if (told[i] || (c->jobs[i].counted && !c->jobs[i].excluded))
			continue;
		cleanup_buf struct greta_buf text = {0};
		cells_job_text(&c->jobs[i], &text);
		greta_buf_adds(out, out->len ? "; " : "");
		for (size_t k = i; k < c->n; k++) {
			cleanup_buf struct greta_buf other = {0};
			cells_job_text(&c->jobs[k], &other);
			if (!greta_str_eq(greta_buf_str(&text), greta_buf_str(&other)))
				continue;
			told[k] = true;
			greta_buf_addf(out, "#%" PRId64 " ", c->jobs[k].repeat + 1);
		}
		greta_buf_adds(out, greta_buf_str(&text));
	}
	free(told);
}

static const char *attn_of(const struct cell *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->jobs[i].attn_impl)
			return c->jobs[i].attn_impl;
	return NULL;
}

static void add_cell_row(struct table *t, const struct cell *c)
{
	cleanup_buf struct greta_buf notes = {0};
	char counted[48];
	size_t n_counted = 0;
	for (size_t i = 0; i < c->n; i++)
		n_counted += c->jobs[i].counted;
	snprintf(counted, sizeof counted, "%zu of %zu", n_counted, c->n);
	cell_notes(c, &notes);
	table_row(t);
	table_str(t, c->variant);
	table_int(t, c->context);
	table_str(t, counted);
	table_style(t, n_counted == c->n ? TERM_GOOD : n_counted ? TERM_WARN : TERM_BAD);
	table_int(t, (int64_t)c->prefill.n);
	table_num(t, c->prefill.median);
	table_num(t, c->prefill.low);
	table_num(t, c->prefill.high);
	table_num(t, c->prefill.level);
	table_num(t, (double)c->context / c->prefill.median);
	table_str(t, attn_of(c));
	table_str(t, notes.len ? greta_buf_str(&notes) : NULL);
}

static struct table *cells_table(const struct results_values *v, const struct cells *cells)
{
	struct table *t = table_create(cell_columns, sizeof cell_columns / sizeof *cell_columns);
	for (size_t i = 0; i < cells->n; i++)
		if (wanted_cell(v, &cells->items[i]))
			add_cell_row(t, &cells->items[i]);
	return t;
}

/* ---- */

static int results_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct results_values *v = values;
	struct output o = output_of(ctx, &v->output);
	struct cells cells;
	int64_t id;
	if (v->outcome && greta_outcome_parse(v->outcome) == GRETA_OUTCOME_UNKNOWN && !greta_str_eq(v->outcome, "unknown"))
		return greta_err_set(e, GRETA_EINVAL, "there is no outcome '%s' (greta-orch results --help lists them)",
				     v->outcome);
	if (greta_campaigns_find(ctx->db, ctx->operands.n ? ctx->operands.items[0] : NULL, &id, e) ||
	    cells_load(ctx->db, id, &cells, e))
		return -1;
	if (v->with_marked)
		cells_take_marked(&cells);
	/* Data wants every run; people want the matrix, unless they ask for runs. */
	bool data = o.form == OUTPUT_JSON || o.form == OUTPUT_CSV, runs = v->runs || v->outcome || data;
	struct table *t = runs ? runs_table(v, &cells, data || cells.marked.total) : cells_table(v, &cells);
	output_say(&o, "campaign %" PRId64 " %s (%s, %s)\n", id, cells.campaign, cells.mode, cells.state);
	if (table_rows(t) || o.form != OUTPUT_TEXT)
		output_table(&o, t);
	if (cells.n == 0)
		output_say(&o, "no run is planned in it\n");
	else if (table_rows(t) == 0)
		output_say(&o, "nothing in this campaign matches\n");
	else if (!runs)
		output_say(&o, "prefill s: median over n counted runs; from..to covers the true median with the probability given\n");
	cleanup_buf struct greta_buf marked = {0};
	validity_tally_text(&cells.marked, cells.with_marked, &marked);
	output_say(&o, "%s", greta_buf_str(&marked));
	int code = table_rows(t) && cells_all_good(&cells) ? CMD_OK : CMD_NOT_ALL_OK;
	table_destroy(t);
	cells_release(&cells);
	return code;
}

static const struct greta_opt results_opts[] = {
	{"variant", 'v', GRETA_OPT_STR, offsetof(struct results_values, variant), "NAME", "only this variant"},
	{"context", 'n', GRETA_OPT_I64, offsetof(struct results_values, context), "N", "only this context length"},
	{"outcome", 'o', GRETA_OPT_STR, offsetof(struct results_values, outcome), "OUTCOME",
	 "only runs that ended so: ok invalid failed infra oom timed_out hung lost preempted collateral cancelled"},
	{"runs", 'r', GRETA_OPT_FLAG, offsetof(struct results_values, runs), NULL,
	 "a row for each run instead of each cell (always so with --json and --csv)"},
	VALIDITY_OPTION(struct results_values, with_marked),
	OUTPUT_OPTIONS(struct results_values, output),
	{0},
};

const struct cmd cmd_results = {
	.name = "results",
	.group = "Ask",
	.summary = "every planned cell of a campaign, and what came out",
	.operands = "[CAMPAIGN]",
	.max_operands = 1,
	.details = "CAMPAIGN is an id, a name or a uuid; without it, the latest. Exit code 1 says that some planned cell has\n"
		   "no counted result.\n\n"
		   "  greta-orch results b3_89 --variant v3\n"
		   "  greta-orch results --csv > results.csv\n",
	.opts = results_opts,
	.values_size = sizeof(struct results_values),
	.needs = CMD_NEEDS_READER,
	.exec = results_exec,
};
