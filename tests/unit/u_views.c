#include "tests/unit/db_help.h"

#include "base/child.h"
#include "base/str.h"
#include "db/nodes.h"
#include "db/records.h"
#include "db/validity.h"
#include <math.h>

#ifndef GRETA_LIB
#error "the build says where greta_sqlite.so is"
#endif

/* ---- a database like the one of the B3.89 report: baseline at three contexts, v3 killed, v4 never run; and the same
 * baseline two days later, slower, with another driver */

static int64_t add_campaign(struct help *h, const char *name, const char *const *variants, size_t n_variants,
			    int64_t repeats)
{
	static const int64_t contexts[] = {4096, 8192, 16384};
	struct greta_new_variant v[3] = {0};
	struct greta_new_job jobs[32];
	struct greta_new_campaign c = {
		.name = name, .text = "{}", .variants = v, .n_variants = n_variants, .jobs = jobs};
	struct greta_err e = {0};
	char uuid[GRETA_UUID_LEN + 1];
	int64_t id;

	for (size_t i = 0; i < n_variants; i++)
		v[i].name = variants[i];
	for (int64_t r = 0; r < repeats; r++)
		for (size_t i = 0; i < n_variants; i++)
			for (size_t k = 0; k < 3; k++)
				jobs[c.n_jobs++] = (struct greta_new_job){i, contexts[k], r, r};
	assert_ok(greta_campaigns_add(h->db, &c, &id, uuid, &e));
	return id;
}

static int64_t environment(struct help *h, int64_t alias, const char *driver)
{
	struct greta_facts facts = {0};
	struct greta_node_ids ids;
	struct greta_err e = {0};
	char text[512];

	snprintf(text, sizeof text,
		 "{\"node_id\":\"key\",\"devices\":[{\"uuid\":\"GPU-0\",\"kind\":\"amd\",\"name\":\"MI300X\","
		 "\"arch\":\"gfx942\"}],\"env\":[{\"key\":\"driver\",\"value\":\"%s\"},{\"key\":\"rocm\",\"value\":\"6."
		 "2\"}]}",
		 driver);
	assert_ok(greta_facts_parse(text, strlen(text), &facts, &e));
	assert_ok(greta_nodes_record(h->db, alias, &facts, &ids, &e));
	greta_facts_release(&facts);
	return ids.environment_id;
}

static int64_t job_of(struct help *h, int64_t campaign, const char *variant, int64_t context, int64_t repeat)
{
	char sql[256];

	snprintf(sql, sizeof sql,
		 "SELECT job_id FROM cell WHERE campaign_id = %d AND variant = '%s' AND context = %d"
		 " AND repeat = %d",
		 (int)campaign, variant, (int)context, (int)repeat + 1);
	return help_i64(h->db, sql);
}

static int64_t begin(struct help *h, int64_t job, int64_t alias, int64_t environment_id)
{
	const struct greta_attempt_place place = {.alias_id = alias, .environment_id = environment_id};
	struct greta_err e = {0};
	int64_t id = help_attempt(h, job);

	assert_ok(greta_attempts_place(h->db, id, &place, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_STARTED, "{\"devices\":[\"GPU-0\"],\"build_sha256\":\"b0\"}", NULL,
			     NULL, &e));
	return id;
}

static void end_badly(struct help *h, int64_t id, const char *detail)
{
	struct greta_err e = {0};

	assert_ok(help_event(h, id, 0, GRETA_EVENT_OUTCOME, detail, NULL, NULL, &e));
}

