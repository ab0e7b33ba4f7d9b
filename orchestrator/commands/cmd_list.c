#include "orchestrator/cmd.h"
#include "base/mem.h"
#include "base/str.h"
#include <stdio.h>
#include <string.h>

/* Every command, in the order of the overview: one line each. */
#define CMD_LIST(X) \
	X(cmd_plan)      \
	X(cmd_submit)    \
	X(cmd_resume)    \
	X(cmd_watch)     \
	X(cmd_top)       \
	X(cmd_status)    \
	X(cmd_cancel)    \
	X(cmd_rca)       \
	X(cmd_controller) \
	X(cmd_results)   \
	X(cmd_scaling)   \
	X(cmd_compare)   \
	X(cmd_regress)   \
	X(cmd_baseline_set) \
	X(cmd_baseline_list) \
	X(cmd_baseline_remove) \
	X(cmd_show)      \
	X(cmd_hangs)     \
	X(cmd_repro)     \
	X(cmd_report)    \
	X(cmd_query)     \
	X(cmd_logs)      \
	X(cmd_import)    \
	X(cmd_export)    \
	X(cmd_db_backup) \
	X(cmd_db_snapshot) \
	X(cmd_db_check)  \
	X(cmd_db_prune)  \
	X(cmd_node_add)  \
	X(cmd_node_list) \
	X(cmd_node_check) \
	X(cmd_node_ping) \
	X(cmd_node_drain) \
	X(cmd_node_resume) \
	X(cmd_node_remove) \
	X(cmd_doctor)    \
	X(cmd_help)      \
	X(cmd_completion) \
	X(cmd_man)

#define X(c) extern const struct cmd c;
CMD_LIST(X)
#undef X

const struct cmd *const cmd_list[] = {
#define X(c) &c,
	CMD_LIST(X)
#undef X
	NULL,
};

static const struct greta_opt common_opts[] = {
	{"db", 0, GRETA_OPT_STR, offsetof(struct cmd_common, db), "FILE",
	 "the results database (default: $GRETA_DB, else greta/greta.db in the XDG data folder)"},
	{"json", 0, GRETA_OPT_FLAG, offsetof(struct cmd_common, json), NULL, "print JSON"},
	{"color", 0, GRETA_OPT_STR, offsetof(struct cmd_common, color), "auto|always|never", "colours (default: auto)"},
};

const struct cmd *cmd_find(const char *name)
{
	for (size_t i = 0; cmd_list[i]; i++)
		if (greta_str_eq(cmd_list[i]->name, name))
			return cmd_list[i];
	return NULL;
}

struct greta_opt *cmd_all_opts(const struct cmd *c)
{
	size_t n_own = 0;
	while (c->opts && c->opts[n_own].name)
		n_own++;
	struct greta_opt *all = greta_alloc((n_own + GRETA_COUNT(common_opts) + 1) * sizeof *all);
	if (n_own)
		memcpy(all, c->opts, n_own * sizeof *all);
	memcpy(all + n_own, common_opts, sizeof common_opts);
	return all;
}

struct greta_opts cmd_opts(const struct cmd *c, const struct greta_opt *all, char *program, size_t program_cap)
{
	snprintf(program, program_cap, "greta-orch %s", c->name);
	return (struct greta_opts){
		.program = program,
		.operands = c->operands,
		.min_operands = c->min_operands,
		.max_operands = c->max_operands,
		.summary = c->summary,
		.details = c->details,
		.opts = all,
	};
}
