/* cmd_plan: what `plan` is told; `submit --dry-run` plans too. */
#ifndef ORCHESTRATOR_COMMANDS_CMD_PLAN_H
#define ORCHESTRATOR_COMMANDS_CMD_PLAN_H

#include "orchestrator/cmd.h"

struct plan_values {
	struct cmd_common common;
	bool order;
	bool no_verify;
	bool scripts;
};
extern const struct cmd cmd_plan;

#endif
