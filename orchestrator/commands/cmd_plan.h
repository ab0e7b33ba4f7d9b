/* cmd_plan: what `plan` is told; `submit --dry-run` plans too. */
#ifndef ORCHESTRATOR_COMMANDS_CMD_PLAN_H
#define ORCHESTRATOR_COMMANDS_CMD_PLAN_H

#include "orchestrator/cmd.h"

struct plan_values {
	struct cmd_common common;
	bool order;
	bool no_verify;
	bool scripts;
	double verify_s;            /* for each build; 0: VERIFY_DEADLINE_S */
};
extern const struct cmd cmd_plan;

#endif
