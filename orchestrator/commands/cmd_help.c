/* help: the overview of all commands, or one command's page. */
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/version.h"
#include "orchestrator/cmd.h"
#include "orchestrator/commands/help.h"
#include <stdio.h>

void help_overview(struct greta_buf *out)
{
	greta_buf_addf(out,
		       "greta-orch %s - benchmark campaigns of GPU inference kernels, on many nodes\n\n"
		       "Usage: greta-orch COMMAND [OPTIONS]\n",
		       GRETA_VERSION);
	const char *group = NULL;
	for (size_t i = 0; cmd_list[i]; i++) {
		if (!greta_str_eq(group, cmd_list[i]->group)) {
			group = cmd_list[i]->group;
			greta_buf_addf(out, "\n%s\n", group);
		}
		greta_buf_addf(out, "  %-16s %s\n", cmd_list[i]->name, cmd_list[i]->summary);
	}
	greta_buf_adds(out, "\nOne command's options and examples: greta-orch COMMAND --help\n");
}

bool help_family(const char *word, struct greta_buf *out)
{
	cleanup_free char *start = greta_format("%s ", word);
	bool any = false;
	for (size_t i = 0; cmd_list[i]; i++) {
		if (!greta_str_starts(cmd_list[i]->name, start))
			continue;
		if (!any)
			greta_buf_addf(out, "Usage: greta-orch %s COMMAND [OPTIONS]\n\n", word);
		greta_buf_addf(out, "  %-16s %s\n", cmd_list[i]->name, cmd_list[i]->summary);
		any = true;
	}
	if (any)
		greta_buf_addf(out, "\nOne command's options and examples: greta-orch %s COMMAND --help\n", word);
	return any;
}

void help_command(const struct cmd *c, struct greta_buf *out)
{
	char program[64];
	cleanup_free struct greta_opt *all = cmd_all_opts(c);
	struct greta_opts o = cmd_opts(c, all, program, sizeof program);
	greta_opt_help(&o, out);
}

void help_markdown(struct greta_buf *out)
{
	greta_buf_adds(out, "# Commands\n\nWritten by `greta-orch help --markdown`; a test holds this page against the programs.\n\n"
			    "```\n");
	help_overview(out);
	greta_buf_adds(out, "```\n");
	for (size_t i = 0; cmd_list[i]; i++) {
		greta_buf_addf(out, "\n## greta-orch %s\n\n```\n", cmd_list[i]->name);
		help_command(cmd_list[i], out);
		greta_buf_adds(out, "```\n");
	}
}

struct help_values {
	struct cmd_common common;
	bool markdown;
};

static int help_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct help_values *v = values;
	cleanup_buf struct greta_buf out = {0};
	if (v->markdown) {
		help_markdown(&out);
	} else if (ctx->operands.n == 0) {
		help_overview(&out);
	} else {
		const struct greta_strs *words = &ctx->operands;
		cleanup_free char *name = greta_format(words->n > 1 ? "%s %s" : "%s", words->items[0], words->items[words->n - 1]);
		const struct cmd *c = cmd_find(name);
		if (c)
			help_command(c, &out);
		else if (!help_family(name, &out))
			return greta_err_set(e, GRETA_EINVAL, "there is no command '%s' (greta-orch help lists them)", name);
	}
	fputs(greta_buf_str(&out), stdout);
	return CMD_OK;
}

static const struct greta_opt help_opts[] = {
	{"markdown", 0, GRETA_OPT_FLAG, offsetof(struct help_values, markdown), NULL,
	 "every page as one Markdown document (docs/commands.md)"},
	{0},
};

const struct cmd cmd_help = {
	.name = "help",
	.group = "Help",
	.summary = "this overview, or one command's page",
	.operands = "[COMMAND]",
	.max_operands = 2,
	.opts = help_opts,
	.values_size = sizeof(struct help_values),
	.exec = help_exec,
};
