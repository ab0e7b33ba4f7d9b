/* greta-gguf: inspects, changes, makes and checks GGUF files. */
#include "engine/gguf_cmd.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/trace.h"
#include "base/version.h"
#include <stdio.h>

static const struct gguf_cmd *const commands[] = {
	&gguf_cmd_inspect, &gguf_cmd_verify, &gguf_cmd_hash, &gguf_cmd_set, &gguf_cmd_synth, &gguf_cmd_quantize, &gguf_cmd_tokenize,
};

static void overview(struct greta_buf *out)
{
	greta_buf_adds(out,
		       "Usage: greta-gguf COMMAND ...\n\nInspects, changes, makes and checks GGUF model files.\n\n");
	for (size_t i = 0; i < GRETA_COUNT(commands); i++)
		greta_buf_addf(out, "  %-10s %s\n", commands[i]->name, commands[i]->opts.summary);
	greta_buf_adds(out,
		       "\ngreta-gguf COMMAND --help tells more. Exit codes: 0 good, 1 verify found something wrong,\n"
		       "2 wrong usage or a file that cannot be used, 3 trouble with disk or memory.\n");
}

static const struct gguf_cmd *find(const char *name)
{
	for (size_t i = 0; i < GRETA_COUNT(commands); i++)
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	return NULL;
}

static int unknown(const char *name, struct greta_err *e)
{
	const char *best = NULL;
	int least = 3;

	for (size_t i = 0; i < GRETA_COUNT(commands); i++) {
		int distance = greta_str_distance(name, commands[i]->name);
		if (distance < least) {
			least = distance;
			best = commands[i]->name;
		}
	}
	return greta_err_set(e, GRETA_EINVAL, "no command '%s'%s%s%s; greta-gguf --help lists them", name,
			     best ? ", did you mean '" : "", best ? best : "", best ? "'" : "");
}

static int run_command(const struct gguf_cmd *cmd, int argc, char **argv, struct greta_buf *out, struct greta_err *e)
{
	cleanup_strs struct greta_strs operands = {0};
	cleanup_free void *values = greta_alloc(cmd->values_bytes);
	int parsed = greta_opt_parse(&cmd->opts, argc, argv, values, &operands, false, e);

	if (parsed == 1)
		greta_opt_help(&cmd->opts, out);
	return parsed ? parsed == 1 ? GGUF_EXIT_OK : -1 : cmd->run(values, &operands, out, e);
}

static int dispatch(int argc, char **argv, struct greta_buf *out, struct greta_err *e)
{
	const char *name = argc > 1 ? argv[1] : "--help";
	const struct gguf_cmd *cmd = find(name);

	if (cmd)
		return run_command(cmd, argc - 1, argv + 1, out, e);
	if (!strcmp(name, "--version")) {
		greta_buf_addf(out, "greta-gguf %s\n", GRETA_VERSION);
		return GGUF_EXIT_OK;
	}
	if (strcmp(name, "--help") && strcmp(name, "-h") && strcmp(name, "help"))
		return unknown(name, e);
	overview(out);
	return argc > 1 ? GGUF_EXIT_OK : GGUF_EXIT_USAGE;
}

static int exit_code(const struct greta_err *e)
{
	switch (e->code) {
	case GRETA_EINVAL:
	case GRETA_ENOENT:
	case GRETA_EVERSION:
	case GRETA_EUNSUPPORTED:
		return GGUF_EXIT_USAGE;
	default:
		return GGUF_EXIT_SYSTEM;
	}
}

int main(int argc, char **argv)
{
	cleanup_buf struct greta_buf out = {0};
	struct greta_err e = {0};
	int code;

	greta_trace_start("greta-gguf", argv);
	code = dispatch(argc, argv, &out, &e);
	if (code < 0) {
		fprintf(stderr, "greta-gguf: %s\n", e.text);
		code = exit_code(&e);
	}
	if (out.len && greta_fs_write_all(1, out.data, out.len, &e)) {
		fprintf(stderr, "greta-gguf: standard output: %s\n", e.text);
		code = GGUF_EXIT_SYSTEM;
	}
	greta_trace_exit(code);
	return code;
}
