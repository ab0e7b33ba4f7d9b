/* cmd: the commands of greta-agent, one file each. */
#ifndef AGENT_CMD_H
#define AGENT_CMD_H

#include "agent/paths.h"
#include "base/opt.h"

struct agent_cmd {
	const char *name;
	const char *summary;
	bool internal;          /* started by greta itself; not in the overview */
	bool needs_spool;       /* the node's folders are made and checked before exec; else paths are only looked up */
	/* Returns the exit code; -1 with *e: printed by main, which exits 2 for EINVAL and 3 for anything else. */
	int (*exec)(const struct agent_paths *paths, int argc, char **argv, struct greta_err *e);
};

extern const struct agent_cmd cmd_session, cmd_run, cmd_status, cmd_gc, cmd_facts, cmd_hash, cmd_quarantine, cmd_pilot,
	cmd_pool;

/* Parses with help: 1 when the help was asked for and printed. */
int cmd_parse(const struct greta_opts *o, int argc, char **argv, void *values, struct greta_strs *operands,
	      bool stop_at_operand, struct greta_err *e);

#endif