static void run_well(struct help *h, int64_t campaign, int64_t context, double s, int64_t alias, int64_t env)
{
	struct greta_err e = {0};
	int64_t job = job_of(h, campaign, "baseline", context, 0);
	int64_t id = begin(h, job, alias, env);

	assert_ok(help_event(h, id, 0, GRETA_EVENT_EVIDENCE, "{\"name\":\"kernels\"}",
			     "loading\n[{\"kernel\":\"q_lds_f16_d128\",\"arch\":\"gfx942\",\"scratch_bytes\":0,\"vgpr\":134}]", NULL, &e));
	assert_ok(help_event(
		h, id, 0, GRETA_EVENT_TELEMETRY,
		"{\"columns\":[\"gpu0.power_w\",\"gpu0.temp_c\",\"prefill_percent\"],\"rows\":[[1000000000,700,60,null],[2000000000,750.5,61,25]]}",
		NULL, NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", "Prompt tokens: 4096\n", NULL, &e));
	help_good(h, id, s, "flash_v2_naive", NULL);
	assert_ok(greta_jobs_set_state(h->db, job, GRETA_JOB_DONE, NULL, &e));
}

static void fill_b389(struct help *h, int64_t alias)
{
	static const char *const variants[] = {"baseline", "v3", "v4"};
	struct greta_err e = {0};
	int64_t c = add_campaign(h, "b3_89", variants, 3, 1), env = environment(h, alias, "6.1"), id;

	run_well(h, c, 4096, 22.7681, alias, env);
	run_well(h, c, 8192, 114.265, alias, env);
	run_well(h, c, 16384, 469.749, alias, env);
	id = begin(h, job_of(h, c, "v3", 4096, 0), alias, env);
	help_good(h, id, 20, "q_lds", NULL);
	id = begin(h, job_of(h, c, "v3", 8192, 0), alias, env);
	assert_ok(help_event(h, id, 0, GRETA_EVENT_PROGRESS,
			     "{\"phase\":\"prefill\",\"done\":11,\"total\":32,\"at\":\"layer 11 attn q_lds\"}", NULL,
			     NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_VERDICT,
			     "{\"class\":\"gpu_kernel\",\"certainty\":\"supported\",\"text\":\"stuck in q_lds\"}", NULL,
			     NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_EVIDENCE, "{\"name\":\"gdb\"}", "#0 wait", NULL, &e));
	end_badly(h, id, "{\"outcome\":\"hung\",\"reason\":\"no progress for 300 s\"}");
	id = begin(h, job_of(h, c, "v3", 16384, 0), alias, env);
	assert_ok(
		help_event(h, id, 0, GRETA_EVENT_LOG, "{\"stream\":\"err\"}", "hipMalloc: out of memory\n", NULL, &e));
	end_badly(h, id,
		  "{\"outcome\":\"oom\",\"cause\":\"device\",\"reason\":\"hipMalloc: out of memory\",\"exit_code\":1}");
	assert_ok(greta_jobs_cancel(h->db, c, "v4", 0, -1, "gate: uses scratch memory", &c, &e));
}

static int fill(void **state)
{
	static const char *const one[] = {"baseline"};
	struct greta_err e = {0};
	struct help *h;
	int64_t alias, c;

	if (help_setup(state))
		return -1;
	h = *state;
	assert_ok(greta_nodes_add(h->db, "gpu3", "ssh", NULL, NULL, &alias, &e));
	fill_b389(h, alias);
	c = add_campaign(h, "two days later", one, 1, 1);
	run_well(h, c, 4096, 178, alias, environment(h, alias, "6.2"));
	c = add_campaign(h, "in the heat", one, 1, 1);
	run_well(h, c, 4096, 30, alias, environment(h, alias, "6.2"));
	assert_ok(greta_marks_set(h->db, help_i64(h->db, "SELECT max(id) FROM attempt"),
				  &(struct greta_mark){GRETA_MARK_THROTTLED, "GPU-0 slowed down"}, 1, &e));
	return 0;
}

/* ---- what the views say */

static void test_views__figures_of_the_report(void **state)
{
	struct help *h = *state;
	static const struct {
		const char *sql;
		double expected, tolerance;
	} figures[] = {
		{"SELECT tokens_per_s FROM scaling WHERE campaign='b3_89' AND variant='baseline' AND context=4096",
		 179.9, .05},
		{"SELECT tokens_per_s FROM scaling WHERE campaign='b3_89' AND variant='baseline' AND context=8192",
		 71.7, .05},
		{"SELECT tokens_per_s FROM scaling WHERE campaign='b3_89' AND variant='baseline' AND context=16384",
		 34.9, .05},
		{"SELECT ratio FROM scaling WHERE campaign='b3_89' AND variant='baseline' AND context=4096", 1, 1e-12},
		{"SELECT ratio FROM scaling WHERE campaign='b3_89' AND variant='baseline' AND context=8192", 5.0, .05},
		{"SELECT ratio FROM scaling WHERE campaign='b3_89' AND variant='baseline' AND context=16384", 20.6,
		 .05},
		{"SELECT expected_quadratic FROM scaling WHERE campaign='b3_89' AND variant='baseline' AND "
		 "context=16384",
		 16, 0},
		{"SELECT expected_linear FROM scaling WHERE campaign='b3_89' AND variant='baseline' AND context=16384",
		 4, 0},
		{"SELECT exponent FROM scaling WHERE campaign='b3_89' AND variant='baseline' AND context=8192", 2.33,
		 .005},
		{"SELECT exponent FROM scaling WHERE campaign='b3_89' AND variant='baseline' AND context=16384", 2.04,
		 .005},
		{"SELECT step FROM scaling WHERE campaign='b3_89' AND variant='baseline' AND context=16384", 4.11,
		 .005},
		{"SELECT ratio_to_before FROM history WHERE campaign='two days later'", 7.82, .005},
	};

	for (size_t i = 0; i < GRETA_COUNT(figures); i++) {
		double found = help_f64(h->db, figures[i].sql);

		if (!(fabs(found - figures[i].expected) <= figures[i].tolerance))
			fail_msg("%s: %.17g", figures[i].sql, found);
	}
	assert_int_equal(help_i64(h->db, "SELECT exponent IS NULL FROM scaling WHERE context = 4096"), 1);
}

static void test_views__cells_that_never_ran_are_shown(void **state)
{
	struct help *h = *state;

	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM cell WHERE campaign = 'b3_89'"), 9);
	assert_int_equal(
		help_i64(h->db, "SELECT count(*) FROM cell WHERE campaign = 'b3_89' AND outcome = 'never ran'"), 3);
	assert_string_equal(help_str(h->db, "SELECT state || ': ' || reason FROM cell WHERE variant = 'v4' LIMIT 1"),
			    "cancelled: gate: uses scratch memory");
	assert_string_equal(help_str(h->db, "SELECT group_concat(outcome, ' ') FROM (SELECT outcome FROM cell"
					    " WHERE campaign = 'b3_89' AND variant = 'v3' ORDER BY context)"),
			    "ok hung oom");
}

static void test_views__only_what_counts_makes_statistics(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t id = help_i64(h->db, "SELECT attempt_id FROM result WHERE prefill_s > 400");

	assert_ok(greta_attempts_exclude(h->db, id, "clocks collapsed", &e));
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM scaling WHERE variant = 'baseline' AND context = 16384"),
			 0);
	assert_int_equal(help_i64(h->db, "SELECT counted FROM result WHERE prefill_s > 400"), 1);
	assert_ok(greta_attempts_exclude(h->db, id, NULL, &e));
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM scaling WHERE variant = 'baseline' AND context = 16384"),
			 1);
}

