/* plan: everything that can be known of a campaign before it runs: mistakes, matrix, order, duration, builds. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/db.h"
#include "orchestrator/commands/cmd_plan.h"
#include "orchestrator/commands/verify.h"
#include "orchestrator/commands/verify_there.h"
#include "orchestrator/control/slurm.h"
#include "orchestrator/plan/estimate.h"
#include "orchestrator/plan/plan_order.h"
#include "orchestrator/print/output.h"
#include "orchestrator/print/table.h"
#include "schemas/campaign.h"
#include "schemas/problems.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct planning {
	const struct plan_values *values;
	struct output output;
	struct term progress;       /* standard error */
	const char *file, *db_path;
	struct greta_campaign campaign;
	struct greta_buf text;      /* of the file */
	struct greta_problems problems;
	struct plan plan;
	struct greta_db *db;        /* history and nodes; NULL: none yet */
	struct verify_result *builds; /* one a variant; NULL: not asked */
	double total_s, budget_s;   /* of all jobs one after the other; total NAN: some cell has no history */
	size_t n_without_history;
};

/* ---- the matrix */

static const struct table_column matrix_columns[] = {
	{"variant", "variant", TABLE_TEXT, 0},
	{"context", "context", TABLE_INT, 0},
	{"repeats", "repeats", TABLE_INT, 0},
	{"samples", "samples each", TABLE_INT, 0},
	{"budget_s", "budget", TABLE_SECONDS, 0},
	{"estimate_s", "estimate", TABLE_SECONDS, 0},
	{"estimate_n", "from n runs", TABLE_INT, 0},
};

static int add_cell(struct planning *p, struct table *t, const struct greta_variant *v, int64_t context,
		    struct greta_err *e)
{
	struct estimate est;
	int64_t repeats = greta_campaign_repeats(&p->campaign, context);
	if (estimate_job(p->db, &p->campaign, v->name, context, &est, e))
		return -1;
	p->total_s += est.wall_s * (double)repeats;
	p->budget_s += est.budget_s * (double)repeats;
	p->n_without_history += isnan(est.wall_s);
	table_row(t);
	table_str(t, v->name);
	table_int(t, context);
	table_int(t, repeats);
	table_int(t, p->campaign.samples_per_attempt);
	table_num(t, est.budget_s);
	table_num(t, est.wall_s);
	table_int(t, est.n);
	return 0;
}

static struct table *matrix(struct planning *p, struct greta_err *e)
{
	struct table *t = table_create(matrix_columns, GRETA_COUNT(matrix_columns));
	for (size_t v = 0; v < p->campaign.n_variants; v++)
		for (size_t i = 0; i < p->campaign.n_contexts; i++)
			if (add_cell(p, t, &p->campaign.variants[v], p->campaign.contexts[i], e)) {
				table_destroy(t);
				return NULL;
			}
	return t;
}

/* ---- the order */

static const struct table_column order_columns[] = {
	{"position", "position", TABLE_INT, 0}, {"block", "block", TABLE_INT, 0},
	{"variant", "variant", TABLE_TEXT, 0},  {"context", "context", TABLE_INT, 0},
	{"repeat", "repeat", TABLE_INT, 0},
};

static struct table *order(const struct planning *p)
{
	struct table *t = table_create(order_columns, GRETA_COUNT(order_columns));
	for (size_t i = 0; i < p->plan.n; i++) {
		const struct plan_job *j = &p->plan.jobs[i];
		table_row(t);
		table_int(t, (int64_t)i + 1);
		table_int(t, j->block + 1);
		table_str(t, p->campaign.variants[j->variant].name);
		table_int(t, j->context);
		table_int(t, j->repeat + 1);
	}
	return t;
}

/* "block 1: v3 4096, baseline 8192, ..." */
static void say_order(const struct planning *p)
{
	printf("\norder: %s", greta_order_name(p->campaign.order));
	if (p->campaign.order == GRETA_ORDER_INTERLEAVED)
		printf(", seed %" PRIu64 ": each block holds one repeat of every cell, shuffled", p->campaign.seed);
	puts("");
	if (p->campaign.placement != GRETA_PLACEMENT_ANY)
		printf("placement: %s\n", greta_placement_name(p->campaign.placement));
	int64_t block = -1;
	size_t shown = 0;
	for (size_t i = 0; i < p->plan.n && shown < 2; i++) {
		const struct plan_job *j = &p->plan.jobs[i];
		if (j->block != block) {
			shown += block >= 0;
			if (shown == 2)
				break;
			printf("%s  block %" PRId64 ":", block >= 0 ? "\n" : "", j->block + 1);
			block = j->block;
		}
		printf(" %s:%" PRId64, p->campaign.variants[j->variant].name, j->context);
	}
	puts("");
	if (p->plan.n && p->plan.jobs[p->plan.n - 1].block + 1 > 2)
		printf("  ... %" PRId64 " blocks in all (--order prints every job)\n",
		       p->plan.jobs[p->plan.n - 1].block + 1);
}

