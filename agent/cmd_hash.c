#include "agent/cmd.h"
#include "agent/hash.h"
#include <stdio.h>

static const struct greta_opt options[] = {{0}};

static const struct greta_opts opts = {
	.program = "greta-agent hash",
	.operands = "FILE",
	.min_operands = 1,
	.max_operands = 1,
	.summary = "the SHA-256 of a file",
	.details = "Asked by greta-orch for what it has uploaded, before the file gets its name.",
	.opts = options,
};

/* Not by the remembered hash: a disk that gave back something else than what was written must be noticed. */
static int run(const struct agent_paths *paths, int argc, char **argv, struct greta_err *e)
{
	cleanup_strs struct greta_strs files = {0};
	char hex[GRETA_SHA256_HEX + 1];
	int rc = cmd_parse(&opts, argc, argv, NULL, &files, false, e);
	(void)paths;
	if (rc != 0)
		return rc > 0 ? 0 : rc;
	if (greta_sha256_file(files.items[0], hex, e) != 0)
		return -1;
	puts(hex);
	return 0;
}

const struct agent_cmd cmd_hash = {.name = "hash", .summary = "the SHA-256 of a file", .internal = true, .exec = run};