static void test_views__medians_of_odd_and_even_counts(void **state)
{
	static const char *const one[] = {"m"};
	static const double seconds[] = {5, 1, 9, 2, 3};
	static const double medians[] = {5, 3, 5, 3.5, 3};
	struct help *h = *state;
	int64_t c = add_campaign(h, "medians", one, 1, 5);

	for (int i = 0; i < 5; i++) {
		help_good(h, help_attempt(h, job_of(h, c, "m", 4096, i)), seconds[i], "a", NULL);
		assert_float_equal(help_f64(h->db, "SELECT prefill_s FROM cell_stat ORDER BY campaign_id DESC LIMIT 1"),
				   medians[i], 1e-12);
	}
	assert_int_equal(help_i64(h->db, "SELECT n FROM cell_stat ORDER BY campaign_id DESC LIMIT 1"), 5);
}

/* A question about one campaign must not read all the others. */
static void test_views__one_campaign_is_reached_by_indexes(void **state)
{
	static const char *const questions[] = {
		"EXPLAIN QUERY PLAN SELECT * FROM result WHERE campaign_id = 2",
		"EXPLAIN QUERY PLAN SELECT * FROM cell WHERE campaign_id = 2",
		"EXPLAIN QUERY PLAN SELECT * FROM cell_stat WHERE campaign_id = 2",
		"EXPLAIN QUERY PLAN SELECT * FROM scaling WHERE campaign_id = 2",
		"EXPLAIN QUERY PLAN SELECT * FROM scaling WHERE campaign = 'b3_89' AND variant = 'v3'",
		"EXPLAIN QUERY PLAN SELECT * FROM sample_value WHERE campaign_id = 2",
		"EXPLAIN QUERY PLAN SELECT * FROM telemetry_stat WHERE campaign_id = 2",
		"EXPLAIN QUERY PLAN SELECT * FROM telemetry WHERE attempt_id = 2",
		"EXPLAIN QUERY PLAN SELECT * FROM log WHERE attempt_id = 2",
		"EXPLAIN QUERY PLAN SELECT * FROM evidence WHERE attempt_id = 2",
	};
	struct help *h = *state;
	struct greta_err e = {0};

	for (size_t i = 0; i < GRETA_COUNT(questions); i++) {
		struct greta_query *q = greta_query_open(h->db, &e, questions[i], "");

		while (greta_query_step(q, &e) == 1) {
			const char *step = greta_query_str(q, 3);
			bool is_made = strstr(step, "subquery") || strstr(step, "SCAN (") ||
				       greta_str_eq(step, "SCAN cell_stat") || greta_str_eq(step, "SCAN evidence");

			if (greta_str_starts(step, "SCAN") && !is_made && !strstr(step, "VIRTUAL TABLE"))
				fail_msg("%s: %s", questions[i], step);
		}
		greta_query_close(q);
	}
}

