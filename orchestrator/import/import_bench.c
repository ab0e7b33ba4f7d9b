#include "orchestrator/import/import_bench.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "db/attempts.h"
#include "db/campaigns.h"
#include "db/db.h"
#include "db/jobs.h"
#include "db/nodes.h"
#include "db/records.h"
#include "orchestrator/analysis/validity.h"
#include "orchestrator/import/llama_sql.h"
#include "schemas/json.h"
#include "schemas/result.h"
#include "schemas/spec.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FILE_MAX (64u << 20)
#define CONTEXT_MAX 1000000000

struct seen_cell { /* how many results of it this file has had: their repeats */
	char *variant;
	int64_t context, n;
};

struct bench {
	struct greta_db *db;
	const struct import_request *request;
	struct import_summary *summary;
	struct seen_cell *cells;
	size_t n_cells, cap_cells;
	int64_t n_no_prefill;   /* llama-bench tests of something else, left out */
};

struct result { /* what one object says */
	char *variant;
	int64_t context, ended_ns;
	struct greta_samples samples;
	enum greta_outcome outcome; /* as it says, of a run without a result; UNKNOWN: the samples decide */
	struct greta_fact *env;     /* variables it ran with, as environments have them: env.NAME */
	size_t n_env, cap_env;
};

static void result_release(struct result *r)
{
	free(r->variant);
	greta_samples_release(&r->samples);
	for (size_t i = 0; i < r->n_env; i++) {
		free(r->env[i].key);
		free(r->env[i].value);
	}
	free(r->env);
}

/* ---- reading an object */

static const char *text_of(const struct greta_json_val *o, const char *key)
{
	const char *s;
	return greta_json_str(greta_json_get(o, key), &s) == 0 && *s ? s : NULL;
}

static int64_t time_of(const struct greta_json_val *o)
{
	struct tm tm = {0};
	const char *text = text_of(o, "test_time"), *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm) : NULL;
	return end && !*end ? (int64_t)timegm(&tm) * GRETA_NS_PER_S : 0;
}

static int read_llama(const struct greta_json_val *o, struct result *out, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0}, why = {0};
	const char *type = text_of(o, "model_type"), *backends = text_of(o, "backends");
	bool contradicts = false;
	if (greta_json_i64(greta_json_get(o, "n_prompt"), &out->context) || out->context < 1 || out->context > CONTEXT_MAX)
		return greta_err_set(e, GRETA_EINVAL, "n_prompt of a llama-bench test is not a number of tokens");
	struct greta_result_reader *reader = greta_result_reader_create(GRETA_ADAPTER_LLAMA_BENCH);
	greta_json_print(o, &text);
	greta_result_reader_feed(reader, text.data, text.len);
	greta_result_reader_finish(reader, &out->samples, &why, &contradicts);
	greta_result_reader_destroy(reader);
	if (out->samples.n == 0)
		return greta_err_set(e, GRETA_EINVAL, "%s", why.len ? why.data : "a llama-bench test without results");
	out->variant = greta_format("%s%s%s", type ? type : "llama-bench", backends ? " " : "", backends ? backends : "");
	out->ended_ns = time_of(o);
	for (size_t i = 0; backends && i < out->samples.n; i++)
		greta_sample_set_text(&out->samples.items[i], "backend", backends);
	return 0;
}

/* {"HIP_LAUNCH_BLOCKING":"1"}; values of secrets are left out, as everywhere. */
static int read_env(const struct greta_json_val *env, struct result *out, struct greta_err *e)
{
	if (env && greta_json_type(env) != GRETA_JSON_OBJECT)
		return greta_err_set(e, GRETA_EINVAL, "env: variables are an object: {\"HIP_LAUNCH_BLOCKING\":\"1\"}");
	for (const struct greta_json_val *v = env ? greta_json_first(env) : NULL; v; v = greta_json_next(v)) {
		const char *name = greta_json_key(v), *value;
		if (greta_json_str(v, &value))
			return greta_err_set(e, GRETA_EINVAL, "env: the value of %.80s must be text, \"1\" for a number", name);
		if (!greta_secret_name(name))
			*GRETA_PUSH(out->env, out->n_env, out->cap_env) =
				(struct greta_fact){greta_format("env.%s", name), greta_strdup(value)};
	}
	return 0;
}

