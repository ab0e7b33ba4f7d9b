/* man: manual pages, printed from the command table. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/version.h"
#include "orchestrator/cmd.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Text for roff: a leading dot or quote, and backslashes and dashes, mean themselves. */
static void add_roff(struct greta_buf *out, const char *text)
{
	for (const char *s = text; *s; s++) {
		if ((s == text || s[-1] == '\n') && (*s == '.' || *s == '\''))
			greta_buf_adds(out, "\\&");
		if (*s == '\\')
			greta_buf_adds(out, "\\e");
		else if (*s == '-')
			greta_buf_adds(out, "\\-");
		else
			greta_buf_addc(out, *s);
	}
}

static void add_title(struct greta_buf *out, const char *name)
{
	greta_buf_adds(out, ".TH ");
	for (const char *s = name; *s; s++)
		greta_buf_addc(out, *s == ' ' ? '-' : (char)toupper((unsigned char)*s));
	greta_buf_addf(out, " 1 \"\" \"GRETA %s\" \"GRETA\"\n", GRETA_VERSION);
}

static void add_options(struct greta_buf *out, const struct cmd *c)
{
	cleanup_free struct greta_opt *all = cmd_all_opts(c);
	greta_buf_adds(out, ".SH OPTIONS\n");
	for (size_t i = 0; all[i].name; i++) {
		greta_buf_adds(out, ".TP\n.B ");
		if (all[i].letter)
			greta_buf_addf(out, "\\-%c, ", all[i].letter);
		greta_buf_adds(out, "\\-\\-");
		add_roff(out, all[i].name);
		if (all[i].arg) {
			greta_buf_adds(out, " \\fI");
			add_roff(out, all[i].arg);
			greta_buf_adds(out, "\\fR");
		}
		greta_buf_addc(out, '\n');
		add_roff(out, all[i].help);
		greta_buf_addc(out, '\n');
	}
}

static void add_exit_codes(struct greta_buf *out)
{
	greta_buf_adds(out, ".SH EXIT STATUS\n");
	static const struct {
		enum cmd_exit code;
		const char *text;
	} codes[] = {
		{CMD_OK, "all good"},
		{CMD_NOT_ALL_OK, "some jobs are not ok"},
		{CMD_USAGE, "wrong usage, or a bad file"},
		{CMD_INFRA, "infrastructure: no node, no database, no controller"},
		{CMD_REGRESSED, "a regression was found"},
		{CMD_GATE, "a gate failed"},
		{CMD_UNDECIDED, "undecided within the budget"},
		{CMD_INTERRUPTED, "interrupted; resumable"},
	};
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		greta_buf_addf(out, ".TP\n.B %d\n%s\n", codes[i].code, codes[i].text);
}

static void command_page(const struct cmd *c, struct greta_buf *out)
{
	char title[64];
	snprintf(title, sizeof title, "greta-orch %s", c->name);
	add_title(out, title);
	greta_buf_addf(out, ".SH NAME\ngreta\\-orch %s \\- ", c->name);
	add_roff(out, c->summary);
	greta_buf_addf(out, "\n.SH SYNOPSIS\n.B greta\\-orch %s\n[OPTIONS] ", c->name);
	add_roff(out, c->operands ? c->operands : "");
	greta_buf_addc(out, '\n');
	if (c->details) {
		greta_buf_adds(out, ".SH DESCRIPTION\n.nf\n");
		add_roff(out, c->details);
		greta_buf_adds(out, greta_str_ends(c->details, "\n") ? ".fi\n" : "\n.fi\n");
	}
	add_options(out, c);
	add_exit_codes(out);
}

static void overview_page(struct greta_buf *out)
{
	add_title(out, "greta-orch");
	greta_buf_adds(out, ".SH NAME\ngreta\\-orch \\- benchmark campaigns of GPU inference kernels, on many nodes\n"
			    ".SH SYNOPSIS\n.B greta\\-orch\nCOMMAND [OPTIONS]\n.SH COMMANDS\n");
	for (size_t i = 0; cmd_list[i]; i++) {
		greta_buf_addf(out, ".TP\n.B %s\n", cmd_list[i]->name);
		add_roff(out, cmd_list[i]->summary);
		greta_buf_addc(out, '\n');
	}
	add_exit_codes(out);
}

static int write_page(const char *dir, const char *command, const struct greta_buf *page, struct greta_err *e)
{
	cleanup_buf struct greta_buf path = {0};
	greta_buf_addf(&path, "%s/greta-orch%s%s.1", dir, *command ? "-" : "", command);
	for (char *s = path.data + strlen(dir); *s; s++)
		if (*s == ' ')
			*s = '-';
	cleanup_file FILE *f = fopen(greta_buf_str(&path), "we");
	if (!f || fwrite(page->data, 1, page->len, f) != page->len || fflush(f))
		return greta_err_sys(e, "%s", greta_buf_str(&path));
	return 0;
}

static int write_all(const char *dir, struct greta_err *e)
{
	cleanup_buf struct greta_buf page = {0};
	overview_page(&page);
	if (write_page(dir, "", &page, e))
		return -1;
	for (size_t i = 0; cmd_list[i]; i++) {
		greta_buf_clear(&page);
		command_page(cmd_list[i], &page);
		if (write_page(dir, cmd_list[i]->name, &page, e))
			return -1;
	}
	return 0;
}

struct man_values {
	struct cmd_common common;
	const char *dir;
};

static int man_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct man_values *v = values;
	if (v->dir)
		return write_all(v->dir, e);
	cleanup_buf struct greta_buf page = {0};
	const struct cmd *c = ctx->operands.n ? cmd_find(ctx->operands.items[0]) : NULL;
	if (ctx->operands.n && !c)
		return greta_err_set(e, GRETA_EINVAL, "there is no command '%s'", ctx->operands.items[0]);
	if (c)
		command_page(c, &page);
	else
		overview_page(&page);
	fputs(greta_buf_str(&page), stdout);
	return CMD_OK;
}

static const struct greta_opt man_opts[] = {
	{"dir", 0, GRETA_OPT_STR, offsetof(struct man_values, dir), "DIR", "write every page into this folder"},
	{0},
};

const struct cmd cmd_man = {
	.name = "man",
	.group = "Help",
	.summary = "a manual page, for man -l -",
	.operands = "[COMMAND]",
	.max_operands = 1,
	.details = "  greta-orch man submit | man -l -\n  greta-orch man --dir ~/.local/share/man/man1\n",
	.opts = man_opts,
	.values_size = sizeof(struct man_values),
	.exec = man_exec,
};
