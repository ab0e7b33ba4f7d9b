/* rca: plans and runs a search for the cause of a hang, and says what one has found. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "db/attempts.h"
#include "db/campaigns.h"
#include "orchestrator/cmd.h"
#include "orchestrator/commands/watch.h"
#include "orchestrator/control/client.h"
#include "orchestrator/print/output.h"
#include "orchestrator/rca/rca_plan.h"
#include "orchestrator/rca/rca_verdict.h"

#include <math.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rca_values {
	struct cmd_common common;
	const char *attempt, *contexts;
	int64_t job, budget;
	double budget_hours, rate;
	struct greta_strs settings;
	bool detach, dry_run;
};

/* ---- what is to be explained */

/* An attempt to explain, or else the search whose verdict is asked for. */
struct target {
	int64_t attempt_id, search_id;
};

static int target_attempt(struct greta_db *db, const char *which, struct target *out, struct greta_err *e)
{
	struct greta_attempt_row row = {0};

	if (greta_attempts_find(db, which, &row, e) < 0)
		return -1;
	out->attempt_id = row.id;
	greta_attempt_row_release(&row);
	return 0;
}

static int target_campaign(struct greta_db *db, int64_t id, struct target *out, struct greta_err *e)
{
	struct greta_campaign_row row = {0};
	bool search;

	if (greta_campaigns_get(db, id, &row, e) < 0)
		return -1;
	search = row.kind == GRETA_CAMPAIGN_RCA;
	greta_campaign_row_release(&row);
	if (!search)
		return rca_plan_attempt_of_campaign(db, id, &out->attempt_id, e);
	out->search_id = id;
	return 0;
}

/* A campaign, as everywhere; what is no campaign may be the uuid of an attempt. */
static int find_target(struct cmd_ctx *ctx, const struct rca_values *v, struct target *out, struct greta_err *e)
{
	const char *which = ctx->operands.n ? ctx->operands.items[0] : NULL;
	struct greta_err no_campaign = {0};
	int64_t id;

	if ((which != NULL) + (v->attempt != NULL) + (v->job != 0) != 1)
		return greta_err_set(e, GRETA_EINVAL, "name one thing to explain: a CAMPAIGN or an attempt's uuid, --attempt ID, or "
				     "--job ID");
	if (v->attempt)
		return target_attempt(ctx->db, v->attempt, out, e);
	if (v->job)
		return rca_plan_attempt_of_job(ctx->db, v->job, &out->attempt_id, e);
	if (greta_campaigns_find(ctx->db, which, &id, &no_campaign) == 0)
		return target_campaign(ctx->db, id, out, e);
	if (no_campaign.code == GRETA_ENOENT && strlen(which) >= 8 && target_attempt(ctx->db, which, out, NULL) == 0)
		return 0;
	if (e)
		*e = no_campaign;
	return -1;
}

static int read_contexts(const char *text, struct rca_request *out, struct greta_err *e)
{
	for (const char *s = text; s && *s;) {
		size_t n = strcspn(s, ",");
		cleanup_free char *one = greta_strndup(s, n);
		int64_t context;

		if (greta_str_i64(one, &context) || context < 1 || out->n_contexts == RCA_CONTEXTS_MAX)
			return greta_err_set(e, GRETA_EINVAL, "--contexts %s: expected up to %d numbers with commas between, as in "
					     "1024,2048,4096", text, RCA_CONTEXTS_MAX);
		out->contexts[out->n_contexts++] = context;
		s += n + (s[n] == ',');
	}
	return 0;
}

static int read_request(const struct rca_values *v, int64_t attempt_id, struct rca_request *out, struct greta_err *e)
{
	*out = (struct rca_request){
		.attempt_id = attempt_id,
		.rate = v->rate / 100,
		.budget_runs = v->budget,
		.budget_s = v->budget_hours * 3600,
		.settings = v->settings, /* borrowed */
	};
	if (v->rate < 0 || v->rate >= 100 || (v->rate > 0 && v->rate < 0.1))
		return greta_err_set(e, GRETA_EINVAL, "--rate %g: expected a percentage from 0.1 to 99", v->rate);
	if (v->budget < 0 || v->budget_hours < 0)
		return greta_err_set(e, GRETA_EINVAL, "a budget can't be negative");
	return read_contexts(v->contexts, out, e);
}

/* ---- dry run */

static const struct table_column stage_columns[] = {
	{"stage", "stage", TABLE_TEXT, 0},      {"does", "what it does", TABLE_TEXT, 0},
	{"at_most", "runs at most", TABLE_INT, 0}, {"time_s", "node time at most", TABLE_SECONDS, 0},
};

static void add_stage(struct table *t, const struct rca_plan *p, enum rca_stage stage, const char *name, const char *does)
{
	int64_t n = rca_runs_at_most(&p->design, stage);

	table_row(t);
	table_str(t, name);
	table_str(t, does);
	table_int(t, n);
	table_num(t, (double)n * p->budget_run_s);
}