/* A run that hung or failed has no times, and says so: "outcome":"hung". That it was good is for its result to show. */
static int read_outcome(const struct greta_json_val *o, struct result *out, struct greta_err *e)
{
	const char *name = text_of(o, "outcome");
	out->outcome = name ? greta_outcome_parse(name) : GRETA_OUTCOME_UNKNOWN;
	if (name && out->outcome == GRETA_OUTCOME_UNKNOWN)
		return greta_err_set(e, GRETA_EINVAL, "outcome \"%.40s\" is none (ok, hung, failed, timed_out, oom ...)", name);
	if (out->outcome == GRETA_OUTCOME_GOOD)
		out->outcome = GRETA_OUTCOME_UNKNOWN;
	return 0;
}

static int read_generic(const struct greta_json_val *o, struct result *out, struct greta_err *e)
{
	cleanup_buf struct greta_buf why = {0};
	const char *variant = text_of(o, "variant");
	double prefill_s;
	if (read_env(greta_json_get(o, "env"), out, e) || read_outcome(o, out, e))
		return -1;
	bool timed = greta_json_f64(greta_json_get(o, "prefill_s"), &prefill_s) == 0;
	if (!variant || greta_json_i64(greta_json_get(o, "context"), &out->context) || out->context < 1 ||
	    out->context > CONTEXT_MAX || (!timed && out->outcome == GRETA_OUTCOME_UNKNOWN))
		return greta_err_set(e, GRETA_EINVAL,
				     "neither a llama-bench test (\"n_prompt\", \"samples_ns\") nor a result"
				     " ({\"variant\":\"x\",\"context\":4096,\"prefill_s\":1.2})");
	if (timed) {
		struct greta_sample *s = GRETA_PUSH(out->samples.items, out->samples.n, out->samples.cap);
		greta_sample_read(s, o, &why);
		s->sample_no = 1;
	}
	out->variant = greta_strdup(variant);
	out->ended_ns = time_of(o);
	return 0;
}

/* ---- storing it */

static int64_t next_repeat(struct bench *b, const char *variant, int64_t context)
{
	for (size_t i = 0; i < b->n_cells; i++)
		if (b->cells[i].context == context && greta_str_eq(b->cells[i].variant, variant))
			return b->cells[i].n++;
	*GRETA_PUSH(b->cells, b->n_cells, b->cap_cells) = (struct seen_cell){greta_strdup(variant), context, 1};
	return 0;
}

static int end_attempt(struct bench *b, struct result *r, int64_t attempt_id, struct greta_err *e)
{
	cleanup_buf struct greta_buf why = {0};
	struct greta_contract contract = {.context = r->context, .samples = (int64_t)r->samples.n};
	struct greta_applied applied;
	struct greta_end end = {.wall_s = NAN, .cpu_user_s = NAN, .cpu_system_s = NAN, .peak_rss_bytes = -1,
				.samples = r->samples, .finished_wall_ns = r->ended_ns, .started_wall_ns = r->ended_ns};
	end.outcome = r->outcome;
	if (r->outcome == GRETA_OUTCOME_UNKNOWN)
		end.outcome = greta_result_judge(&end.samples, &contract, &end.tokens_verified, &why);
	end.reason = why.len ? why.data : NULL;
	b->summary->n_added++;
	b->summary->n_ok += end.outcome == GRETA_OUTCOME_GOOD;
	b->summary->n_invalid += end.outcome == GRETA_OUTCOME_INVALID;
	b->summary->n_failed += end.outcome != GRETA_OUTCOME_GOOD && end.outcome != GRETA_OUTCOME_INVALID;
	return greta_attempts_end(b->db, attempt_id, &end, &applied, e);
}

