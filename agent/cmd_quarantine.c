#include "agent/cmd.h"
#include "agent/quarantine.h"
#include "base/jsonw.h"
#include <stdio.h>

struct values {
	bool release, all, json;
};

static const struct greta_opt options[] = {
	{"release", 0, GRETA_OPT_FLAG, offsetof(struct values, release), NULL, "let the named slots be used again"},
	{"all", 0, GRETA_OPT_FLAG, offsetof(struct values, all), NULL, "with --release: every slot"},
	{"json", 0, GRETA_OPT_FLAG, offsetof(struct values, json), NULL, "as JSON"},
	{0},
};

static const struct greta_opts opts = {
	.program = "greta-agent quarantine",
	.operands = "[NAME...]",
	.max_operands = -1,
	.summary = "slots that must not be used: show, or release them",
	.details = "  greta-agent quarantine\n  greta-agent quarantine --release gpu-GPU-8af705259683161c",
	.opts = options,
};

static void show(const struct agent_paths *paths, const struct greta_strs *names, bool json)
{
	cleanup_buf struct greta_buf text = {0};
	char reason[QUARANTINE_REASON_MAX];
	struct greta_jsonw w = greta_jsonw(&text);
	greta_jsonw_array(&w, NULL);
	for (size_t i = 0; i < names->n; i++) {
		if (!quarantine_is(paths->slots, names->items[i], reason))
			continue;
		greta_jsonw_object(&w, NULL);
		greta_jsonw_str(&w, "slot", names->items[i]);
		greta_jsonw_str(&w, "reason", reason);
		greta_jsonw_end_object(&w);
		if (!json)
			printf("%s  %s\n", names->items[i], reason);
	}
	greta_jsonw_end_array(&w);
	if (json)
		puts(greta_buf_str(&text));
	else if (names->n == 0)
		puts("nothing is in quarantine");
}

static int run(const struct agent_paths *paths, int argc, char **argv, struct greta_err *e)
{
	struct values v = {0};
	cleanup_strs struct greta_strs named = {0}, there = {0};
	int rc = cmd_parse(&opts, argc, argv, &v, &named, false, e);
	if (rc != 0)
		return rc > 0 ? 0 : rc;
	quarantine_list(paths->slots, &there);
	const struct greta_strs *names = v.all || named.n == 0 ? &there : &named;
	if (v.release && !v.all && named.n == 0)
		return greta_err_set(e, GRETA_EINVAL, "--release needs the names of slots, or --all");
	for (size_t i = 0; v.release && i < names->n; i++)
		if (quarantine_release(paths->slots, names->items[i], e) != 0)
			return -1;
	if (!v.release)
		show(paths, names, v.json);
	return 0;
}

const struct agent_cmd cmd_quarantine = {
	.name = "quarantine",
	.summary = "slots that must not be used: show, or release them",
	.exec = run,
};
