#include "orchestrator/import/import.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "db/attempts.h"
#include "db/campaigns.h"
#include "db/db.h"
#include "db/jobs.h"
#include "db/logs.h"
#include "db/records.h"
#include "orchestrator/analysis/validity.h"
#include "orchestrator/import/b389.h"
#include "schemas/campaign.h"
#include "schemas/result.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LOG_BYTES (64 << 20)

struct import {
	struct greta_db *db;
	const struct import_request *request;
	struct import_summary *summary;
	struct b389_tree tree;
	struct planned {
		char *name, *attn_impl; /* attn_impl NULL: nothing is expected */
	} *planned;
	size_t n_planned, cap_planned;
};

/* What B3.89 called its variants, and the kernel of each that is known by name: for flat trees, which do not say. */
#define B389_BASELINE "baseline"
#define B389_BASELINE_ATTN "flash_v2_naive"

static void plan_variants(struct import *im)
{
	for (size_t i = 0; i < im->request->variants.n; i++) {
		const char *text = im->request->variants.items[i];
		const char *eq = strchr(text, '=');
		struct planned *p = GRETA_PUSH(im->planned, im->n_planned, im->cap_planned);
		p->name = eq ? greta_strndup(text, (size_t)(eq - text)) : greta_strdup(text);
		p->attn_impl = eq ? greta_strdup(eq + 1) : NULL;
		if (!p->attn_impl && greta_str_eq(p->name, B389_BASELINE))
			p->attn_impl = greta_strdup(B389_BASELINE_ATTN);
	}
}

static const char *attn_of(const struct b389_run *r)
{
	const struct greta_metric *m = r->samples.n ? greta_sample_get(&r->samples.items[0], "attn_impl") : NULL;
	return m ? m->text : NULL;
}

/* A flat tree names no variant: the planned one that expects this kernel, else the baseline for the baseline's kernel,
 * else the kernel's own name. */
static const char *variant_of(const struct import *im, const struct b389_run *r)
{
	const char *attn = attn_of(r);
	if (r->variant)
		return r->variant;
	for (size_t i = 0; i < im->n_planned; i++)
		if (attn && greta_str_eq(im->planned[i].attn_impl, attn))
			return im->planned[i].name;
	if (!attn || greta_str_eq(attn, B389_BASELINE_ATTN))
		return B389_BASELINE;
	return attn;
}

static const char *expected_attn(const struct import *im, const char *variant)
{
	for (size_t i = 0; i < im->n_planned; i++)
		if (greta_str_eq(im->planned[i].name, variant))
			return im->planned[i].attn_impl;
	return NULL;
}

/* ---- the campaign and its cells */

static char *campaign_name(const struct import *im)
{
	if (im->request->name)
		return greta_strdup(im->request->name);
	if (im->tree.ticket)
		return greta_strdup(im->tree.ticket);
	cleanup_free char *path = realpath(im->tree.root, NULL);
	const char *slash = path ? strrchr(path, '/') : NULL;
	return greta_strdup(slash && slash[1] ? slash + 1 : "import");
}

static enum greta_mode campaign_mode(const struct import *im)
{
	const char *mode = im->request->mode;
	for (size_t i = 0; !mode && i < im->tree.n_runs; i++)
		mode = im->tree.runs[i].mode;
	return greta_str_eq(mode, "debug") ? GRETA_MODE_DEBUG : GRETA_MODE_PERF;
}

static int find_or_add_campaign(struct import *im, struct greta_err *e)
{
	cleanup_free char *name = campaign_name(im);
	enum greta_mode mode = campaign_mode(im);
	/* Times of the two modes are never compared, so they are never in one campaign. */
	if (mode == GRETA_MODE_DEBUG && !greta_str_ends(name, "-debug")) {
		char *longer = greta_format("%s-debug", name);
		free(name);
		name = longer;
	}
	if (greta_imports_campaign(im->db, name, &im->summary->campaign_id, e))
		return -1;
	if (im->summary->campaign_id)
		return 0;
	cleanup_free char *path = realpath(im->tree.root, NULL);
	struct greta_new_campaign c = {
		.name = name,
		.text = "{}",
		.mode = mode,
		.kind = GRETA_CAMPAIGN_IMPORT,
		.base_dir = path,
	};
	char uuid[GRETA_UUID_LEN + 1];
	return greta_campaigns_add(im->db, &c, &im->summary->campaign_id, uuid, e);
}

static int ensure_job(struct import *im, const char *variant, int64_t context, int64_t repeat, int64_t *job_id,
		      struct greta_err *e)
{
	int64_t variant_id;
	if (greta_campaigns_variant(im->db, im->summary->campaign_id, variant, NULL, &variant_id, e))
		return -1;
	return greta_jobs_ensure(im->db, im->summary->campaign_id, variant_id, context, repeat, job_id, e);
}

/* ---- one run */

static void note_vram(const struct import *im, const struct b389_run *r, struct greta_samples *samples)
{
	int64_t peak = r->has_vram ? b389_peak_vram(&im->tree, r) : -1;
	if (peak >= 0 && samples->n)
		greta_sample_set_number(&samples->items[0], "peak_vram_bytes", (double)peak);
}

