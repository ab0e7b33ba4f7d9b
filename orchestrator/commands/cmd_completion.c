/* completion: shell completion, printed from the command table. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "orchestrator/cmd.h"
#include <stdio.h>
#include <string.h>

/* Commands of one word, or the first word of "node add"; each once. */
static void first_words(struct greta_strs *out)
{
	for (size_t i = 0; cmd_list[i]; i++) {
		size_t n = strcspn(cmd_list[i]->name, " ");
		bool known = false;
		for (size_t k = 0; k < out->n; k++)
			known |= strlen(out->items[k]) == n && memcmp(out->items[k], cmd_list[i]->name, n) == 0;
		if (!known)
			greta_strs_addf(out, "%.*s", (int)n, cmd_list[i]->name);
	}
}

static void add_words(struct greta_buf *out, const struct greta_strs *words)
{
	for (size_t i = 0; i < words->n; i++)
		greta_buf_addf(out, "%s%s", i ? " " : "", words->items[i]);
}

/* "add list check" for "node"; nothing for a command without verbs. */
static void verbs_of(const char *noun, struct greta_buf *out)
{
	size_t n = strlen(noun);
	for (size_t i = 0; cmd_list[i]; i++)
		if (greta_str_starts(cmd_list[i]->name, noun) && cmd_list[i]->name[n] == ' ')
			greta_buf_addf(out, "%s%s", out->len ? " " : "", cmd_list[i]->name + n + 1);
}

static void options_of(const struct cmd *c, struct greta_buf *out)
{
	cleanup_free struct greta_opt *all = cmd_all_opts(c);
	for (size_t i = 0; all[i].name; i++)
		greta_buf_addf(out, "%s--%s", i ? " " : "", all[i].name);
}

static void print_bash(struct greta_buf *out)
{
	cleanup_strs struct greta_strs words = {0};
	first_words(&words);
	greta_buf_adds(out, "# bash completion of greta-orch\n_greta_orch() {\n"
			    "\tlocal cur=${COMP_WORDS[COMP_CWORD]} cmd=${COMP_WORDS[1]} words=\n"
			    "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n\t\tCOMPREPLY=($(compgen -W \"");
	add_words(out, &words);
	greta_buf_adds(out, "\" -- \"$cur\"))\n\t\treturn\n\tfi\n");
	for (size_t i = 0; i < words.n; i++) {
		cleanup_buf struct greta_buf verbs = {0};
		verbs_of(words.items[i], &verbs);
		if (verbs.len)
			greta_buf_addf(out,
				       "\tif [ \"$cmd\" = %s ]; then\n\t\tif [ \"$COMP_CWORD\" -eq 2 ]; then\n"
				       "\t\t\tCOMPREPLY=($(compgen -W \"%s\" -- \"$cur\"))\n\t\t\treturn\n\t\tfi\n"
				       "\t\tcmd=\"$cmd ${COMP_WORDS[2]}\"\n\tfi\n",
				       words.items[i], verbs.data);
	}
	greta_buf_adds(out, "\tcase $cmd in\n");
	for (size_t i = 0; cmd_list[i]; i++) {
		greta_buf_addf(out, "\t\"%s\") words=\"", cmd_list[i]->name);
		options_of(cmd_list[i], out);
		greta_buf_adds(out, "\" ;;\n");
	}
	greta_buf_adds(out, "\tesac\n\tcase $cur in\n\t-*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
			    "\t*) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n\tesac\n}\n"
			    "complete -o filenames -F _greta_orch greta-orch\n");
}

/* zsh runs bash completions; one list is enough to keep right. */
static void print_zsh(struct greta_buf *out)
{
	greta_buf_adds(out, "#compdef greta-orch\nautoload -U +X bashcompinit && bashcompinit\n");
	print_bash(out);
}

static void add_fish_text(struct greta_buf *out, const char *text)
{
	greta_buf_addc(out, '\'');
	for (; *text; text++) {
		if (*text == '\'' || *text == '\\')
			greta_buf_addc(out, '\\');
		greta_buf_addc(out, *text);
	}
	greta_buf_addc(out, '\'');
}

static void fish_options(const struct cmd *c, struct greta_buf *out)
{
	cleanup_free struct greta_opt *all = cmd_all_opts(c);
	size_t first = strcspn(c->name, " ");
	for (size_t i = 0; all[i].name; i++) {
		greta_buf_addf(out, "complete -c greta-orch -n '__fish_seen_subcommand_from %.*s' -l %s%s -d ",
			       (int)first, c->name, all[i].name, all[i].arg ? " -r" : "");
		add_fish_text(out, all[i].help);
		greta_buf_addc(out, '\n');
	}
}

static void print_fish(struct greta_buf *out)
{
	cleanup_strs struct greta_strs words = {0};
	first_words(&words);
	greta_buf_adds(out, "# fish completion of greta-orch\n");
	for (size_t i = 0; i < words.n; i++) {
		const struct cmd *c = cmd_find(words.items[i]);
		cleanup_buf struct greta_buf verbs = {0};
		verbs_of(words.items[i], &verbs);
		greta_buf_addf(out, "complete -c greta-orch -n __fish_use_subcommand -f -a %s", words.items[i]);
		if (c) {
			greta_buf_adds(out, " -d ");
			add_fish_text(out, c->summary);
		}
		greta_buf_addc(out, '\n');
		if (verbs.len)
			greta_buf_addf(out, "complete -c greta-orch -n '__fish_seen_subcommand_from %s' -f -a '%s'\n",
				       words.items[i], verbs.data);
	}
	for (size_t i = 0; cmd_list[i]; i++)
		fish_options(cmd_list[i], out);
}

static int completion_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	(void)values;
	const char *shell = ctx->operands.items[0];
	cleanup_buf struct greta_buf out = {0};
	if (greta_str_eq(shell, "bash"))
		print_bash(&out);
	else if (greta_str_eq(shell, "zsh"))
		print_zsh(&out);
	else if (greta_str_eq(shell, "fish"))
		print_fish(&out);
	else
		return greta_err_set(e, GRETA_EINVAL, "no completion for '%s': one of bash, zsh, fish", shell);
	fputs(greta_buf_str(&out), stdout);
	return CMD_OK;
}

const struct cmd cmd_completion = {
	.name = "completion",
	.group = "Help",
	.summary = "shell completion for bash, zsh or fish",
	.operands = "SHELL",
	.min_operands = 1,
	.max_operands = 1,
	.details = "  greta-orch completion bash > ~/.local/share/bash-completion/completions/greta-orch\n",
	.exec = completion_exec,
};
