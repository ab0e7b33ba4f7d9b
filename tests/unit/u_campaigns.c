#include "tests/unit/db_help.h"

#include "base/sha256.h"
#include "base/str.h"

static void test_campaigns__stored_whole(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_campaign_row row;
	struct greta_variant_rows variants = {0};
	char sha256[GRETA_SHA256_HEX + 1];

	assert_ok(greta_campaigns_get(h->db, h->campaign_id, &row, &e));
	assert_string_equal(row.name, "c");
	assert_string_equal(row.text, "{\"name\":\"c\"}");
	assert_string_equal(row.text_sha256, greta_sha256_of(row.text, strlen(row.text), sha256));
	assert_int_equal(row.state, GRETA_CAMPAIGN_ACTIVE);
	assert_int_equal(row.mode, GRETA_MODE_PERF);
	assert_true(row.submitted_ns > 0);
	assert_int_equal(row.finished_ns, 0);
	greta_campaign_row_release(&row);
	assert_ok(greta_campaigns_variants(h->db, h->campaign_id, &variants, &e));
	assert_int_equal(variants.n, 2);
	assert_string_equal(variants.items[0].detail, "{}");
	assert_string_equal(variants.items[1].name, "v3");
	greta_variant_rows_release(&variants);
	assert_fails(greta_campaigns_get(h->db, 99, &row, &e), GRETA_ENOENT);
}

static void test_campaigns__a_job_twice_is_refused_and_nothing_stays(void **state)
{
	static const struct greta_new_variant variants[] = {{"v", NULL}};
	static const struct greta_new_job jobs[] = {{0, 4096, 0, 0}, {0, 8192, 0, 0}, {0, 4096, 0, 0}};
	static const struct greta_new_job stray[] = {{1, 4096, 0, 0}};
	struct greta_new_campaign c = {
		.name = "twice", .text = "{}", .variants = variants, .n_variants = 1, .jobs = jobs, .n_jobs = 3};
	struct help *h = *state;
	struct greta_err e = {0};
	char uuid[GRETA_UUID_LEN + 1];
	int64_t id;

	assert_fails(greta_campaigns_add(h->db, &c, &id, uuid, &e), GRETA_EEXIST);
	assert_non_null(strstr(e.text, "variant v, context 4096, repeat 0"));
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM campaign"), 1);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM variant"), 2);
	c.jobs = stray;
	c.n_jobs = 1;
	assert_fails(greta_campaigns_add(h->db, &c, &id, uuid, &e), GRETA_EINVAL);
}

static void test_campaigns__found_by_what_a_person_types(void **state)
{
	struct help *h = *state, second = **(struct help **)state;
	struct greta_err e = {0};
	char start[9];
	int64_t id;

	help_campaign(&second, "c");
	assert_ok(greta_campaigns_find(h->db, NULL, &id, &e));
	assert_int_equal(id, second.campaign_id);
	assert_ok(greta_campaigns_find(h->db, "latest", &id, &e));
	assert_int_equal(id, second.campaign_id);
	assert_ok(greta_campaigns_find(h->db, "c", &id, &e)); /* the newest of that name */
	assert_int_equal(id, second.campaign_id);
	assert_ok(greta_campaigns_find(h->db, "1", &id, &e));
	assert_int_equal(id, h->campaign_id);
	assert_ok(greta_campaigns_find(h->db, h->uuid, &id, &e));
	assert_int_equal(id, h->campaign_id);
	snprintf(start, sizeof start, "%.8s", h->uuid);
	assert_ok(greta_campaigns_find(h->db, start, &id, &e));
	assert_int_equal(id, h->campaign_id);
	assert_fails(greta_campaigns_find(h->db, "d", &id, &e), GRETA_ENOENT);
	assert_non_null(strstr(e.text, "no campaign \"d\" in x.db; there are: c"));
}

static void test_campaigns__an_empty_database_says_so(void **state)
{
	struct greta_err e = {0};
	struct greta_db *db = greta_db_open_writer("fresh.db", &e);
	int64_t id;

	(void)state;
	assert_fails(greta_campaigns_find(db, NULL, &id, &e), GRETA_ENOENT);
	assert_non_null(strstr(e.text, "holds no campaign yet"));
	greta_db_close(db);
}

