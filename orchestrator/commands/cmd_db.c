/* db backup, snapshot, check, prune: looking after the database itself. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/campaigns.h"
#include "db/db.h"
#include "db/records.h"
#include "orchestrator/cmd.h"
#include "orchestrator/control/action.h"
#include "orchestrator/control/client.h"
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

/* ---- copies: they read alone, so they need no controller, and work goes on meanwhile */

static int say_file(const struct cmd_ctx *ctx, const char *path)
{
	cleanup_buf struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);
	struct stat st = {0};
	char size[32];

	stat(path, &st);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "file", path);
	greta_jsonw_i64(&w, "bytes", (int64_t)st.st_size);
	greta_jsonw_end_object(&w);
	if (ctx->json)
		puts(greta_buf_str(&out));
	else
		printf("%s: %s\n", path, greta_str_bytes(size, sizeof size, (double)st.st_size));
	return CMD_OK;
}

static int backup_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	(void)values;
	return greta_db_backup(ctx->db, ctx->operands.items[0], e) ? -1 : say_file(ctx, ctx->operands.items[0]);
}

const struct cmd cmd_db_backup = {
	.name = "db backup",
	.group = "Data",
	.summary = "copy the whole database to a file, while work goes on",
	.operands = "FILE",
	.min_operands = 1,
	.max_operands = 1,
	.details = "The copy is consistent, and appears under its name whole or not at all. FILE must not exist.",
	.needs = CMD_NEEDS_READER,
	.exec = backup_exec,
};

static int snapshot_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	int64_t id;

	(void)values;
	if (greta_campaigns_find(ctx->db, ctx->operands.n > 1 ? ctx->operands.items[1] : NULL, &id, e) ||
	    greta_db_snapshot(ctx->db, id, ctx->operands.items[0], e))
		return -1;
	return say_file(ctx, ctx->operands.items[0]);
}

const struct cmd cmd_db_snapshot = {
	.name = "db snapshot",
	.group = "Data",
	.summary = "write one campaign with all that belongs to it as a database of its own",
	.operands = "FILE [CAMPAIGN]",
	.min_operands = 1,
	.max_operands = 2,
	.details = "For sending away: results, logs, telemetry and evidence are in it, how nodes are reached is not. The last\n"
		   "campaign by default. FILE must not exist; every command reads it with --db FILE.",
	.needs = CMD_NEEDS_READER,
	.exec = snapshot_exec,
};

/* ---- check */

static int check_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	(void)values;
	if (greta_db_check(ctx->db, e))
		return -1;
	puts(ctx->json ? "{\"sound\":true}" : "sound: every page, index and reference was checked");
	return CMD_OK;
}

const struct cmd cmd_db_check = {
	.name = "db check",
	.group = "Data",
	.summary = "check the database for damage",
	.operands = "",
	.details = "Reads all of it. Exit code 3: damaged, with the place and the way out.",
	.needs = CMD_NEEDS_READER,
	.exec = check_exec,
};

/* ---- prune: by the controller, a slice at a time, so that it goes on with its other work */

#define SLICE 100 /* attempts */

static int prune_run(struct greta_db *db, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct greta_pruned pruned;
	int64_t before_ns = 0;

	if (greta_json_i64(greta_json_get(args, "before_ns"), &before_ns) || before_ns <= 0)
		return greta_err_set(e, GRETA_EINVAL, "prune: of what age?");
	if (greta_db_prune(db, before_ns, SLICE, &pruned, e))
		return -1;
	greta_jsonw_i64(reply, "attempts", pruned.n_attempts);
	greta_jsonw_i64(reply, "log_bytes", pruned.log_bytes);
	greta_jsonw_i64(reply, "telemetry_rows", pruned.telemetry_rows);
	return 0;
}

const struct action action_prune = {"prune", prune_run};

struct prune_values {
	struct cmd_common common;
	int64_t days;
};

static int prune_slice(const char *db_path, int64_t before_ns, struct greta_pruned *all, struct greta_err *e)
{
	cleanup_free char *args = greta_format("{\"before_ns\":%lld}", (long long)before_ns);
	struct greta_json *answer = client_action(db_path, action_prune.name, args, e);
	const struct greta_json_val *ok = answer ? greta_json_get(greta_json_root(answer), "ok") : NULL;
	int64_t attempts = 0, log_bytes = 0, rows = 0;

	greta_json_i64(greta_json_get(ok, "attempts"), &attempts);
	greta_json_i64(greta_json_get(ok, "log_bytes"), &log_bytes);
	greta_json_i64(greta_json_get(ok, "telemetry_rows"), &rows);
	greta_json_destroy(answer);
	all->n_attempts += attempts;
	all->log_bytes += log_bytes;
	all->telemetry_rows += rows;
	return !answer ? -1 : attempts == SLICE;
}

static int prune_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct prune_values *v = values;
	struct greta_pruned all = {0};
	char size[32];
	int rc;

	if (v->days < 1 || v->days > 36500)
		return greta_err_set(e, GRETA_EINVAL, "--days: say how old logs and telemetry must be to go, in days from 1");
	while ((rc = prune_slice(ctx->db_path, greta_clock_wall_ns() - v->days * 86400 * GRETA_NS_PER_S, &all, e)) == 1)
		;
	if (rc < 0)
		return -1;
	if (ctx->json)
		printf("{\"attempts\":%lld,\"log_bytes\":%lld,\"telemetry_rows\":%lld}\n", (long long)all.n_attempts,
		       (long long)all.log_bytes, (long long)all.telemetry_rows);
	else
		printf("logs (%s) and telemetry (%lld rows) of %lld attempts are gone; their results, summaries and evidence stay\n",
		       greta_str_bytes(size, sizeof size, (double)all.log_bytes), (long long)all.telemetry_rows,
		       (long long)all.n_attempts);
	return CMD_OK;
}

static const struct greta_opt prune_opts[] = {
	{"days", 0, GRETA_OPT_I64, offsetof(struct prune_values, days), "N", "of attempts that ended more than N days ago"},
	{0},
};

const struct cmd cmd_db_prune = {
	.name = "db prune",
	.group = "Data",
	.summary = "drop old logs and telemetry; results stay",
	.operands = "",
	.details = "The file keeps its size, and what was freed is used again. Example: greta-orch db prune --days 90",
	.opts = prune_opts,
	.values_size = sizeof(struct prune_values),
	.exec = prune_exec,
};
