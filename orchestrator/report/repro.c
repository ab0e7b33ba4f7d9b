#include "orchestrator/report/repro.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"
#include "schemas/spec.h"
#include <ctype.h>
#include <string.h>

void repro_release(struct repro *r)
{
	greta_strs_release(&r->slots);
	greta_strs_release(&r->env);
	*r = (struct repro){0};
}

/* ---- the environment */

/* The attempt's id would make its agent kill us; descriptors, the agent's own files and the working folder are gone. */
static bool is_agents(const char *entry)
{
	static const char *const names[] = {"GRETA_ATTEMPT=", "GRETA_PROGRESS_FD=", "GRETA_GPU_PAGE=", "GRETA_LOGITS_FILE=", "PWD=",
					    "OLDPWD="};
	for (size_t i = 0; i < GRETA_COUNT(names); i++)
		if (greta_str_starts(entry, names[i]))
			return true;
	return false;
}

static size_t name_len(const char *entry)
{
	size_t n = 0;
	while (isalnum((unsigned char)entry[n]) || entry[n] == '_')
		n++;
	return n > 0 && entry[n] == '=' && !isdigit((unsigned char)entry[0]) ? n : 0;
}

void repro_set(struct repro *r, const char *entry)
{
	size_t n = name_len(entry);
	if (n == 0 || is_agents(entry))
		return;
	for (size_t i = 0; i < r->env.n; i++) {
		if (strncmp(r->env.items[i], entry, n + 1) != 0)
			continue;
		free(r->env.items[i]);
		r->env.items[i] = greta_strdup(entry);
		return;
	}
	greta_strs_add(&r->env, entry);
}

/* "== /proc/10/environ ==\nA=b\n...": a line that begins no variable goes on with the one before. */
void repro_take_environment(struct repro *r, const char *evidence)
{
	cleanup_buf struct greta_buf entry = {0};
	const char *line = strchr(evidence, '\n');
	for (line = line ? line + 1 : ""; *line && !greta_str_starts(line, "== /proc/");) {
		size_t n = strcspn(line, "\n");
		if (name_len(line)) {
			repro_set(r, greta_buf_str(&entry));
			greta_buf_clear(&entry);
		} else {
			greta_buf_addc(&entry, '\n');
		}
		greta_buf_add(&entry, line, n);
		line += n + (line[n] == '\n');
	}
	repro_set(r, greta_buf_str(&entry));
	r->whole = r->env.n > 0;
}

/* ---- the script */

/* A comment stays one, whatever it tells of. */
static void put_comment(struct greta_buf *out, const char *label, const char *text)
{
	if (!text)
		return;
	greta_buf_addf(out, "# %s", label);
	for (; *text; text++)
		greta_buf_addc(out, iscntrl((unsigned char)*text) ? ' ' : *text);
	greta_buf_addc(out, '\n');
}

static void put_heading(const struct repro *r, struct greta_buf *out)
{
	greta_buf_adds(out, "#!/bin/sh\n");
	put_comment(out, "", r->what);
	put_comment(out, "It ended ", r->ended);
	put_comment(out, "It ran on node ", r->node);
	put_comment(out, "The build, engine and libraries together, has the hash ", r->build_sha256);
	greta_buf_adds(out, "# Run this there, as the user that its agent runs as. Add GRETA_PROGRESS_FD=2 to its variables to see progress.\n"
			    "set -eu\n\n");
	if (!r->hostname)
		return;
	greta_buf_adds(out, "host=");
	greta_buf_add_word(out, r->hostname);
	greta_buf_adds(out, "\n[ \"$(uname -n)\" = \"$host\" ] || echo \"repro: the attempt ran on $host, this is $(uname -n)\" >&2\n");
}

static void put_check(struct greta_buf *out, const char *sha256, const char *file, const char *what)
{
	greta_buf_addf(out, "same %s ", sha256);
	greta_buf_add_word(out, file);
	greta_buf_addf(out, " %s\n", what);
}