static void test_campaigns__active_by_priority(void **state)
{
	struct help *h = *state, later = **(struct help **)state;
	struct greta_campaign_rows rows = {0};
	struct greta_err e = {0};

	help_campaign(&later, "urgent");
	assert_ok(greta_db_exec(h->db, &e, "UPDATE campaign SET priority = 5 WHERE id = ?", "i", later.campaign_id));
	assert_ok(greta_campaigns_active(h->db, &rows, &e));
	assert_int_equal(rows.n, 2);
	assert_string_equal(rows.items[0].name, "urgent");
	greta_campaign_rows_release(&rows);
	assert_ok(greta_campaigns_finish(h->db, later.campaign_id, &e));
	assert_ok(greta_campaigns_active(h->db, &rows, &e));
	assert_int_equal(rows.n, 1);
	greta_campaign_rows_release(&rows);
	assert_ok(greta_campaigns_list(h->db, 1, &rows, &e));
	assert_int_equal(rows.n, 1);
	assert_string_equal(rows.items[0].name, "urgent");
	assert_int_equal(rows.items[0].state, GRETA_CAMPAIGN_DONE);
	assert_true(rows.items[0].finished_ns > 0);
	greta_campaign_rows_release(&rows);
	assert_fails(greta_campaigns_finish(h->db, 99, &e), GRETA_ENOENT);
}

static void test_campaigns__cancel_takes_what_is_queued(void **state)
{
	struct help *h = *state;
	struct greta_campaign_counts counts;
	struct greta_err e = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	help_good(h, id, 1, "a", NULL);
	assert_ok(greta_jobs_set_state(h->db, h->jobs[0], GRETA_JOB_DONE, NULL, &e));
	help_attempt(h, h->jobs[1]);
	assert_ok(greta_campaigns_cancel(h->db, h->campaign_id, "by alice", &e));
	assert_ok(greta_campaigns_counts(h->db, h->campaign_id, &counts, &e));
	assert_int_equal(counts.n_jobs, 8);
	assert_int_equal(counts.by_state[GRETA_JOB_DONE], 1);
	assert_int_equal(counts.by_state[GRETA_JOB_RUNNING], 1);
	assert_int_equal(counts.by_state[GRETA_JOB_CANCELLED], 6);
	assert_int_equal(counts.n_counted, 1);
	assert_int_equal(counts.attempts[GRETA_OUTCOME_GOOD], 1);
	assert_int_equal(counts.attempts[GRETA_OUTCOME_UNKNOWN], 0);
	assert_string_equal(help_str(h->db, "SELECT reason FROM cell WHERE state = 'cancelled' LIMIT 1"), "by alice");
}

/* ---- jobs */

static void test_jobs__come_in_order_page_by_page(void **state)
{
	struct help *h = *state;
	struct greta_job_rows rows = {0};
	struct greta_err e = {0};

	assert_ok(greta_jobs_set_state(h->db, h->jobs[1], GRETA_JOB_SKIPPED, "not built", &e));
	assert_ok(greta_jobs_next(h->db, h->campaign_id, GRETA_JOB_QUEUED, -1, 3, &rows, &e));
	assert_int_equal(rows.n, 3);
	assert_int_equal(rows.items[0].id, h->jobs[0]);
	assert_int_equal(rows.items[1].id, h->jobs[2]);
	assert_int_equal(rows.items[2].block, 0);
	assert_ok(greta_jobs_next(h->db, h->campaign_id, GRETA_JOB_QUEUED, rows.items[2].position, 100, &rows, &e));
	assert_int_equal(rows.n, 7);
	assert_int_equal(rows.items[6].id, h->jobs[7]);
	assert_int_equal(rows.items[6].block, 1);
	greta_job_rows_release(&rows);
	assert_ok(greta_jobs_next(h->db, h->campaign_id, GRETA_JOB_SKIPPED, -1, 100, &rows, &e));
	assert_int_equal(rows.n, 1);
	greta_job_rows_release(&rows);
}