static void say_duration(const struct planning *p)
{
	char total[32], budget[32];
	greta_str_seconds(budget, sizeof budget, p->budget_s);
	printf("\n%zu jobs; one after the other ", p->plan.n);
	if (isnan(p->total_s))
		printf("at most %s (all budgets together): %zu of %zu cells have no history to estimate from\n", budget,
		       p->n_without_history, p->campaign.n_variants * p->campaign.n_contexts);
	else
		printf("about %s, at most %s\n", greta_str_seconds(total, sizeof total, p->total_s), budget);
}

/* ---- builds */

static void say_builds(const struct planning *p)
{
	puts("\nbuilds");
	for (size_t v = 0; p->builds && v < p->campaign.n_variants; v++) {
		const struct verify_result *b = &p->builds[v];
		cleanup_buf struct greta_buf line = {0};
		term_add(&p->output.term, &line, b->state == VERIFY_GOOD ? TERM_GOOD : b->state == VERIFY_BAD ? TERM_BAD : TERM_WARN,
			 verify_state_name(b->state));
		printf("  %-16s %s: %s\n", p->campaign.variants[v].name, greta_buf_str(&line), b->text);
	}
}

static void write_builds(const struct planning *p, struct greta_jsonw *w)
{
	greta_jsonw_array(w, "builds");
	for (size_t v = 0; p->builds && v < p->campaign.n_variants; v++) {
		greta_jsonw_object(w, NULL);
		greta_jsonw_str(w, "variant", p->campaign.variants[v].name);
		greta_jsonw_str(w, "state", verify_state_name(p->builds[v].state));
		greta_jsonw_str(w, "sha256", p->builds[v].sha256[0] ? p->builds[v].sha256 : NULL);
		greta_jsonw_str(w, "text", p->builds[v].text);
		greta_jsonw_end_object(w);
	}
	greta_jsonw_end_array(w);
}

/* ---- the command */

static void write_problems(const struct planning *p, struct greta_jsonw *w)
{
	greta_jsonw_array(w, "problems");
	for (size_t i = 0; i < p->problems.n; i++) {
		const struct greta_problem *x = &p->problems.items[i];
		greta_jsonw_object(w, NULL);
		greta_jsonw_bool(w, "warning", x->warning);
		greta_jsonw_i64(w, "line", x->line);
		greta_jsonw_i64(w, "column", x->column);
		greta_jsonw_str(w, "path", x->path);
		greta_jsonw_str(w, "text", x->text);
		greta_jsonw_end_object(w);
	}
	greta_jsonw_end_array(w);
}

static int print_json(const struct planning *p, const struct table *cells, const struct table *jobs, struct greta_err *e)
{
	int rc = 0;
	cleanup_buf struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "name", p->campaign.name);
	write_problems(p, &w);
	if (cells) {
		greta_jsonw_str(&w, "mode", greta_mode_name(p->campaign.mode));
		greta_jsonw_i64(&w, "n_jobs", (int64_t)p->plan.n);
		greta_jsonw_f64(&w, "estimate_s", p->total_s);
		greta_jsonw_f64(&w, "budget_s", p->budget_s);
		table_write_json(cells, &w, "cells");
		table_write_json(jobs, &w, "order");
		write_builds(p, &w);
		rc = slurm_plan_json(p->db, &p->campaign, &w, e);
	}
	greta_jsonw_end_object(&w);
	puts(greta_buf_str(&out));
	return rc;
}

static int print_text(const struct planning *p, const struct table *cells, const struct table *jobs, struct greta_err *e)
{
	printf("campaign %s: %zu variants x %zu contexts, %s mode, slot %s\n\n", p->campaign.name,
	       p->campaign.n_variants, p->campaign.n_contexts, greta_mode_name(p->campaign.mode),
	       greta_slot_kind_name(p->campaign.slot));
	output_table(&p->output, cells);
	if (p->values->order) {
		puts("");
		output_table(&p->output, jobs);
	} else {
		say_order(p);
	}
	say_duration(p);
	if (p->builds)
		say_builds(p);
	return slurm_plan_print(p->db, &p->campaign, p->values->scripts, e);
}

