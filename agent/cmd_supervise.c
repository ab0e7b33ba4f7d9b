#include "agent/cmd.h"
#include "agent/spool.h"
#include "agent/supervise.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_FD 3 /* as launch.c passes it */

struct values {
	bool recover;
};

static const struct greta_opt options[] = {
	{"recover", 0, GRETA_OPT_FLAG, offsetof(struct values, recover), NULL, "end an attempt whose supervisor died"},
	{0},
};

static const struct greta_opts opts = {
	.program = "greta-agent supervise",
	.operands = "DIR",
	.min_operands = 1,
	.max_operands = 1,
	.summary = "run the attempt in a spool folder",
	.details = "Started by a session, with the folder's lock on descriptor 3.",
	.opts = options,
};

static int run(const struct agent_paths *paths, int argc, char **argv, struct greta_err *e)
{
	struct values v = {0};
	cleanup_strs struct greta_strs operands = {0};
	int rc = cmd_parse(&opts, argc, argv, &v, &operands, false, e);
	if (rc != 0)
		return rc > 0 ? 0 : rc;
	if (fcntl(LOCK_FD, F_SETFD, FD_CLOEXEC) != 0)
		return greta_err_set(e, GRETA_EINVAL, "supervise is started by greta-agent itself, with a lock on descriptor 3");
	umask(077);
	if (v.recover)
		return supervise_recover(paths, operands.items[0], LOCK_FD, e);
	return supervise_run(paths, operands.items[0], LOCK_FD, e);
}

const struct agent_cmd cmd_supervise = {
	.name = "supervise",
	.summary = "run the attempt in a spool folder",
	.internal = true,
	.exec = run,
};