static struct table *stages(const struct rca_plan *p)
{
	struct table *t = table_create(stage_columns, GRETA_COUNT(stage_columns));
	cleanup_free char *again = greta_format("%s at context %lld as it hung, until it hangs again", p->design.variant,
						(long long)p->design.context);
	cleanup_free char *factors = greta_format("the same with each of %zu factors on or off by chance", p->design.n_factors);
	cleanup_free char *contexts = greta_format("bisection of %zu smaller contexts", p->design.n_contexts);

	add_stage(t, p, RCA_AGAIN, "again", again);
	add_stage(t, p, RCA_FACTORS, "factors", factors);
	add_stage(t, p, RCA_CONTEXTS, "contexts", contexts);
	return t;
}

static void print_notes(const struct rca_plan *p)
{
	char each[32], all[32];

	printf("\nfactors:");
	for (size_t f = 0; f < p->design.n_factors; f++)
		printf("%s %s", f ? "," : "", p->design.factors[f].name);
	printf("%s\ncontexts:", p->design.n_factors ? "" : " none");
	for (size_t i = 0; i < p->design.n_contexts; i++)
		printf(" %lld", (long long)p->design.contexts[i]);
	printf("%s\n%s", p->design.n_contexts ? "" : " none", greta_buf_str(&p->notes));
	printf("worst case: %lld runs, %s if each took its whole wall budget\n", (long long)p->design.budget_runs,
	       greta_str_seconds(all, sizeof all, (double)p->design.budget_runs * p->budget_run_s));
	if (!isnan(p->run_s))
		printf("expected for one that does not hang: %s, so %s for all of them\n",
		       greta_str_seconds(each, sizeof each, p->run_s),
		       greta_str_seconds(all, sizeof all, (double)p->design.budget_runs * p->run_s));
	printf("a hang that comes in %g %% of runs or more is missed with a probability of at most %g %%\n",
	       100 * p->design.rate, 100 * RCA_BETA);
}

static void print_plan_json(const struct rca_plan *p)
{
	cleanup_buf struct greta_buf out = {0}, design = {0};
	struct greta_jsonw w = greta_jsonw(&out);
	struct table *t = stages(p);

	rca_design_print(&p->design, &design);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_i64(&w, "explains", p->attempt_id);
	greta_jsonw_str(&w, "name", p->name);
	greta_jsonw_i64(&w, "budget_runs", p->design.budget_runs);
	greta_jsonw_f64(&w, "worst_s", (double)p->design.budget_runs * p->budget_run_s);
	greta_jsonw_f64(&w, "expected_s", (double)p->design.budget_runs * p->run_s);
	table_write_json(t, &w, "stages");
	greta_jsonw_raw(&w, "design", greta_buf_str(&design));
	greta_jsonw_raw(&w, "campaign", greta_buf_str(&p->text));
	greta_jsonw_end_object(&w);
	puts(greta_buf_str(&out));
	table_destroy(t);
}

static int dry_run(struct cmd_ctx *ctx, const struct rca_request *r, struct greta_err *e)
{
	struct output output = output_of(ctx, NULL);
	struct rca_plan plan;

	if (rca_plan_make(ctx->db, r, &plan, e) < 0)
		return -1;
	if (ctx->json) {
		print_plan_json(&plan);
	} else {
		struct table *t = stages(&plan);

		printf("a search for what made attempt %lld of campaign %lld hang; nothing was started\n\n",
		       (long long)plan.attempt_id, (long long)plan.campaign_id);
		output_table(&output, t);
		print_notes(&plan);
		table_destroy(t);
	}
	rca_plan_release(&plan);
	return CMD_OK;
}

/* ---- run */

static void print_request(const struct rca_request *r, bool detach, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);
	const struct passwd *pw = getpwuid(getuid());

	greta_jsonw_object(&w, NULL);
	greta_jsonw_i64(&w, "attempt", r->attempt_id);
	greta_jsonw_f64(&w, "rate", r->rate);
	greta_jsonw_i64(&w, "budget_runs", r->budget_runs);
	greta_jsonw_f64(&w, "budget_s", r->budget_s);
	greta_jsonw_strs(&w, "settings", &r->settings);
	greta_jsonw_array(&w, "contexts");
	for (size_t i = 0; i < r->n_contexts; i++)
		greta_jsonw_i64(&w, NULL, r->contexts[i]);
	greta_jsonw_end_array(&w);
	greta_jsonw_str(&w, "who", pw ? pw->pw_name : NULL);
	greta_jsonw_bool(&w, "detach", detach);
	greta_jsonw_end_object(&w);
}

