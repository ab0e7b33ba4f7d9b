/* submit: a campaign into the database, durably, and its jobs onto nodes. */
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/log.h"
#include "base/mem.h"
#include "orchestrator/commands/cmd_plan.h"
#include "orchestrator/commands/watch.h"
#include "orchestrator/control/client.h"
#include "schemas/campaign.h"
#include "schemas/problems.h"
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct submit_values {
	struct cmd_common common;
	bool detach, dry_run;
};

static int dry_run(struct cmd_ctx *ctx, const struct submit_values *v, struct greta_err *e)
{
	const struct plan_values values = {.common = v->common, .scripts = true};

	return cmd_plan.exec(ctx, &values, e);
}

/* What the file says, checked, with every mistake told. */
static int load(const char *path, struct greta_buf *text, struct greta_err *e)
{
	struct greta_campaign c = {0};
	struct greta_problems problems = {0};
	cleanup_buf struct greta_buf said = {0};
	int rc = greta_campaign_load(path, &c, &problems, text);
	size_t n = greta_problems_errors(&problems);

	greta_problems_print(&problems, path, &said);
	fputs(greta_buf_str(&said), stderr);
	if (rc < 0)
		greta_err_set(e, GRETA_EINVAL, "%s: nothing was submitted (%zu mistake%s)", path, n, n == 1 ? "" : "s");
	greta_problems_release(&problems);
	greta_campaign_release(&c);
	return rc;
}

static char *base_dir_of(const char *path)
{
	cleanup_free char *real = realpath(path, NULL);
	char *slash = real ? strrchr(real, '/') : NULL;

	if (slash)
		return greta_strndup(real, slash == real ? 1 : (size_t)(slash - real));
	return getcwd(NULL, 0);
}

static void print_request(const char *path, const struct greta_buf *text, bool detach, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);
	const struct passwd *pw = getpwuid(getuid());
	const char *slash = strrchr(path, '/');
	cleanup_free char *base_dir = base_dir_of(path);

	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "name", slash ? slash + 1 : path);
	greta_jsonw_strn(&w, "text", text->data, text->len);
	greta_jsonw_str(&w, "base_dir", base_dir);
	greta_jsonw_str(&w, "who", pw ? pw->pw_name : NULL);
	greta_jsonw_bool(&w, "detach", detach);
	greta_jsonw_end_object(&w);
}

static int64_t print_answer(const struct cmd_ctx *ctx, const struct greta_json *answer, const struct client *client,
			    bool detach)
{
	const struct greta_json_val *ok = greta_json_get(greta_json_root(answer), "ok");
	cleanup_buf struct greta_buf json = {0};
	int64_t id = 0, jobs = 0;
	const char *name = "";

	greta_json_i64(greta_json_get(ok, "campaign"), &id);
	greta_json_i64(greta_json_get(ok, "jobs"), &jobs);
	greta_json_str(greta_json_get(ok, "name"), &name);
	if (ctx->json && detach) {
		greta_json_print(ok, &json);
		puts(greta_buf_str(&json));
	} else if (!ctx->json) {
		printf("campaign %lld (%s): %lld jobs, stored in %s\n", (long long)id, name, (long long)jobs,
		       ctx->db_path);
	}
	if (detach && !ctx->json)
		printf("controller: pid %d; `greta-orch watch %lld` shows how it goes\n", (int)client_pid(client),
		       (long long)id);
	fflush(stdout);
	return id;
}

static int submit_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct submit_values *v = values;
	const char *path = ctx->operands.items[0];
	cleanup_buf struct greta_buf text = {0}, request = {0};
	struct greta_json *answer;
	struct client *client;
	int64_t id;
	int rc = CMD_OK;

	if (v->dry_run)
		return dry_run(ctx, v, e);
	if (load(path, &text, e) < 0)
		return -1;
	print_request(path, &text, v->detach, &request);
	client = client_open(ctx->db_path, true, e);
	if (!client)
		return -1;
	answer = client_call(client, "submit", greta_buf_str(&request), e);
	if (!answer) {
		client_close(client);
		return -1;
	}
	id = print_answer(ctx, answer, client, v->detach);
	greta_json_destroy(answer);
	if (!v->detach)
		rc = watch_campaign(ctx, client, id, true, e);
	client_close(client);
	return rc;
}

static const struct greta_opt submit_opts[] = {
	{"detach", 'd', GRETA_OPT_FLAG, offsetof(struct submit_values, detach), NULL,
	 "return at once; the controller goes on in the background"},
	{"dry-run", 'n', GRETA_OPT_FLAG, offsetof(struct submit_values, dry_run), NULL,
	 "only check and print what would run: the same as `plan --script`"},
	{0},
};

const struct cmd cmd_submit = {
	.name = "submit",
	.group = "Run",
	.summary = "run a campaign on the configured nodes",
	.operands = "FILE",
	.min_operands = 1,
	.max_operands = 1,
	.details = "The campaign is in the database before anything runs, and whatever dies afterwards, `greta-orch resume`\n"
		   "goes on from there. Where no node is configured, this machine is used. Ctrl-C asks once; a second one\n"
		   "leaves, with running attempts going on on their nodes.\n\n"
		   "exit codes: 0 every job has a counted result; 1 some have none; 2 the file is wrong; 3 no node could\n"
		   "run it; 130 interrupted",
	.opts = submit_opts,
	.values_size = sizeof(struct submit_values),
	.exec = submit_exec,
};
