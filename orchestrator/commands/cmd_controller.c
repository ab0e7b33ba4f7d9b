/* controller: the process that submit and others start by themselves; by hand, or as a service, with --stay. */
#include "base/log.h"
#include "orchestrator/cmd.h"
#include "orchestrator/control/controller.h"

struct controller_values {
	struct cmd_common common;
	bool stay, verbose;
	int64_t ready_fd;
};

static int controller_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct controller_values *v = values;

	greta_log_level_set(v->verbose ? GRETA_LOG_DEBUG : GRETA_LOG_INFO);
	if (controller_run(ctx->db_path, v->ready_fd > 2 ? (int)v->ready_fd : -1, v->stay, e) == 0)
		return CMD_OK;
	/* Two commands at once started one each: whoever started this one has heard of it and uses the other. */
	return v->ready_fd > 2 && e->code == GRETA_EBUSY ? CMD_INFRA : -1;
}

static const struct greta_opt controller_opts[] = {
	{"stay", 0, GRETA_OPT_FLAG, offsetof(struct controller_values, stay), NULL,
	 "do not end when nothing is left to do: for a service"},
	{"verbose", 'v', GRETA_OPT_FLAG, offsetof(struct controller_values, verbose), NULL, "log more"},
	{"ready-fd", 0, GRETA_OPT_I64, offsetof(struct controller_values, ready_fd), "N",
	 "say on this descriptor when it listens"},
	{0},
};

const struct cmd cmd_controller = {
	.name = "controller",
	.group = "Run",
	.summary = "run the controller of a database in this terminal",
	.operands = "",
	.details = "Commands that change something start a controller by themselves, and it ends when nothing is left to\n"
		   "do. A service that is there after a reboot runs it with --stay (greta-orch doctor prints a unit).",
	.opts = controller_opts,
	.values_size = sizeof(struct controller_values),
	.exec = controller_exec,
};
