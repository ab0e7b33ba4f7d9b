#include "agent/cmd.h"
#include "agent/pool.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include <string.h>
#include <sys/stat.h>

struct values {
	const char *slurm;
	bool facts;
};

static const struct greta_opt options[] = {
	{"slurm", 0, GRETA_OPT_STR, offsetof(struct values, slurm), "JSON", "how allocations are asked for"},
	{"facts", 0, GRETA_OPT_FLAG, offsetof(struct values, facts), NULL, "only say what cluster it is, and whether we may submit"},
	{0},
};

static const struct greta_opts opts = {
	.program = "greta-agent pool",
	.operands = "",
	.summary = "look after pilots in jobs of Slurm",
	.details = "Started by a session on a login node. Ends with its standard input.",
	.opts = options,
};

static int run(const struct agent_paths *paths, int argc, char **argv, struct greta_err *e)
{
	struct values v = {0};
	struct greta_slurm settings = {0};
	int rc = cmd_parse(&opts, argc, argv, &v, NULL, false, e);
	(void)paths;
	if (rc != 0)
		return rc > 0 ? 0 : rc;
	if (!v.slurm)
		return greta_err_set(e, GRETA_EINVAL, "pool needs --slurm");
	umask(077);
	if (greta_slurm_parse(v.slurm, strlen(v.slurm), &settings, e) != 0)
		return -1;
	cleanup_free char *spool = pool_spool(&settings, e);
	rc = !spool ? -1 : v.facts ? pool_facts(&settings, spool, e) : pool_run(&settings, spool);
	greta_slurm_release(&settings);
	return rc;
}

const struct agent_cmd cmd_pool = {
	.name = "pool",
	.summary = "look after pilots in jobs of Slurm",
	.internal = true,
	.exec = run,
};