static int place(struct bench *b, const struct result *r, int64_t attempt_id, struct greta_err *e)
{
	struct greta_attempt_place where = {0};
	if (r->n_env == 0)
		return 0;
	if (greta_environments_add(b->db, 0, r->env, r->n_env, &where.environment_id, e))
		return -1;
	return greta_attempts_place(b->db, attempt_id, &where, e);
}

static int store(struct bench *b, struct result *r, const struct greta_json_val *o, struct greta_err *e)
{
	const char *variant = b->request->variants.n ? b->request->variants.items[0] : r->variant;
	int64_t repeat = next_repeat(b, variant, r->context), variant_id, job_id, attempt_id;
	cleanup_buf struct greta_buf text = {0};
	char key[GRETA_SHA256_HEX + 1];
	bool seen;
	greta_buf_addf(&text, "%lld\n%s\n%lld\n", (long long)b->summary->campaign_id, variant, (long long)repeat);
	greta_json_print(o, &text);
	greta_sha256_of(text.data, text.len, key);
	if (greta_imports_seen(b->db, key, &seen, e))
		return -1;
	if (seen) {
		b->summary->n_known++;
		return 0;
	}
	struct greta_new_attempt a = {.planned_ns = r->ended_ns};
	if (greta_campaigns_variant(b->db, b->summary->campaign_id, variant, NULL, &variant_id, e) ||
	    greta_jobs_ensure(b->db, b->summary->campaign_id, variant_id, r->context, repeat, &a.job_id, e))
		return -1;
	job_id = a.job_id;
	if (greta_attempts_plan(b->db, &a, &attempt_id, e) || place(b, r, attempt_id, e) || end_attempt(b, r, attempt_id, e) ||
	    greta_jobs_set_state(b->db, job_id, GRETA_JOB_DONE, NULL, e))
		return -1;
	return greta_imports_add(b->db, key, b->request->dir, b->summary->campaign_id, attempt_id, e);
}

/* llama-bench times generation as well (-n, -pg), and prompts behind a filled cache (-d). */
static bool is_no_prefill(const struct greta_json_val *test)
{
	int64_t n_prompt, n_gen = 0, n_depth = 0;
	greta_json_i64(greta_json_get(test, "n_gen"), &n_gen);
	greta_json_i64(greta_json_get(test, "n_depth"), &n_depth);
	return greta_json_i64(greta_json_get(test, "n_prompt"), &n_prompt) == 0 && (n_prompt == 0 || n_gen > 0 || n_depth > 0);
}

static int take(void *arg, const struct greta_json_val *o, struct greta_err *e)
{
	struct bench *b = arg;
	struct result r = {0};
	if (is_no_prefill(o)) {
		b->n_no_prefill++;
		return 0;
	}
	int rc = greta_json_get(o, "n_prompt") ? read_llama(o, &r, e) : read_generic(o, &r, e);
	if (rc == 0)
		rc = store(b, &r, o, e);
	result_release(&r);
	return rc;
}

/* ---- the file */

static int take_array(struct bench *b, const struct greta_buf *text, struct greta_err *e)
{
	struct greta_json *doc = greta_json_parse(b->request->dir, text->data, text->len, e);
	int rc = doc ? 0 : -1, line, column;
	const struct greta_json_val *o = doc ? greta_json_first(greta_json_root(doc)) : NULL;
	for (; rc == 0 && o; o = greta_json_next(o)) {
		rc = take(b, o, e);
		if (rc && e && e->code == GRETA_EINVAL) {
			greta_json_where(doc, o, &line, &column);
			greta_err_wrap(e, "%s:%d", b->request->dir, line);
		}
	}
	greta_json_destroy(doc);
	return rc;
}