/* Out of memory has a line of its own in diag.txt (the kernel's) or in the log (the runtime's). */
static enum greta_outcome failure_of(const struct import *im, const struct b389_run *r, struct greta_buf *why)
{
	static const char *const oom_lines[] = {"Out of memory: Killed process", "oom-kill", "hipErrorOutOfMemory",
						"out of memory"};
	static const char *const files[] = {"diag.txt", "run.log"};
	for (size_t f = 0; f < GRETA_COUNT(files); f++) {
		cleanup_buf struct greta_buf text = {0};
		if (b389_read_text(&im->tree, r, files[f], MAX_LOG_BYTES, &text, NULL))
			continue;
		for (size_t i = 0; i < GRETA_COUNT(oom_lines); i++) {
			const char *at = strstr(greta_buf_str(&text), oom_lines[i]);
			if (!at)
				continue;
			greta_buf_addf(why, "%s: %.*s", files[f], (int)strcspn(at, "\r\n"), at);
			return GRETA_OUTCOME_OOM;
		}
	}
	if (r->exit_code == 124) {
		greta_buf_adds(why, "the executor's timeout ended it (exit 124)");
		return GRETA_OUTCOME_TIMED_OUT;
	}
	greta_buf_addf(why, "exit_status %s", r->exit_status ? r->exit_status : "missing");
	if (r->exit_code >= 0)
		greta_buf_addf(why, ", exit %d", r->exit_code);
	return GRETA_OUTCOME_FAILED;
}

static void judge(const struct import *im, const struct b389_run *r, struct greta_end *end, struct greta_buf *why)
{
	const char *expected = expected_attn(im, variant_of(im, r));
	struct greta_expect expect = {(char *)"attn_impl", (char *)expected};
	struct greta_contract contract = {
		.context = r->context,
		.samples = 1,
		.wall_s = isnan(r->wall_s) ? 0 : r->wall_s,
		.expect = expected ? &expect : NULL,
		.n_expect = expected ? 1 : 0,
	};
	if (r->failed)
		end->outcome = failure_of(im, r, why);
	else
		end->outcome = greta_result_judge(&end->samples, &contract, &end->tokens_verified, why);
}

static int store_text(struct import *im, const struct b389_run *r, const char *file, enum greta_stream stream,
		      int64_t attempt_id, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};
	if (b389_read_text(&im->tree, r, file, MAX_LOG_BYTES, &text, e))
		return -1;
	return text.len ? greta_logs_add(im->db, attempt_id, stream, text.data, text.len, e) : 0;
}

static void count(struct import_summary *s, enum greta_outcome outcome)
{
	s->n_added++;
	s->n_ok += outcome == GRETA_OUTCOME_GOOD;
	s->n_invalid += outcome == GRETA_OUTCOME_INVALID;
	s->n_failed += outcome != GRETA_OUTCOME_GOOD && outcome != GRETA_OUTCOME_INVALID;
}

static int end_attempt(struct import *im, struct b389_run *r, int64_t attempt_id, struct greta_err *e)
{
	cleanup_buf struct greta_buf why = {0};
	struct greta_end end = {
		.exit_code = r->failed ? r->exit_code : 0,
		.wall_s = r->wall_s,
		.cpu_user_s = NAN,
		.cpu_system_s = NAN,
		.peak_rss_bytes = -1,
		.samples = r->samples,
		.started_wall_ns = r->started_ns,
		.finished_wall_ns = r->ended_ns,
	};
	note_vram(im, r, &end.samples);
	judge(im, r, &end, &why);
	end.reason = why.len ? (char *)greta_buf_str(&why) : NULL;
	struct greta_applied applied;
	if (greta_attempts_end(im->db, attempt_id, &end, &applied, e))
		return -1;
	r->samples = end.samples; /* note_vram may have moved them */
	count(im->summary, end.outcome);
	if (end.outcome == GRETA_OUTCOME_INVALID)
		greta_buf_addf(&im->summary->notes, "%s: invalid: %s\n", r->dir, end.reason);
	if (end.outcome == GRETA_OUTCOME_GOOD && !end.tokens_verified)
		greta_buf_addf(&im->summary->notes, "%s: the log does not say how many tokens were prefilled\n",
			       r->dir);
	return 0;
}

/* The same result at the same place in the same campaign is the same run. */
static char *run_key(const struct import *im, const struct b389_run *r, char out[GRETA_SHA256_HEX + 1])
{
	cleanup_buf struct greta_buf text = {0};
	greta_buf_addf(&text, "%lld\n%s\n%s\n%lld\n%lld\n", (long long)im->summary->campaign_id, r->sha256,
		       variant_of(im, r), (long long)r->context, (long long)r->repeat);
	return greta_sha256_of(text.data, text.len, out);
}

