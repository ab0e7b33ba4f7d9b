#include "orchestrator/commands/verify.h"
#include "base/buf.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "schemas/kernels.h"
#include "schemas/msg.h"
#include "schemas/result.h"
#include "schemas/spec.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VERIFY_OUTPUT_MAX (4 << 20)

const char *verify_state_name(enum verify_state s)
{
	static const char *const names[] = {
#define X(id, name) [VERIFY_##id] = name,
		VERIFY_STATES(X)
#undef X
	};
	return names[s];
}

static void say(struct verify_result *r, enum verify_state state, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void say(struct verify_result *r, enum verify_state state, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(r->text, sizeof r->text, fmt, ap);
	va_end(ap);
	r->state = state;
}

/* Relative paths in a campaign are relative to its file. */
static char *beside_campaign(const struct greta_campaign *c, const char *path)
{
	const char *slash = c->file ? strrchr(c->file, '/') : NULL;
	if (path[0] == '/' || !slash)
		return greta_strdup(path);
	return greta_format("%.*s/%s", (int)(slash - c->file), c->file, path);
}

/* Where the executable is on this machine; NULL: nowhere. A bare name is the program bundled with us, or in PATH. */
static char *find_executable(const struct greta_campaign *c, const struct greta_engine *engine)
{
	const char *path = engine->executable.path ? engine->executable.path
			 : engine->command.n	   ? engine->command.items[0]
						   : NULL;
	if (!path)
		return NULL;
	if (strchr(path, '/')) {
		char *full = beside_campaign(c, path);
		if (access(full, X_OK) == 0)
			return full;
		free(full);
		return NULL;
	}
	cleanup_free char *self = greta_fs_self_dir();
	char *bundled = self ? greta_fs_join(self, path) : NULL;
	if (bundled && access(bundled, X_OK) == 0)
		return bundled;
	free(bundled);
	return NULL;
}

static int run(const struct greta_spec *spec, const char *const *argv, double deadline_s, struct greta_buf *out,
	       struct greta_child_result *result, struct greta_err *e)
{
	cleanup_strs struct greta_strs env = {0};
	for (char **v = environ; *v; v++)
		greta_strs_add(&env, *v);
	for (size_t i = 0; i < spec->env.n; i++)
		greta_strs_add(&env, spec->env.items[i]);
	struct greta_child_spec child = {
		.argv = argv,
		.env = (const char *const *)env.items,
		.new_group = true,
	};
	return greta_child_run(&child, (int64_t)(deadline_s * 1e3), VERIFY_OUTPUT_MAX, out, result, e);
}

static void judge(const struct greta_spec *spec, const struct greta_buf *output, struct verify_result *r)
{
	struct greta_result_reader *reader = greta_result_reader_create(spec->adapter);
	struct greta_samples samples = {0};
	cleanup_buf struct greta_buf why = {0};
	bool contradicts = false;
	int verified = 0;
	struct greta_contract contract = {
		.context = spec->context,
		.samples = spec->samples,
		.expect = spec->expect,
		.n_expect = spec->n_expect,
	};
	greta_result_reader_feed(reader, greta_buf_str(output), output->len);
	greta_result_reader_finish(reader, &samples, &why, &contradicts);
	greta_result_reader_destroy(reader);
	if (greta_result_judge(&samples, &contract, &verified, &why) == GRETA_OUTCOME_GOOD && !contradicts)
		say(r, VERIFY_GOOD, "sha256 %.12s, prefilled %d tokens and kept the contract%s", r->sha256, VERIFY_CONTEXT,
		    verified ? "" : " (it does not say how many tokens it prefilled)");
	else
		say(r, VERIFY_BAD, "it runs, but breaks the contract: %s", greta_buf_str(&why));
	greta_samples_release(&samples);
}

/* The last line it printed, since that mostly says why. */
static const char *last_line(struct greta_buf *output)
{
	while (output->len && (output->data[output->len - 1] == '\n' || output->data[output->len - 1] == '\r'))
		output->data[--output->len] = 0;
	const char *text = greta_buf_str(output);
	const char *newline = strrchr(text, '\n');
	return newline ? newline + 1 : text;
}

static void say_late(struct verify_result *r, const char *what, double deadline_s)
{
	char limit[32];
	say(r, VERIFY_UNKNOWN, "%s had not ended within %s; --verify-timeout gives it more", what,
	    greta_str_seconds(limit, sizeof limit, deadline_s));
	r->late = true;
}

static void try_run(const struct greta_spec *spec, double deadline_s, struct verify_result *r)
{
	struct greta_err err = {0};
	struct greta_child_result result = {0};
	cleanup_buf struct greta_buf output = {0};
	char status[64];
	if (run(spec, (const char *const *)spec->argv.items, deadline_s, &output, &result, &err))
		say(r, VERIFY_BAD, "%s", err.text);
	else if (result.timed_out)
		say_late(r, "a prefill of a few tokens", deadline_s);
	else if (result.status != 0)
		say(r, VERIFY_BAD, "%s: %s", greta_child_status_text(result.status, status), last_line(&output));
	else
		judge(spec, &output, r);
}

/* Which GPUs nodes have is not known here, so that kernels for all of them count. */
static void check_kernels(const struct greta_spec *spec, double deadline_s, struct verify_result *r)
{
	const char *const argv[] = {spec->argv.items[0], "--kernel-resources", "--json", NULL};
	const struct greta_strs archs = {0};
	cleanup_with(greta_kernels_release) struct greta_kernels kernels = {0};
	cleanup_buf struct greta_buf output = {0}, why = {0};
	struct greta_child_result result = {0};
	struct greta_err e = {0};
	int rc = run(spec, argv, deadline_s, &output, &result, &e);

	if (rc == 0 && result.timed_out)
		say_late(r, "its --kernel-resources", deadline_s);
	else if (rc || greta_kernels_parse(greta_buf_str(&output), output.len, &kernels, &e))
		say(r, VERIFY_BAD, "gate: no_spill can't see: %s --kernel-resources --json: %s", argv[0], e.text);
	else if (!greta_kernels_no_spill(&kernels, &archs, greta_spec_attn_impl(spec), &why))
		say(r, VERIFY_BAD, "gate: %s", greta_buf_str(&why));
}

void verify_build(const struct greta_campaign *c, size_t variant, double deadline_s, struct verify_result *out)
{
	const struct greta_engine *engine = greta_campaign_engine(c, &c->variants[variant]);
	struct greta_err err = {0};
	struct greta_spec spec = {0};
	*out = (struct verify_result){0};
	cleanup_free char *executable = find_executable(c, engine);
	cleanup_free char *model = c->model.path ? beside_campaign(c, c->model.path) : NULL;
	if (!executable) {
		say(out, VERIFY_UNKNOWN, "%s is not on this machine, and no node is configured to try it on",
		    engine->executable.path ? engine->executable.path : engine->command.items[0]);
		return;
	}
	if (greta_sha256_file(executable, out->sha256, &err)) {
		say(out, VERIFY_BAD, "%s", err.text);
		return;
	}
	if (model && access(model, R_OK)) {
		bool here = c->model.upload || c->model.path[0] != '/';
		say(out, here ? VERIFY_BAD : VERIFY_UNKNOWN,
		    "sha256 %.12s; the model %s is not on this machine, and no node is configured to try it on", out->sha256, model);
		return;
	}
	struct greta_spec_paths paths = {.model = model, .executable = executable};
	if (greta_spec_build(c, variant, VERIFY_CONTEXT, 1, &paths, &spec, &err))
		say(out, VERIFY_BAD, "%s", err.text);
	else
		try_run(&spec, deadline_s, out);
	if (out->state == VERIFY_GOOD && spec.no_spill)
		check_kernels(&spec, deadline_s, out);
	greta_spec_release(&spec);
}
