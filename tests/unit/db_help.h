/* db_help: a small database to test with: one campaign `c` of variants `base` and `v3`, contexts 4096 and 8192, two
 * repeats each. */
#ifndef TESTS_UNIT_DB_HELP_H
#define TESTS_UNIT_DB_HELP_H

#include "tests/unit/unit.h"

#include "base/mem.h"
#include "db/attempts.h"
#include "db/campaigns.h"
#include "db/db.h"
#include "db/jobs.h"
#include "schemas/msg.h"
#include <math.h>
#include <string.h>

struct help {
	struct greta_db *db;
	int64_t campaign_id;
	char uuid[GRETA_UUID_LEN + 1];
	int64_t jobs[8]; /* in its order: base 4096, base 8192, v3 4096, v3 8192, then their second repeats */
	int64_t seq;     /* of the last event that help_event made */
};

/* The statement, at its first row. */
static inline struct greta_query *help_row(struct greta_db *db, const char *sql)
{
	struct greta_err e = {0};
	struct greta_query *q = greta_query_open(db, &e, sql, "");

	if (!q || greta_query_step(q, &e) != 1)
		fail_msg("%s: %s", sql, e.text);
	return q;
}

static inline int64_t help_i64(struct greta_db *db, const char *sql)
{
	struct greta_query *q = help_row(db, sql);
	int64_t v = greta_query_i64(q, 0);

	greta_query_close(q);
	return v;
}

static inline double help_f64(struct greta_db *db, const char *sql)
{
	struct greta_query *q = help_row(db, sql);
	double v = greta_query_f64(q, 0);

	greta_query_close(q);
	return v;
}

/* "" for NULL. The string stays until the next call. */
static inline const char *help_str(struct greta_db *db, const char *sql)
{
	static char text[4096];
	struct greta_query *q = help_row(db, sql);
	const char *s = greta_query_str(q, 0);

	snprintf(text, sizeof text, "%s", s ? s : "");
	greta_query_close(q);
	return text;
}

static inline void help_open(struct help *h, const char *path)
{
	struct greta_err e = {0};

	h->db = greta_db_open_writer(path, &e);
	if (!h->db)
		fail_msg("%s", e.text);
}

static inline void help_campaign(struct help *h, const char *name)
{
	static const struct greta_new_variant variants[] = {{"base", NULL}, {"v3", "{\"args\":[\"--x\"]}"}};
	struct greta_new_job jobs[8];
	struct greta_new_campaign c = {.name = name, .text = "{\"name\":\"c\"}", .variants = variants, .n_variants = 2,
				       .jobs = jobs, .n_jobs = 8};
	struct greta_job_rows rows = {0};
	struct greta_err e = {0};

	for (size_t i = 0; i < 8; i++)
		jobs[i] = (struct greta_new_job){.variant = i / 2 % 2, .context = i % 2 ? 8192 : 4096,
						 .repeat = (int64_t)(i / 4), .block = (int64_t)(i / 4)};
	assert_ok(greta_campaigns_add(h->db, &c, &h->campaign_id, h->uuid, &e));
	assert_ok(greta_jobs_next(h->db, h->campaign_id, GRETA_JOB_QUEUED, -1, 100, &rows, &e));
	assert_int_equal(rows.n, 8);
	for (size_t i = 0; i < 8; i++)
		h->jobs[i] = rows.items[i].id;
	greta_job_rows_release(&rows);
}

static inline int64_t help_attempt(struct help *h, int64_t job_id)
{
	const struct greta_new_attempt a = {.job_id = job_id, .spec = "{\"argv\":[\"x\"]}"};
	struct greta_err e = {0};
	int64_t id;

	h->seq = 0;
	assert_ok(greta_attempts_plan(h->db, &a, &id, &e));
	return id;
}

/* One event; detail and bytes are borrowed. seq 0: the one that is due. */
static inline int help_event(struct help *h, int64_t attempt_id, int64_t seq, enum greta_event_kind kind,
			     const char *detail, const char *bytes, struct greta_applied *out, struct greta_err *e)
{
	struct greta_event ev = {.seq = seq, .kind = kind, .wall_ns = 1770888600000000000, .boot_ns = 5,
				 .detail = (char *)(uintptr_t)detail, .bytes = (char *)(uintptr_t)bytes,
				 .n_bytes = bytes ? strlen(bytes) : 0};

	if (seq == 0)
		ev.seq = h->seq + 1;
	h->seq = ev.seq;
	return greta_attempts_apply(h->db, attempt_id, &ev, out, e);
}

/* An outcome with one timed sample. logits: NULL: not said. */
static inline struct greta_applied help_good(struct help *h, int64_t attempt_id, double prefill_s, const char *attn,
					     const char *logits)
{
	struct greta_sample sample = {.sample_no = 1};
	struct greta_end end = {.outcome = GRETA_OUTCOME_GOOD, .exit_code = 0, .wall_s = prefill_s + 1,
				.cpu_user_s = NAN, .cpu_system_s = NAN, .peak_rss_bytes = 1 << 20, .tokens_verified = 1,
				.samples = {&sample, 1, 1}, .started_wall_ns = 1770888600000000000,
				.finished_wall_ns = 1770888700000000000};
	cleanup_buf struct greta_buf text = {0};
	struct greta_applied out;
	struct greta_err e = {0};

	greta_sample_set_number(&sample, "prefill_s", prefill_s);
	greta_sample_set_number(&sample, "model_load_s", 1.5);
	greta_sample_set_text(&sample, "attn_impl", attn);
	if (logits)
		greta_sample_set_text(&sample, "logits_sha256", logits);
	greta_end_print(&end, &text);
	greta_sample_release(&sample);
	assert_ok(help_event(h, attempt_id, 0, GRETA_EVENT_OUTCOME, text.data, NULL, &out, &e));
	assert_int_equal(out.what, GRETA_APPLY_ENDED);
	return out;
}

/* In a folder of its own: a database `x.db` with the campaign. */
static inline int help_setup(void **state)
{
	struct help *h = greta_alloc(sizeof *h);
	void *dir = NULL;

	if (unit_tmp_create(&dir))
		return -1;
	free(dir); /* the working folder tells it */
	help_open(h, "x.db");
	help_campaign(h, "c");
	*state = h;
	return 0;
}

static inline int help_teardown(void **state)
{
	struct help *h = *state;
	void *dir = getcwd(NULL, 0);

	greta_db_close(h->db);
	free(h);
	return unit_tmp_remove(&dir);
}

#endif