/* Who waits is told for what: on a terminal by a line that goes away again. */
static void say_trying(const struct term *t, const struct planning *p, size_t v, double deadline_s)
{
	char limit[32];
	if (!t)
		return;
	fprintf(stderr, "%sverifying %s (%zu of %zu), at most %s%s", t->tty ? "\r\033[K" : "", p->campaign.variants[v].name, v + 1,
		p->campaign.n_variants, greta_str_seconds(limit, sizeof limit, deadline_s), t->tty ? "" : "\n");
	fflush(stderr);
}

static int verify_builds(struct planning *p)
{
	bool good = true;
	double deadline_s = p->values->verify_s > 0 ? p->values->verify_s : VERIFY_DEADLINE_S;
	const struct term *progress = p->progress.tty || p->output.form != OUTPUT_JSON ? &p->progress : NULL;
	const struct verify_trial trial = {&p->campaign, &p->text, deadline_s, progress};
	p->builds = greta_alloc(p->campaign.n_variants * sizeof *p->builds);
	for (size_t v = 0; v < p->campaign.n_variants; v++) {
		say_trying(progress, p, v, deadline_s);
		verify_build(&p->campaign, v, deadline_s, &p->builds[v]);
	}
	if (p->progress.tty)
		fputs("\r\033[K", stderr);
	if (verify_there(p->db, &trial, p->builds))
		return CMD_INTERRUPTED;
	for (size_t v = 0; v < p->campaign.n_variants; v++)
		good &= p->builds[v].state != VERIFY_BAD;
	return good ? CMD_OK : CMD_INFRA;
}

static int show(struct planning *p, struct greta_err *e)
{
	if (plan_make(&p->campaign, &p->plan, e))
		return -1;
	p->db = greta_db_open_reader(p->db_path, NULL);
	struct table *cells = matrix(p, e);
	if (!cells)
		return -1;
	int code = p->values->no_verify ? CMD_OK : verify_builds(p);
	struct table *jobs = order(p);
	int rc = p->output.form == OUTPUT_JSON ? print_json(p, cells, jobs, e) : print_text(p, cells, jobs, e);
	table_destroy(cells);
	table_destroy(jobs);
	return rc < 0 ? -1 : code;
}

static int plan_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	struct planning p = {.values = values, .output = output_of(ctx, NULL), .progress = term_of(STDERR_FILENO, ctx->color),
			     .file = ctx->operands.items[0], .db_path = ctx->db_path};
	int code = CMD_USAGE;
	bool readable = greta_campaign_load(p.file, &p.campaign, &p.problems, &p.text) == 0;
	size_t n = greta_problems_errors(&p.problems);

	if (p.output.form != OUTPUT_JSON) {
		cleanup_buf struct greta_buf text = {0};
		greta_problems_print(&p.problems, p.file, &text);
		fputs(greta_buf_str(&text), stderr);
	}
	if (readable)
		code = show(&p, e);
	else if (p.output.form == OUTPUT_JSON)
		print_json(&p, NULL, NULL, e);
	else
		fprintf(stderr, "%zu mistake%s: nothing was planned\n", n, n == 1 ? "" : "s");
	free(p.builds);
	greta_db_close(p.db);
	greta_buf_release(&p.text);
	plan_release(&p.plan);
	greta_campaign_release(&p.campaign);
	greta_problems_release(&p.problems);
	return code;
}

static const struct greta_opt plan_opts[] = {
	{"order", 0, GRETA_OPT_FLAG, offsetof(struct plan_values, order), NULL, "print every job in its order"},
	{"skip-verify", 0, GRETA_OPT_FLAG, offsetof(struct plan_values, no_verify), NULL,
	 "do not run the engines to verify their builds"},
	{"verify-timeout", 0, GRETA_OPT_SECONDS, offsetof(struct plan_values, verify_s), "TIME",
	 "how long a build may take to be verified, here or on a node (default: 30 s)"},
	{"script", 0, GRETA_OPT_FLAG, offsetof(struct plan_values, scripts), NULL,
	 "print the batch scripts that Slurm would be given, too"},
	{0},
};

const struct cmd cmd_plan = {
	.name = "plan",
	.group = "Run",
	.summary = "check a campaign and show what it would do, without running it",
	.operands = "FILE",
	.min_operands = 1,
	.max_operands = 1,
	.details = "Reports all mistakes at once, each with its place. Verifies every build by a prefill of a few\n"
		   "tokens: that it runs, keeps the contract, and its hash; here, or on a node where only nodes have it.\n"
		   "One that takes longer than --verify-timeout is named as not verified.\n"
		   "Where nodes are pools of Slurm, shows what would be submitted there.\n"
		   "Exit code 2: the file is bad. 3: a build does not run.\n",
	.opts = plan_opts,
	.values_size = sizeof(struct plan_values),
	.exec = plan_exec,
};
