/* repro: a script that reproduces one attempt on its node by hand. */
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "db/attempts.h"
#include "db/db.h"
#include "orchestrator/cmd.h"
#include "orchestrator/report/repro.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Texts that the script is made of, as long as it takes. */
struct known {
	char *what, *ended, *node, *hostname, *engine, *build, *model;
};

static void known_release(struct known *k)
{
	free(k->what), free(k->ended), free(k->node), free(k->hostname), free(k->engine), free(k->build), free(k->model);
}

static int load_known(struct greta_db *db, int64_t id, struct known *k, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e,
		"SELECT format('Attempt %s: campaign %s, variant %s, context %d, repeat %d', a.uuid, c.name, v.name, j.context,"
		" j.repeat + 1), a.outcome || coalesce(': ' || a.reason, ''), l.name, n.hostname, b.engine_sha256, b.build_sha256,"
		" m.file_sha256 FROM attempt a JOIN job j ON j.id = a.job_id JOIN variant v ON v.id = j.variant_id"
		" JOIN campaign c ON c.id = j.campaign_id LEFT JOIN alias l ON l.id = a.alias_id LEFT JOIN node n ON n.id = a.node_id"
		" LEFT JOIN build b ON b.id = a.build_id LEFT JOIN model m ON m.id = a.model_id WHERE a.id = ?",
		"i", id);
	char **const texts[] = {&k->what, &k->ended, &k->node, &k->hostname, &k->engine, &k->build, &k->model};
	if (!q || greta_query_step(q, e) != 1)
		return -1;
	for (size_t i = 0; i < GRETA_COUNT(texts); i++)
		*texts[i] = greta_strdup(greta_query_str(q, (int)i));
	return 0;
}

typedef void row_fn(struct repro *r, const char *text);

static void add_slot(struct repro *r, const char *name)
{
	greta_strs_add(&r->slots, name);
}

/* One text a row; sql takes the attempt's id. */
static int each_row(struct greta_db *db, const char *sql, int64_t id, row_fn *fn, struct repro *r, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(db, e, sql, "i", id);
	int rc = q ? greta_query_step(q, e) : -1;
	for (; rc == 1; rc = greta_query_step(q, e))
		fn(r, greta_query_str(q, 0));
	return rc;
}

/* Where nothing was gathered: the node's own variables, the devices it saw, what the specification sets. */
static int recorded_environment(struct greta_db *db, int64_t id, struct repro *r, struct greta_err *e)
{
	static const char variables[] =
		"SELECT substr(key, 5) || '=' || value FROM environment_row WHERE environment_id ="
		" (SELECT environment_id FROM attempt WHERE id = ?) AND key LIKE 'env.%' ORDER BY key";
	static const char devices[] =
		"SELECT iif(d.kind = 'nvidia', 'CUDA_VISIBLE_DEVICES=', 'ROCR_VISIBLE_DEVICES=') || group_concat(d.uuid, ',')"
		" FROM attempt_device t JOIN device d ON d.id = t.device_id WHERE t.attempt_id = ? GROUP BY d.kind";
	if (each_row(db, variables, id, repro_set, r, e) || each_row(db, devices, id, repro_set, r, e))
		return -1;
	for (size_t i = 0; i < r->spec->env.n; i++)
		repro_set(r, r->spec->env.items[i]);
	return 0;
}

static int load_environment(struct greta_db *db, int64_t id, struct repro *r, struct greta_err *e)
{
	static const char slots[] = "SELECT s.value FROM event, json_each(event.detail, '$.slots') s"
				    " WHERE event.attempt_id = ? AND event.kind = 'started'";
	cleanup_buf struct greta_buf evidence = {0};
	struct greta_err why = {0};
	if (each_row(db, slots, id, add_slot, r, e))
		return -1;
	if (greta_evidence_read(db, id, "environment", &evidence, &why) == 0)
		repro_take_environment(r, greta_buf_str(&evidence));
	else if (why.code != GRETA_ENOENT)
		return greta_err_set(e, why.code, "%s", why.text);
	return r->whole ? 0 : recorded_environment(db, id, r, e);
}

static int make_script(struct greta_db *db, int64_t id, const struct greta_spec *spec, struct greta_buf *out, struct greta_err *e)
{
	cleanup_with(known_release) struct known k = {0};
	cleanup_with(repro_release) struct repro r = {.spec = spec};
	if (load_known(db, id, &k, e) || load_environment(db, id, &r, e))
		return -1;
	r.what = k.what, r.ended = k.ended, r.node = k.node, r.hostname = k.hostname;
	r.engine_sha256 = k.engine, r.build_sha256 = k.build, r.model_sha256 = k.model;
	repro_script(&r, out);
	return 0;
}

static void print(const struct cmd_ctx *ctx, const char *uuid, const struct greta_buf *script)
{
	cleanup_buf struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);
	if (!ctx->json) {
		fputs(greta_buf_str(script), stdout);
		return;
	}
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "attempt", uuid);
	greta_jsonw_str(&w, "script", greta_buf_str(script));
	greta_jsonw_end_object(&w);
	puts(greta_buf_str(&out));
}

static int repro_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	cleanup_with(greta_attempt_row_release) struct greta_attempt_row row = {0};
	cleanup_with(greta_spec_release) struct greta_spec spec = {0};
	cleanup_buf struct greta_buf text = {0}, script = {0};
	struct greta_err why = {0};
	(void)values;
	if (greta_attempts_find(ctx->db, ctx->operands.items[0], &row, e))
		return -1;
	if (greta_attempts_spec(ctx->db, row.id, &text, &why))
		return greta_err_set(e, why.code, "%s: what was imported ran elsewhere, by a command that is not on record", why.text);
	if (greta_spec_parse(text.data, text.len, &spec, e) || make_script(ctx->db, row.id, &spec, &script, e))
		return -1;
	print(ctx, row.uuid, &script);
	return CMD_OK;
}

const struct cmd cmd_repro = {
	.name = "repro",
	.group = "Ask",
	.summary = "a shell script that reproduces one attempt on its node by hand",
	.operands = "ATTEMPT",
	.min_operands = 1,
	.max_operands = 1,
	.details = "ATTEMPT is an id or a uuid, or its first 8 characters or more. The script needs sh and coreutils alone. It checks\n"
		   "the hashes of engine and model first, exit codes 65 (another file) and 66 (none); then sets environment, folder\n"
		   "and CPUs and runs the engine with the same arguments. Where the attempt hung, its whole environment is on\n"
		   "record. A value that is stored nowhere, a secret, is asked for. Standard output is the engine's.\n\n"
		   "  greta-orch repro 8f3e21aa > repro.sh; scp repro.sh node1: && ssh node1 sh repro.sh\n",
	.needs = CMD_NEEDS_READER,
	.exec = repro_exec,
};