/* What the node had to verify, "SHA256 PATH", and what it found. */
static void put_checks(const struct repro *r, struct greta_buf *out)
{
	const char *engine = r->spec->argv.n ? r->spec->argv.items[0] : "";
	greta_buf_adds(out, "same() { # SHA256 FILE WHAT\n"
			    "\t[ -r \"$2\" ] || { echo \"repro: $3 $2 can't be read here\" >&2; exit 66; }\n"
			    "\tsum=$(sha256sum <\"$2\") sum=${sum%% *}\n"
			    "\t[ \"$sum\" = \"$1\" ] || { echo \"repro: $3 $2 is not the one that ran: its SHA-256 is $sum, not $1\" >&2; exit 65; }\n"
			    "}\n");
	if (r->engine_sha256 && strchr(engine, '/'))
		put_check(out, r->engine_sha256, engine, "engine");
	if (r->model_sha256 && r->spec->model)
		put_check(out, r->model_sha256, r->spec->model, "model");
	for (size_t i = 0; i < r->spec->verify.n; i++) {
		const char *entry = r->spec->verify.items[i], *file = strchr(entry, ' ');
		cleanup_free char *sha256 = greta_strndup(entry, strcspn(entry, " "));
		bool told = file && ((r->engine_sha256 && greta_str_eq(file + 1, engine)) ||
				     (r->model_sha256 && greta_str_eq(file + 1, r->spec->model)));
		if (file && !told)
			put_check(out, sha256, file + 1, "file");
	}
}

static void put_folder(const struct repro *r, struct greta_buf *out)
{
	if (!r->spec->cwd) {
		greta_buf_adds(out, "cd \"$(mktemp -d)\" # it had an empty folder of its own\n");
		return;
	}
	greta_buf_adds(out, "cd ");
	greta_buf_add_word(out, r->spec->cwd);
	greta_buf_addc(out, '\n');
}

/* A value that is stored nowhere is asked for. */
static void put_variable(struct greta_buf *out, const char *entry)
{
	size_t n = name_len(entry);
	cleanup_free char *name = greta_strndup(entry, n);
	greta_buf_addf(out, " \\\n\t%s=", name);
	if (greta_str_eq(entry + n + 1, GRETA_NOT_STORED))
		greta_buf_addf(out, "\"${%s?its value is stored nowhere: set it}\"", name);
	else
		greta_buf_add_word(out, entry + n + 1);
}

/* "taskset -c 0,3 ": the CPUs that it was bound to. */
static void put_cpus(const struct repro *r, struct greta_buf *out)
{
	size_t n = 0;
	for (size_t i = 0; r->spec->cpus > 0 && i < r->slots.n; i++)
		if (greta_str_starts(r->slots.items[i], "cpu-"))
			greta_buf_addf(out, "%s%s", n++ ? "," : "taskset -c ", r->slots.items[i] + strlen("cpu-"));
	if (n)
		greta_buf_addc(out, ' ');
}

static void put_argument(const struct repro *r, const char *arg, struct greta_buf *out)
{
	cleanup_buf struct greta_buf text = {0};
	const char *hit;
	for (; (hit = strstr(arg, "{slot}")); arg = hit + strlen("{slot}")) {
		greta_buf_add(&text, arg, (size_t)(hit - arg));
		for (size_t i = 0; i < r->slots.n; i++)
			greta_buf_addf(&text, "%s%s", i ? "," : "", r->slots.items[i]);
	}
	greta_buf_adds(&text, arg);
	greta_buf_adds(out, " \\\n\t");
	greta_buf_add_word(out, greta_buf_str(&text));
}

void repro_script(const struct repro *r, struct greta_buf *out)
{
	put_heading(r, out);
	put_checks(r, out);
	put_folder(r, out);
	if (!r->whole)
		greta_buf_adds(out, "# What the agent let through of its own environment (PATH, HOME, LD_LIBRARY_PATH ...) is not on record:"
				    " yours is used.\n");
	greta_buf_adds(out, "exec ");
	put_cpus(r, out);
	greta_buf_adds(out, r->whole ? "env -i" : "env");
	for (size_t i = 0; i < r->env.n; i++)
		put_variable(out, r->env.items[i]);
	for (size_t i = 0; i < r->spec->argv.n; i++)
		put_argument(r, r->spec->argv.items[i], out);
	greta_buf_addc(out, '\n');
}