static int take_lines(struct bench *b, const struct greta_buf *text, struct greta_err *e)
{
	int rc = 0, line_no = 0;
	for (const char *s = text->data, *end = text->data + text->len; rc == 0 && s < end;) {
		const char *newline = memchr(s, '\n', (size_t)(end - s));
		size_t n = newline ? (size_t)(newline - s) : (size_t)(end - s);
		line_no++;
		if (strspn(s, " \t\r") < n) {
			struct greta_json *doc = greta_json_parse("result", s, n, e);
			rc = doc ? take(b, greta_json_root(doc), e) : -1;
			greta_json_destroy(doc);
			if (rc)
				greta_err_wrap(e, "%s:%d", b->request->dir, line_no);
		}
		s += n + 1;
	}
	return rc;
}

static int find_campaign(struct bench *b, struct greta_err *e)
{
	const char *slash = strrchr(b->request->dir, '/'), *name = b->request->name;
	char uuid[GRETA_UUID_LEN + 1];
	struct greta_new_campaign c = {
		.name = name ? name : slash ? slash + 1 : b->request->dir,
		.text = "{}",
		.mode = greta_str_eq(b->request->mode, "debug") ? GRETA_MODE_DEBUG : GRETA_MODE_PERF,
		.kind = GRETA_CAMPAIGN_IMPORT,
	};
	if (greta_imports_campaign(b->db, c.name, &b->summary->campaign_id, e))
		return -1;
	return b->summary->campaign_id ? 0 : greta_campaigns_add(b->db, &c, &b->summary->campaign_id, uuid, e);
}

static int refuse_nothing(const struct bench *b, struct greta_err *e)
{
	if (b->summary->n_added + b->summary->n_known)
		return 0;
	if (b->n_no_prefill)
		return greta_err_set(e, GRETA_EINVAL,
				     "%s holds no prefill: all its llama-bench tests generate tokens or begin behind a filled cache (run it"
				     " with -n 0 -d 0)",
				     b->request->dir);
	return greta_err_set(e, GRETA_EINVAL, "%s holds no result", b->request->dir);
}

static void note_left_out(struct bench *b)
{
	if (b->n_no_prefill)
		greta_buf_addf(&b->summary->notes,
			       "llama-bench tests left out, since they generate tokens or begin behind a filled cache: %lld\n",
			       (long long)b->n_no_prefill);
}

static int take_file(struct bench *b, const char *begin, const struct greta_buf *text, struct greta_err *e)
{
	if (llama_sql_is(begin))
		return llama_sql_read(text, b->request->dir, take, b, e);
	return *begin == '[' ? take_array(b, text, e) : take_lines(b, text, e);
}

static int take_all(struct bench *b, const struct greta_buf *text, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	const char *s = greta_buf_str(text);
	while (isspace((unsigned char)*s))
		s++;
	if (s == greta_buf_str(text) + text->len)
		return greta_err_set(e, GRETA_EINVAL, "%s is empty", b->request->dir);
	if (greta_txn_begin(b->db, &txn, e) || find_campaign(b, e) || take_file(b, s, text, e) || refuse_nothing(b, e) ||
	    validity_judge(b->db, b->summary->campaign_id, NULL, e) ||
	    greta_campaigns_finish(b->db, b->summary->campaign_id, e) || greta_actions_add(b->db, NULL, "import", NULL, e))
		return -1;
	note_left_out(b);
	return greta_txn_commit(&txn, e);
}

int import_bench(struct greta_db *db, const struct import_request *r, struct import_summary *out, struct greta_err *e)
{
	struct bench b = {.db = db, .request = r, .summary = out};
	cleanup_buf struct greta_buf text = {0};
	*out = (struct import_summary){0};
	int rc = greta_fs_read(r->dir, FILE_MAX, &text, e);
	if (rc == 0)
		rc = take_all(&b, &text, e);
	for (size_t i = 0; i < b.n_cells; i++)
		free(b.cells[i].variant);
	free(b.cells);
	return rc;
}
