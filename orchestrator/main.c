/* greta-orch: finds the command, parses its options, opens what it needs, runs it, and sees that the output arrived. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "base/version.h"
#include "db/db.h"
#include "orchestrator/cmd.h"
#include "orchestrator/commands/help.h"
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static int exit_of_error(const struct greta_err *err)
{
	switch (err->code) {
	case GRETA_EINVAL:
		return CMD_USAGE;
	case GRETA_ECANCELLED:
		return CMD_INTERRUPTED;
	default:
		return CMD_INFRA;
	}
}

static const char *nearest_command(const char *name)
{
	const char *best = NULL;
	int best_distance = 3;
	for (size_t i = 0; cmd_list[i]; i++) {
		int d = greta_str_distance(name, cmd_list[i]->name);
		if (d < best_distance) {
			best_distance = d;
			best = cmd_list[i]->name;
		}
	}
	return best;
}

/* "node", "node --help", "node list-all": a word that only begins commands. */
static int answer_family(int argc, char **argv, struct greta_err *e)
{
	cleanup_buf struct greta_buf page = {0};
	bool asked = argc > 2 && (greta_str_eq(argv[2], "--help") || greta_str_eq(argv[2], "-h"));
	char name[128];
	const char *near;
	if (help_family(argv[1], &page) && (argc == 2 || asked)) {
		fputs(greta_buf_str(&page), asked ? stdout : stderr);
		return asked ? CMD_OK : CMD_USAGE;
	}
	if (page.len)
		snprintf(name, sizeof name, "%s %s", argv[1], argv[2]);
	else
		greta_str_copy(name, sizeof name, argv[1]);
	near = nearest_command(name);
	return greta_err_set(e, GRETA_EINVAL, "there is no command '%s'%s%s%s (greta-orch --help lists them)", name,
			     near ? ": did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* The longest match: "node add" before "node". Returns how many words it took, 0 for none. */
static int find_command(int argc, char **argv, const struct cmd **found)
{
	if (argc > 2) {
		char two[128];
		snprintf(two, sizeof two, "%s %s", argv[1], argv[2]);
		if ((*found = cmd_find(two)))
			return 2;
	}
	*found = argc > 1 ? cmd_find(argv[1]) : NULL;
	return *found ? 1 : 0;
}

static int open_needs(struct cmd_ctx *ctx, struct greta_err *e)
{
	if (!(ctx->cmd->needs & CMD_NEEDS_READER))
		return 0;
	ctx->db = greta_db_open_reader(ctx->db_path, e);
	return ctx->db ? 0 : -1;
}

static enum cmd_color color_of(const char *s)
{
	if (greta_str_eq(s, "always"))
		return CMD_COLOR_ALWAYS;
	return greta_str_eq(s, "never") ? CMD_COLOR_NEVER : CMD_COLOR_AUTO;
}

static int run_parsed(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct cmd_common *common = values;
	ctx->json = common->json;
	ctx->color = color_of(common->color);
	ctx->db_path = greta_db_default_path(common->db);
	int rc = open_needs(ctx, e);
	if (rc == 0)
		rc = ctx->cmd->exec(ctx, values, e);
	greta_db_close(ctx->db);
	free(ctx->db_path);
	return rc;
}

static void release_lists(const struct greta_opt *all, void *values)
{
	for (; all->name; all++)
		if (all->type == GRETA_OPT_STRS)
			greta_strs_release((struct greta_strs *)((char *)values + all->offset));
}

static int run_command(const struct cmd *c, int argc, char **argv, struct greta_err *e)
{
	char program[64];
	cleanup_free struct greta_opt *all = cmd_all_opts(c);
	struct greta_opts o = cmd_opts(c, all, program, sizeof program);
	size_t size = c->values_size > sizeof(struct cmd_common) ? c->values_size : sizeof(struct cmd_common);
	cleanup_free void *values = greta_alloc(size);
	struct cmd_ctx ctx = {.cmd = c};
	int rc = greta_opt_parse(&o, argc, argv, values, &ctx.operands, false, e);
	if (rc == 1) {
		cleanup_buf struct greta_buf page = {0};
		help_command(c, &page);
		fputs(greta_buf_str(&page), stdout);
		rc = CMD_OK;
	} else if (rc == 0) {
		rc = run_parsed(&ctx, values, e);
	}
	greta_strs_release(&ctx.operands);
	release_lists(all, values);
	return rc;
}

static int run(int argc, char **argv, struct greta_err *e)
{
	if (argc < 2 || greta_str_eq(argv[1], "--help") || greta_str_eq(argv[1], "-h")) {
		cleanup_buf struct greta_buf page = {0};
		help_overview(&page);
		fputs(greta_buf_str(&page), argc < 2 ? stderr : stdout);
		return argc < 2 ? CMD_USAGE : CMD_OK;
	}
	if (greta_str_eq(argv[1], "--version")) {
		printf("greta-orch %s\n", GRETA_VERSION);
		return CMD_OK;
	}
	const struct cmd *c;
	int words = find_command(argc, argv, &c);
	return words > 0 ? run_command(c, argc - words, argv + words, e) : answer_family(argc, argv, e);
}

/* Output that did not arrive is a failure, except when the reader went away on purpose (| head). */
static int close_stdout(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	if (errno != EPIPE)
		greta_error("standard output: %s", strerror(errno));
	return code == CMD_OK && errno != EPIPE ? CMD_INFRA : code;
}

int main(int argc, char **argv)
{
	greta_trace_start("greta-orch", argv);
	greta_log_init("greta-orch", GRETA_LOG_WARN);
	signal(SIGPIPE, SIG_IGN);
	struct greta_err err = {0};
	int code = run(argc, argv, &err);
	if (code < 0) {
		greta_error("%s", err.text);
		code = exit_of_error(&err);
	}
	code = close_stdout(code);
	greta_trace_exit(code);
	return code;
}
