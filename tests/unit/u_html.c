#include "tests/unit/db_help.h"

#include "db/validity.h"
#include "orchestrator/report/html.h"
#include "schemas/json.h"

static struct greta_json *data_of(struct help *h, struct greta_buf *text)
{
	struct greta_err e = {0};
	assert_ok(html_data(h->db, h->campaign_id, false, text, &e));
	struct greta_json *doc = greta_json_parse("data", text->data, text->len, &e);
	if (!doc)
		fail_msg("%s", e.text);
	return doc;
}

static size_t size_of(const struct greta_json *doc, const char *key)
{
	return greta_json_size(greta_json_get(greta_json_root(doc), key));
}

static void test_html__data_of_a_campaign_that_never_ran(void **state)
{
	cleanup_buf struct greta_buf text = {0};
	struct greta_json *doc = data_of(*state, &text);
	assert_int_equal(size_of(doc, "cells"), 4);
	assert_int_equal(size_of(doc, "history"), 0);
	assert_int_equal(size_of(doc, "telemetry"), 0);
	greta_json_destroy(doc);
}

static void test_html__data_has_the_readings_of_a_run(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_applied out;
	cleanup_buf struct greta_buf text = {0};
	int64_t attempt = help_attempt(h, h->jobs[0]);
	assert_ok(help_event(h, attempt, 0, GRETA_EVENT_TELEMETRY,
			     "{\"columns\":[\"power_w\",\"prefill_percent\"],\"rows\":[[1000000000,700,null],[1500000000,710,25]]}", NULL,
			     &out, &e));
	help_good(h, attempt, 2, "q_lds", NULL);
	struct greta_json *doc = data_of(h, &text);
	const struct greta_json_val *run = greta_json_first(greta_json_get(greta_json_root(doc), "telemetry"));
	const struct greta_json_val *power = greta_json_get(greta_json_get(run, "readings"), "power_w");
	assert_int_equal(greta_json_size(power), 2);
	double t, watts;
	const struct greta_json_val *second = greta_json_next(greta_json_first(power));
	assert_int_equal(greta_json_f64(greta_json_first(second), &t), 0);
	assert_int_equal(greta_json_f64(greta_json_next(greta_json_first(second)), &watts), 0);
	assert_true(t == 0.5 && watts == 710);
	const struct greta_json_val *place = greta_json_first(greta_json_get(greta_json_get(run, "readings"), "prefill_percent"));
	assert_int_equal(greta_json_f64(greta_json_first(place), &t), 0);
	assert_true(t == 0.5); /* all readings of a run are on one clock */
	greta_json_destroy(doc);
}

static double number_of(const struct greta_json_val *object, const char *key)
{
	double v = NAN;
	assert_int_equal(greta_json_f64(greta_json_get(object, key), &v), 0);
	return v;
}

/* What the first cell's statistics rest on is what the charts of its repeats and of its nodes show. */
static int64_t cell_runs(struct help *h, bool with_marked)
{
	struct greta_err e = {0};
	cleanup_buf struct greta_buf text = {0};
	int64_t n_shown = 0;
	assert_ok(html_data(h->db, h->campaign_id, with_marked, &text, &e));
	struct greta_json *doc = greta_json_parse("page", text.data, text.len, &e);
	const struct greta_json_val *cell = greta_json_first(greta_json_get(greta_json_root(doc), "cells"));
	const struct greta_json_val *node = greta_json_get(cell, "nodes");
	for (const struct greta_json_val *r = greta_json_first(greta_json_get(cell, "runs")); r; r = greta_json_next(r)) {
		bool counted = false;
		greta_json_bool(greta_json_get(r, "counted"), &counted);
		n_shown += counted;
	}
	assert_int_equal(n_shown, (int)number_of(cell, "n"));
	assert_int_equal(greta_json_size(node), 1);
	assert_true(number_of(greta_json_first(node), "median") == number_of(cell, "median"));
	greta_json_destroy(doc);
	return n_shown;
}

/* The engine counts 1e12 operations in 2 s on a device that reaches 2 TFLOP/s: a quarter of it. */
static void test_html__data_has_the_share_of_the_limit_and_the_marks(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_applied out;
	cleanup_buf struct greta_buf text = {0};
	int64_t attempt = help_attempt(h, h->jobs[0]), hot = help_attempt(h, h->jobs[4]);
	assert_ok(help_event(h, hot, 1, GRETA_EVENT_OUTCOME,
			     "{\"outcome\":\"ok\",\"samples\":[{\"sample\":1,\"metrics\":{\"prefill_s\":9}}]}", NULL, &out, &e));
	assert_ok(greta_marks_set(h->db, hot, &(struct greta_mark){GRETA_MARK_THROTTLED, "GPU-0 slowed down"}, 1, &e));
	assert_ok(help_event(h, attempt, 1, GRETA_EVENT_OUTCOME,
			     "{\"outcome\":\"ok\",\"samples\":[{\"sample\":1,\"metrics\":{\"prefill_s\":2,\"flops\":1e12,"
			     "\"limit_tflops\":2}}]}", NULL, &out, &e));
	struct greta_json *doc = data_of(h, &text);
	double percent = 0;
	const struct greta_json_val *cell = greta_json_first(greta_json_get(greta_json_root(doc), "cells"));
	assert_int_equal(greta_json_f64(greta_json_get(cell, "limit_percent"), &percent), 0);
	assert_true(fabs(percent - 25) < 1e-9);
	assert_int_equal(size_of(doc, "marks"), 1);
	assert_non_null(strstr(text.data, "1 counted result is marked (1 throttled)"));
	greta_json_destroy(doc);
	assert_true(cell_runs(h, false) == 1 && cell_runs(h, true) == 2);
}

/* What a log or a name holds must not end the page's script element. */
static void test_html__page_is_one_whole_file(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	cleanup_buf struct greta_buf page = {0};
	if (!html_available()) {
		assert_fails(html_report(h->db, h->campaign_id, false, &page, &e), GRETA_EUNSUPPORTED);
		return;
	}
	help_campaign(h, "</script><script>alert(1)</script>");
	assert_ok(html_report(h->db, h->campaign_id, false, &page, &e));
	assert_null(strstr(page.data, "<script>alert"));
	assert_null(strstr(page.data, "src=\"http"));
	size_t ends = 0;
	for (const char *s = page.data; (s = strstr(s, "</script")) != NULL; s++)
		ends++;
	assert_int_equal(ends, 2); /* data and program */
	assert_non_null(strstr(page.data, "</html>"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_html__data_of_a_campaign_that_never_ran, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_html__data_has_the_readings_of_a_run, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_html__data_has_the_share_of_the_limit_and_the_marks, help_setup,
						help_teardown),
		cmocka_unit_test_setup_teardown(test_html__page_is_one_whole_file, help_setup, help_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
