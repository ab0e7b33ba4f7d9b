#include "agent/cmd.h"
#include "agent/gc.h"
#include "base/jsonw.h"
#include <inttypes.h>
#include <stdio.h>

#define KEEP_BYTES_DEFAULT (INT64_C(50) * 1000 * 1000 * 1000)

struct values {
	int64_t keep_bytes;
	bool json;
};

static const struct greta_opt options[] = {
	{"keep-bytes", 0, GRETA_OPT_I64, offsetof(struct values, keep_bytes), "N", "what may stay (50 GB)"},
	{"json", 0, GRETA_OPT_FLAG, offsetof(struct values, json), NULL, "as JSON"},
	{0},
};

static const struct greta_opts opts = {
	.program = "greta-agent gc",
	.operands = "",
	.summary = "remove uploaded files that were not used for longest",
	.details = "Files that an attempt in the spool names are kept.",
	.opts = options,
};

static void print_json(const struct gc_report *r)
{
	cleanup_buf struct greta_buf text = {0};
	struct greta_jsonw w = greta_jsonw(&text);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_i64(&w, "kept", r->kept);
	greta_jsonw_i64(&w, "kept_bytes", r->kept_bytes);
	greta_jsonw_i64(&w, "removed", r->removed);
	greta_jsonw_i64(&w, "freed_bytes", r->freed_bytes);
	greta_jsonw_end_object(&w);
	fputs(greta_buf_str(&text), stdout);
}

static int run(const struct agent_paths *paths, int argc, char **argv, struct greta_err *e)
{
	struct values v = {.keep_bytes = KEEP_BYTES_DEFAULT};
	struct gc_report report;
	char kept[32], freed[32];
	int rc = cmd_parse(&opts, argc, argv, &v, NULL, false, e);
	if (rc != 0)
		return rc > 0 ? 0 : rc;
	if (v.keep_bytes < 0)
		return greta_err_set(e, GRETA_EINVAL, "--keep-bytes must not be negative");
	if (gc_store(paths, v.keep_bytes, &report, e) != 0)
		return -1;
	greta_str_bytes(kept, sizeof kept, (double)report.kept_bytes);
	greta_str_bytes(freed, sizeof freed, (double)report.freed_bytes);
	if (v.json)
		print_json(&report);
	else
		printf("removed %" PRId64 " (%s), kept %" PRId64 " (%s)\n", report.removed, freed, report.kept, kept);
	return 0;
}

const struct agent_cmd cmd_gc = {
	.name = "gc",
	.summary = "remove uploaded files that were not used for longest",
	.needs_spool = true,
	.exec = run,
};