/* ---- docs/database.md: every question in it is asked, and has an answer */

static int next_question(const char **at, struct greta_buf *sql)
{
	const char *begin_ = strstr(*at, "```sql\n"), *end;

	if (!begin_)
		return 0;
	begin_ += strlen("```sql\n");
	end = strstr(begin_, "```");
	assert_non_null(end);
	greta_buf_clear(sql);
	greta_buf_add(sql, begin_, (size_t)(end - begin_));
	greta_buf_str(sql);
	*at = end;
	return 1;
}

static void load_doc(struct greta_buf *doc)
{
	struct greta_err e = {0};

	assert_ok(greta_fs_read(GRETA_FIXTURES "/../../docs/database.md", 1 << 20, doc, &e));
	greta_buf_str(doc);
}

static void test_views__documented_questions_have_answers(void **state)
{
	cleanup_buf struct greta_buf doc = {0};
	cleanup_buf struct greta_buf sql = {0};
	struct greta_err e = {0};
	struct greta_db *db = greta_db_open_reader("x.db", &e);
	const char *at;
	int n = 0;

	(void)state;
	load_doc(&doc);
	at = doc.data;
	for (; next_question(&at, &sql); n++) {
		struct greta_query *q = greta_query_user(db, sql.data, &e);

		if (!q || greta_query_step(q, &e) != 1)
			fail_msg("no answer to: %s: %s", sql.data, e.text);
		greta_query_close(q);
	}
	assert_true(n >= 15);
	greta_db_close(db);
}

static void test_views__all_are_documented(void **state)
{
	cleanup_buf struct greta_buf doc = {0};
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_query *q = greta_query_open(h->db, &e, "SELECT name FROM sqlite_schema WHERE type = 'view'", "");

	load_doc(&doc);
	while (greta_query_step(q, &e) == 1) {
		char row[80];

		snprintf(row, sizeof row, "\n| `%s` |", greta_query_str(q, 0));
		if (!strstr(doc.data, row))
			fail_msg("docs/database.md has no row for %s", greta_query_str(q, 0));
	}
	greta_query_close(q);
}

/* The sqlite3 shell, which has nothing of ours but the extension, answers them too. */
static void test_views__the_shell_answers_with_the_extension(void **state)
{
	cleanup_buf struct greta_buf doc = {0};
	cleanup_buf struct greta_buf sql = {0};
	const char *at;

	(void)state;
	load_doc(&doc);
	at = doc.data;
	while (next_question(&at, &sql)) {
		const char *const argv[] = {"sqlite3", "-readonly", "-bail", "-cmd", ".load " GRETA_LIB "/greta_sqlite",
					    "x.db",    sql.data,    NULL};
		const struct greta_child_spec spec = {.argv = argv};
		struct greta_child_result result = {0};
		cleanup_buf struct greta_buf out = {0};
		struct greta_err e = {0};

		if (greta_child_run(&spec, 20000, 1 << 20, &out, &result, &e) && strstr(e.text, "sqlite3")) {
			print_message("no sqlite3 shell here\n");
			skip();
		}
		if (result.status || !out.len)
			fail_msg("sqlite3: %s\n%s", sql.data, greta_buf_str(&out));
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fill, help_teardown)
	const struct CMUnitTest tests[] = {
		T(test_views__figures_of_the_report),
		T(test_views__cells_that_never_ran_are_shown),
		T(test_views__only_what_counts_makes_statistics),
		T(test_views__medians_of_odd_and_even_counts),
		T(test_views__one_campaign_is_reached_by_indexes),
		T(test_views__documented_questions_have_answers),
		T(test_views__all_are_documented),
		T(test_views__the_shell_answers_with_the_extension),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
