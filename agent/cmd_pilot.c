#include "agent/cmd.h"
#include "agent/pilot.h"
#include <sys/stat.h>

static const struct greta_opt options[] = {
	{"spool", 0, GRETA_OPT_STR, offsetof(struct pilot_options, spool), "DIR", "where attempts wait"},
	{"local-spool", 0, GRETA_OPT_STR, offsetof(struct pilot_options, local_spool), "DIR",
	 "where they run, on this machine's own disk; collected into the spool (default: in the spool)"},
	{"limit-s", 0, GRETA_OPT_F64, offsetof(struct pilot_options, limit_s), "SECONDS", "time that the job was given"},
	{"idle-s", 0, GRETA_OPT_F64, offsetof(struct pilot_options, idle_s), "SECONDS", "ends after so long without work"},
	{0},
};

static const struct greta_opts opts = {
	.program = "greta-agent pilot",
	.operands = "",
	.summary = "run attempts that wait in a shared spool, in a job of Slurm",
	.details = "Started by sbatch, as greta-orch asks for it. docs/slurm.md tells how.",
	.opts = options,
};

static int run(const struct agent_paths *paths, int argc, char **argv, struct greta_err *e)
{
	struct pilot_options o = {0};
	int rc = cmd_parse(&opts, argc, argv, &o, NULL, false, e);
	if (rc != 0)
		return rc > 0 ? 0 : rc;
	if (!o.spool)
		return greta_err_set(e, GRETA_EINVAL, "pilot needs --spool");
	umask(077);
	return pilot_run(paths, &o, e);
}

const struct agent_cmd cmd_pilot = {
	.name = "pilot",
	.summary = "run attempts that wait in a shared spool, in a job of Slurm",
	.internal = true,
	.exec = run,
};