static void test_jobs__planning_makes_them_run(void **state)
{
	struct help *h = *state;
	struct greta_job_row row;
	struct greta_err e = {0};

	help_attempt(h, h->jobs[2]);
	help_attempt(h, h->jobs[2]);
	assert_ok(greta_jobs_get(h->db, h->jobs[2], &row, &e));
	assert_int_equal(row.state, GRETA_JOB_RUNNING);
	assert_int_equal(row.n_attempts, 2);
	assert_int_equal(help_i64(h->db, "SELECT max(try_no) FROM attempt"), 2);
	assert_fails(greta_jobs_get(h->db, 99, &row, &e), GRETA_ENOENT);
	assert_fails(greta_jobs_set_state(h->db, 99, GRETA_JOB_DONE, NULL, &e), GRETA_ENOENT);
}

static void test_jobs__tries_are_told_by_outcome(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t n[GRETA_OUTCOME_COUNT];

	assert_ok(greta_attempts_end_here(h->db, help_attempt(h, h->jobs[0]), GRETA_OUTCOME_LOST, NULL, NULL, &e));
	assert_ok(greta_attempts_end_here(h->db, help_attempt(h, h->jobs[0]), GRETA_OUTCOME_LOST, NULL, NULL, &e));
	assert_ok(greta_attempts_end_here(h->db, help_attempt(h, h->jobs[0]), GRETA_OUTCOME_INFRA, "upload", NULL, &e));
	help_attempt(h, h->jobs[0]);
	assert_ok(greta_jobs_tries(h->db, h->jobs[0], n, &e));
	assert_int_equal(n[GRETA_OUTCOME_LOST], 2);
	assert_int_equal(n[GRETA_OUTCOME_INFRA], 1);
	assert_int_equal(n[GRETA_OUTCOME_UNKNOWN], 0);
}

static void test_jobs__cancel_by_cell(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t n;

	assert_ok(greta_jobs_cancel(h->db, h->campaign_id, "v3", 4096, 1, "why", &n, &e));
	assert_int_equal(n, 1);
	assert_ok(greta_jobs_cancel(h->db, h->campaign_id, "v3", 4096, -1, "why", &n, &e));
	assert_int_equal(n, 1);
	assert_ok(greta_jobs_cancel(h->db, h->campaign_id, "base", 0, -1, "why", &n, &e));
	assert_int_equal(n, 4);
	assert_ok(greta_jobs_cancel(h->db, h->campaign_id, "none", 0, -1, "why", &n, &e));
	assert_int_equal(n, 0);
}

static void test_jobs__an_import_adds_what_is_not_there(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t variant, again, job, same;

	assert_ok(greta_campaigns_variant(h->db, h->campaign_id, "v4", "{\"x\":1}", &variant, &e));
	assert_ok(greta_campaigns_variant(h->db, h->campaign_id, "v4", NULL, &again, &e));
	assert_int_equal(variant, again);
	assert_ok(greta_jobs_ensure(h->db, h->campaign_id, variant, 4096, 0, &job, &e));
	assert_ok(greta_jobs_ensure(h->db, h->campaign_id, variant, 4096, 0, &same, &e));
	assert_int_equal(job, same);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM cell"), 9);
	assert_int_equal(help_i64(h->db, "SELECT max(position) FROM cell"), 8);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
	const struct CMUnitTest tests[] = {
		T(test_campaigns__stored_whole),
		T(test_campaigns__a_job_twice_is_refused_and_nothing_stays),
		T(test_campaigns__found_by_what_a_person_types),
		T(test_campaigns__an_empty_database_says_so),
		T(test_campaigns__active_by_priority),
		T(test_campaigns__cancel_takes_what_is_queued),
		T(test_jobs__come_in_order_page_by_page),
		T(test_jobs__planning_makes_them_run),
		T(test_jobs__tries_are_told_by_outcome),
		T(test_jobs__cancel_by_cell),
		T(test_jobs__an_import_adds_what_is_not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