static int64_t print_answer(const struct cmd_ctx *ctx, const struct greta_json *answer, const struct rca_request *r,
			    bool detach)
{
	const struct greta_json_val *ok = greta_json_get(greta_json_root(answer), "ok");
	cleanup_buf struct greta_buf json = {0};
	int64_t id = 0;
	const char *name = "";

	greta_json_i64(greta_json_get(ok, "campaign"), &id);
	greta_json_str(greta_json_get(ok, "name"), &name);
	if (ctx->json && detach) {
		greta_json_print(ok, &json);
		puts(greta_buf_str(&json));
	} else if (!ctx->json) {
		printf("campaign %lld (%s) looks for what made attempt %lld hang\n", (long long)id, name,
		       (long long)r->attempt_id);
		if (detach)
			printf("`greta-orch watch %lld` shows how it goes, `greta-orch rca %lld` what it has found\n", (long long)id,
			       (long long)id);
	}
	fflush(stdout);
	return id;
}

static int search(struct cmd_ctx *ctx, const struct rca_request *r, bool detach, struct greta_err *e)
{
	cleanup_buf struct greta_buf request = {0};
	struct greta_json *answer;
	struct client *client;
	int64_t id;
	int rc = CMD_OK;

	print_request(r, detach, &request);
	client = client_open(ctx->db_path, true, e);
	if (!client)
		return -1;
	answer = client_call(client, "rca", greta_buf_str(&request), e);
	if (!answer) {
		client_close(client);
		return -1;
	}
	id = print_answer(ctx, answer, r, detach);
	greta_json_destroy(answer);
	if (!detach)
		rc = watch_campaign(ctx, client, id, true, e);
	client_close(client);
	return rc;
}

static int rca_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct rca_values *v = values;
	struct target target = {0};
	struct rca_request request;

	if (find_target(ctx, v, &target, e) < 0)
		return -1;
	if (target.search_id)
		return watch_verdict(ctx, target.search_id, e);
	if (read_request(v, target.attempt_id, &request, e) < 0)
		return -1;
	return v->dry_run ? dry_run(ctx, &request, e) : search(ctx, &request, v->detach, e);
}

static const struct greta_opt rca_opts[] = {
	{"attempt", 0, GRETA_OPT_STR, offsetof(struct rca_values, attempt), "ID", "explain this attempt (an id, or its uuid)"},
	{"job", 0, GRETA_OPT_I64, offsetof(struct rca_values, job), "ID", "explain the newest hung attempt of this job"},
	{"budget", 'b', GRETA_OPT_I64, offsetof(struct rca_values, budget), "RUNS",
	 "start at most so many runs (by default as many as finding a hang of --rate takes)"},
	{"budget-hours", 0, GRETA_OPT_F64, offsetof(struct rca_values, budget_hours), "HOURS",
	 "start none after so many hours of node time, all runs added up"},
	{"rate", 0, GRETA_OPT_F64, offsetof(struct rca_values, rate), "PERCENT",
	 "smallest hang rate that is worth finding (default 10)"},
	{"set", 0, GRETA_OPT_STRS, offsetof(struct rca_values, settings), "NAME=VALUE",
	 "a setting to try in place of the usual ones; NAME=VALUE,NAME=VALUE for one of several variables (repeatable)"},
	{"contexts", 0, GRETA_OPT_STR, offsetof(struct rca_values, contexts), "N,N...",
	 "smaller contexts to try (by default the campaign's, and halves where these are few)"},
	{"detach", 'd', GRETA_OPT_FLAG, offsetof(struct rca_values, detach), NULL,
	 "return at once; the controller goes on in the background"},
	{"dry-run", 'n', GRETA_OPT_FLAG, offsetof(struct rca_values, dry_run), NULL,
	 "only print the plan and its worst-case cost"},
	{0},
};

const struct cmd cmd_rca = {
	.name = "rca",
	.group = "Run",
	.summary = "search for the cause of a hang by runs under other settings, on other GPUs and nodes, at smaller contexts",
	.operands = "[CAMPAIGN|ATTEMPT]",
	.max_operands = 1,
	.details = "Explains an attempt that hung: of a campaign, the newest of the cell that hung most. All runs that may be needed\n"
		   "are planned as one campaign; those that turn out not to be needed are skipped. Given such a campaign, it prints\n"
		   "what was found. docs/hangs.md explains the method and the figures.\n\n"
		   "  greta-orch rca sweep --dry-run\n"
		   "  greta-orch rca --attempt 17 --budget 200 --set HSA_ENABLE_SDMA=0 --set AMD_SERIALIZE_KERNEL=3\n\n"
		   "exit codes: 0 something was found that the hang depends on; 1 nothing was found; 3 no node could run it;\n"
		   "6 undecided within the budget; 130 interrupted",
	.needs = CMD_NEEDS_READER,
	.opts = rca_opts,
	.values_size = sizeof(struct rca_values),
	.exec = rca_exec,
};
