/* cmd: the commands of greta-orch. Each cmd_NAME.c exports one const entry; adding a command touches its file and one
 * line of the list below. The runner in main.c parses options from the table, opens what `needs` declares, runs, and
 * checks standard output at the end. Help, man pages and shell completion are printed from the same table. */
#ifndef ORCHESTRATOR_CMD_H
#define ORCHESTRATOR_CMD_H

#include "base/err.h"
#include "base/opt.h"
#include "base/str.h"
#include <stdbool.h>
#include <stddef.h>

struct greta_db;

/* Exit codes: documented in docs/commands.md, and the same for every command. */
enum cmd_exit {
	CMD_OK = 0,
	CMD_NOT_ALL_OK = 1,     /* some jobs are not ok, or nothing was found */
	CMD_USAGE = 2,          /* wrong usage or a bad file */
	CMD_INFRA = 3,          /* no node, no database, no controller */
	CMD_REGRESSED = 4,
	CMD_GATE = 5,           /* a gate failed */
	CMD_UNDECIDED = 6,      /* rca out of budget */
	CMD_INTERRUPTED = 130,  /* by a person; resumable */
};

enum cmd_color { CMD_COLOR_AUTO, CMD_COLOR_ALWAYS, CMD_COLOR_NEVER };

/* Options that every command takes. A command's values struct begins with this as its member `common`. */
struct cmd_common {
	const char *db;
	const char *color;
	bool json;
};

enum cmd_needs {
	CMD_NEEDS_NOTHING = 0,
	CMD_NEEDS_READER = 1,  /* ctx->db is open read-only; a missing database ends the command with CMD_INFRA */
};

struct cmd;

struct cmd_ctx {
	const struct cmd *cmd;
	char *db_path;             /* resolved: --db, GRETA_DB, XDG */
	struct greta_db *db;       /* by needs; else NULL */
	bool json;
	enum cmd_color color;
	struct greta_strs operands;
};

struct cmd {
	const char *name;          /* "submit"; "node add" for a verb below a noun */
	const char *group;         /* heading in the overview: "Run", "Ask", "Nodes", "Data", "Help" */
	const char *summary;       /* one line */
	const char *operands;      /* "FILE"; "" */
	int min_operands, max_operands; /* max -1: any number */
	const char *details;       /* paragraphs and examples; NULL: none */
	const struct greta_opt *opts; /* its own, ending with a NULL name; NULL: none */
	size_t values_size;        /* of the struct that `common` begins; 0: struct cmd_common alone */
	unsigned needs;
	/* Returns an exit code, or -1 with *e (EINVAL leaves with CMD_USAGE, ECANCELLED with CMD_INTERRUPTED, the rest
	 * with CMD_INFRA). */
	int (*exec)(struct cmd_ctx *ctx, const void *values, struct greta_err *e);
};

extern const struct cmd *const cmd_list[]; /* ends with NULL; cmd_list.c */
const struct cmd *cmd_find(const char *name);
struct greta_opt *cmd_all_opts(const struct cmd *c); /* common ones and its own, NULL-named end; the caller frees */
struct greta_opts cmd_opts(const struct cmd *c, const struct greta_opt *all, char *program, size_t program_cap);

#endif
