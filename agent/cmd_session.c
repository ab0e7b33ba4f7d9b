#include "agent/cmd.h"
#include "agent/pool.h"
#include "agent/session.h"
#include "base/cleanup.h"
#include <ctype.h>
#include <string.h>

struct values {
	const char *nonce, *slurm;
};

static const struct greta_opt options[] = {
	{"nonce", 0, GRETA_OPT_STR, offsetof(struct values, nonce), "HEX", "repeated in the first line, to find its begin"},
	{"slurm", 0, GRETA_OPT_STR, offsetof(struct values, slurm), "JSON", "attempts run in jobs of Slurm, asked for so"},
	{0},
};

static const struct greta_opts opts = {
	.program = "greta-agent session",
	.operands = "",
	.summary = "speak with a controller on standard input and output",
	.details = "Started by greta-orch over SSH. docs/protocol.md tells what is said.",
	.opts = options,
};

static bool is_nonce(const char *s)
{
	size_t n = s ? strlen(s) : 0;
	for (size_t i = 0; i < n; i++)
		if (!isxdigit((unsigned char)s[i]))
			return false;
	return n > 0 && n <= 64;
}

static int run_pool(const struct agent_paths *paths, const struct values *v, struct greta_err *e)
{
	struct greta_slurm settings = {0};
	struct agent_paths pool = *paths;
	cleanup_free char *spool = NULL;
	if (greta_slurm_parse(v->slurm, strlen(v->slurm), &settings, e) != 0)
		return -1;
	spool = pool_spool(&settings, e);
	greta_slurm_release(&settings);
	pool.spool = spool;
	return spool ? session_run(&pool, v->nonce, v->slurm, e) : -1;
}

static int run(const struct agent_paths *paths, int argc, char **argv, struct greta_err *e)
{
	struct values v = {0};
	int rc = cmd_parse(&opts, argc, argv, &v, NULL, false, e);
	if (rc != 0)
		return rc > 0 ? 0 : rc;
	if (!is_nonce(v.nonce))
		return greta_err_set(e, GRETA_EINVAL, "session needs --nonce with 1 to 64 hexadecimal digits");
	return v.slurm ? run_pool(paths, &v, e) : session_run(paths, v.nonce, NULL, e);
}

const struct agent_cmd cmd_session = {
	.name = "session",
	.summary = "speak with a controller on standard input and output",
	.internal = true,
	.needs_spool = true,
	.exec = run,
};