static int import_run(struct import *im, struct b389_run *r, struct greta_err *e)
{
	char key[GRETA_SHA256_HEX + 1];
	bool seen;
	int64_t job_id, attempt_id;
	run_key(im, r, key);
	if (greta_imports_seen(im->db, key, &seen, e))
		return -1;
	if (seen) {
		im->summary->n_known++;
		return 0;
	}
	struct greta_new_attempt a = {.planned_ns = r->started_ns};
	if (ensure_job(im, variant_of(im, r), r->context, r->repeat, &job_id, e))
		return -1;
	a.job_id = job_id;
	if (greta_attempts_plan(im->db, &a, &attempt_id, e) ||
	    store_text(im, r, "run.log", GRETA_STREAM_OUT, attempt_id, e) ||
	    store_text(im, r, "diag.txt", GRETA_STREAM_ERR, attempt_id, e) ||
	    greta_logs_seal(im->db, attempt_id, e) || end_attempt(im, r, attempt_id, e))
		return -1;
	if (greta_jobs_set_state(im->db, job_id, GRETA_JOB_DONE, NULL, e))
		return -1;
	return greta_imports_add(im->db, key, r->dir, im->summary->campaign_id, attempt_id, e);
}

/* ---- cells that never ran */

static int mark_never_ran(struct import *im, const char *variant, int64_t context, int64_t repeat, const char *reason,
			  struct greta_err *e)
{
	int64_t job_id;
	struct greta_job_row job;
	if (ensure_job(im, variant, context, repeat, &job_id, e) || greta_jobs_get(im->db, job_id, &job, e))
		return -1;
	if (job.n_attempts || job.state == GRETA_JOB_SKIPPED)
		return 0;
	return greta_jobs_set_state(im->db, job_id, GRETA_JOB_SKIPPED, reason, e);
}

/* Every planned variant at every context and repeat that any variant ran. */
static int import_planned(struct import *im, struct greta_err *e)
{
	for (size_t v = 0; v < im->n_planned; v++)
		for (size_t i = 0; i < im->tree.n_runs; i++)
			if (mark_never_ran(im, im->planned[v].name, im->tree.runs[i].context, im->tree.runs[i].repeat,
					   "planned, but the tree has no run of it", e))
				return -1;
	return 0;
}

static int import_skips(struct import *im, struct greta_err *e)
{
	for (size_t i = 0; i < im->tree.n_skips; i++) {
		const struct b389_skip *s = &im->tree.skips[i];
		const char *reason = s->reason ? s->reason : "skipped by the executor";
		if (mark_never_ran(im, s->variant ? s->variant : B389_BASELINE, s->context, s->repeat, reason, e))
			return -1;
	}
	return 0;
}

static int count_never_ran(struct import *im, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		im->db, e,
		"SELECT count(*) FROM job WHERE campaign_id = ? AND NOT EXISTS (SELECT 1 FROM attempt WHERE job_id = job.id)",
		"i", im->summary->campaign_id);
	if (!q || greta_query_step(q, e) < 0)
		return -1;
	im->summary->n_never_ran = greta_query_i64(q, 0);
	return 0;
}

/* No campaign is left behind by a tree of which nothing could be read. */
static int refuse_nothing(const struct import *im, struct greta_err *e)
{
	const char *notes = greta_buf_str(&im->summary->notes);
	if (im->summary->n_added + im->summary->n_known + im->summary->n_never_ran)
		return 0;
	return greta_err_set(e, GRETA_EINVAL, "%s: none of its runs can be read: %.*s", im->tree.root, (int)strcspn(notes, "\n"), notes);
}

static int import_all(struct import *im, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	if (greta_txn_begin(im->db, &txn, e) || find_or_add_campaign(im, e))
		return -1;
	for (size_t i = 0; i < im->tree.n_runs; i++)
		if (import_run(im, &im->tree.runs[i], e))
			return greta_err_wrap(e, "%s/%s", im->tree.root, im->tree.runs[i].dir);
	/* What the executor said of a cell comes first: it knows why. */
	if (import_skips(im, e) || import_planned(im, e) || count_never_ran(im, e) || refuse_nothing(im, e) ||
	    validity_judge(im->db, im->summary->campaign_id, NULL, e) ||
	    greta_campaigns_finish(im->db, im->summary->campaign_id, e) ||
	    greta_actions_add(im->db, NULL, "import", NULL, e))
		return -1;
	return greta_txn_commit(&txn, e);
}

int import_tree(struct greta_db *db, const struct import_request *r, struct import_summary *out, struct greta_err *e)
{
	struct import im = {.db = db, .request = r, .summary = out};
	struct greta_problems problems = {0};
	*out = (struct import_summary){0};
	plan_variants(&im);
	int rc = b389_read(r->dir, &im.tree, &problems, e);
	if (rc == 0) {
		greta_problems_print(&problems, r->dir, &out->notes);
		rc = import_all(&im, e);
	}
	greta_problems_release(&problems);
	b389_release(&im.tree);
	for (size_t i = 0; i < im.n_planned; i++) {
		free(im.planned[i].name);
		free(im.planned[i].attn_impl);
	}
	free(im.planned);
	return rc;
}

void import_summary_release(struct import_summary *s)
{
	greta_buf_release(&s->notes);
}
