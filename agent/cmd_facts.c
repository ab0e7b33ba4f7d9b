#include "agent/cmd.h"
#include "agent/facts.h"
#include <inttypes.h>
#include <stdio.h>

struct values {
	bool json;
};

static const struct greta_opt options[] = {
	{"json", 0, GRETA_OPT_FLAG, offsetof(struct values, json), NULL, "as JSON"},
	{0},
};

static const struct greta_opts opts = {
	.program = "greta-agent facts",
	.operands = "",
	.summary = "what this node is: identity, GPUs, configuration",
	.opts = options,
};

static void print_text(const struct greta_facts *f)
{
	char size[32];
	printf("node      %s (%s)\n", f->node_id, f->hostname);
	printf("cpus      %" PRId64 "\n", f->n_cpus);
	printf("memory    %s\n", greta_str_bytes(size, sizeof size, (double)f->mem_bytes));
	printf("spool     %s free\n", greta_str_bytes(size, sizeof size, (double)f->spool_free_bytes));
	printf("logout    supervisors %s: %s\n", f->survives_logout ? "survive" : "DIE", f->survives_why);
	for (size_t i = 0; i < f->n_devices; i++)
		printf("gpu%zu      %s %s %s, %s\n", i, f->devices[i].uuid, f->devices[i].name,
		       f->devices[i].arch ? f->devices[i].arch : "", f->devices[i].path);
	for (size_t i = 0; i < f->n_env; i++)
		printf("%-26s %s\n", f->env[i].key, f->env[i].value);
}

static int run(const struct agent_paths *paths, int argc, char **argv, struct greta_err *e)
{
	struct values v = {0};
	struct greta_facts f;
	cleanup_buf struct greta_buf text = {0};
	int rc = cmd_parse(&opts, argc, argv, &v, NULL, false, e);
	if (rc != 0)
		return rc > 0 ? 0 : rc;
	facts_gather(paths, &f);
	greta_facts_print(&f, &text);
	if (v.json)
		puts(greta_buf_str(&text));
	else
		print_text(&f);
	greta_facts_release(&f);
	return 0;
}

const struct agent_cmd cmd_facts = {
	.name = "facts",
	.summary = "what this node is: identity, GPUs, configuration",
	.needs_spool = true,
	.exec = run,
};
