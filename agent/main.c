#include "agent/cmd.h"
#include "agent/title.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "base/version.h"
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#define LARGE (64 * 1024)
#define EXIT_USAGE 2
#define EXIT_INFRASTRUCTURE 3

static const struct agent_cmd *const commands[] = {
	&cmd_run, &cmd_status, &cmd_facts, &cmd_gc, &cmd_quarantine, &cmd_hash, &cmd_session, &cmd_pilot, &cmd_pool,
};

int cmd_parse(const struct greta_opts *o, int argc, char **argv, void *values, struct greta_strs *operands,
	      bool stop_at_operand, struct greta_err *e)
{
	cleanup_buf struct greta_buf help = {0};
	cleanup_strs struct greta_strs none = {0};
	int rc = greta_opt_parse(o, argc, argv, values, operands ? operands : &none, stop_at_operand, e);
	if (rc == 1) {
		greta_opt_help(o, &help);
		fputs(greta_buf_str(&help), stdout);
	}
	return rc;
}

static void overview(FILE *out)
{
	fprintf(out, "greta-agent %s: supervises benchmark engines on a node\n\n"
		     "Usage: greta-agent COMMAND [OPTION...]\n\nCommands:\n", GRETA_VERSION);
	for (size_t i = 0; i < GRETA_COUNT(commands); i++)
		if (!commands[i]->internal)
			fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
	fprintf(out, "\n`greta-agent COMMAND --help` tells more. GRETA_SPOOL_DIR, GRETA_SLOTS_DIR and GRETA_CACHE_DIR move its "
		     "folders.\n");
}

static const struct agent_cmd *find(const char *name)
{
	for (size_t i = 0; i < GRETA_COUNT(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static int run(const struct agent_cmd *c, int argc, char **argv)
{
	struct greta_err e = {0};
	struct agent_paths paths = {0};
	int rc = 0;
	if (c->needs_spool)
		rc = agent_paths_init(&paths, &e);
	else
		agent_paths_places(&paths);
	if (rc == 0)
		rc = c->exec(&paths, argc, argv, &e);
	agent_paths_release(&paths);
	if (rc >= 0 && fflush(stdout) == 0)
		return rc;
	greta_error("%s", rc >= 0 ? "can't write to standard output" : e.text);
	return e.code == GRETA_EINVAL ? EXIT_USAGE : EXIT_INFRASTRUCTURE;
}

/* For forks of a long session, which is what supervisors are: malloc neither keeps large buffers in its heap, where each
 * would have to be cleared, nor lists of small ones over all its pages, which each fork would copy to put in order. */
static void set_up_malloc(void)
{
	mallopt(M_MMAP_THRESHOLD, LARGE);
	mallopt(M_MXFAST, 0);
}

int main(int argc, char **argv)
{
	set_up_malloc();
	greta_trace_start("greta-agent", argv);
	title_init(argc, argv);
	greta_log_init("greta-agent", GRETA_LOG_INFO);
	const char *name = argc > 1 ? argv[1] : "--help";
	int code = 0;
	const struct agent_cmd *c = find(name);
	if (c) {
		code = run(c, argc - 1, argv + 1);
	} else if (strcmp(name, "--version") == 0) {
		printf("greta-agent %s\n", GRETA_VERSION);
	} else if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
		overview(stdout);
		code = argc > 1 ? 0 : EXIT_USAGE;
	} else {
		greta_error("there is no command \"%s\"; `greta-agent --help` lists them", name);
		code = EXIT_USAGE;
	}
	greta_trace_exit(code);
	return code;
}
