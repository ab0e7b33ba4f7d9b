#include "tests/unit/db_help.h"

#include "db/records.h"
#include "orchestrator/analysis/changes.h"
#include "orchestrator/analysis/regress.h"
#include "tests/fixtures/statistics/scipy_reference.h"

/* ---- change points */

/* Noise of about 1 % that repeats every seven points. */
static double noisy(size_t i)
{
	static const double noise[] = {0.004, -0.009, 0.007, 0.011, -0.006, -0.002, -0.01};
	return 1 + noise[i % 7];
}

static void test_changes__finds_shifts_where_they_are(void **state)
{
	(void)state;
	double x[40];
	struct changes c;
	for (size_t i = 0; i < 40; i++)
		x[i] = noisy(i) * (i >= 30 ? 0.95 : i >= 15 ? 1.08 : 1);
	changes_find(x, 40, &c);
	assert_int_equal(c.n, 2);
	assert_int_equal(c.items[0].at, 15);
	assert_int_equal(c.items[1].at, 30);
	assert_true(fabs(c.items[0].ratio - 1.08) < 0.01);
	assert_true(c.items[0].p <= CHANGES_LEVEL && c.items[0].p >= 1.0 / (CHANGES_PERMUTATIONS + 1));
	changes_release(&c);
}

static void test_changes__noise_and_short_series_have_none(void **state)
{
	(void)state;
	double x[300];
	struct changes c;
	for (size_t i = 0; i < 300; i++)
		x[i] = noisy(i);
	for (size_t n = 0; n <= 300; n += n < 10 ? 1 : 29) {
		changes_find(x, n, &c);
		assert_int_equal(c.n, 0);
		changes_release(&c);
	}
	static const double jump[] = {1, 1.01, 0.99, 8, 8.1}; /* plain to see, and still only five points */
	changes_find(jump, 5, &c);
	assert_int_equal(c.n, 0);
	changes_release(&c);
}

/* Where scipy's p is above the level there is no change; where it is below, one, and its p is within what 499 permutations
 * and its 1999 leave open. */
static void split_as_scipy(const double *x, size_t n, const double expected[2])
{
	struct changes c;
	changes_find(x, n, &c);
	assert_int_equal(c.n, expected[1] <= CHANGES_LEVEL);
	if (c.n) {
		assert_int_equal(c.items[0].at, (int)expected[0]);
		assert_true(fabs(c.items[0].p - expected[1]) < 0.008);
	}
	changes_release(&c);
}

static void test_changes__as_scipy_has_them(void **state)
{
	(void)state;
	split_as_scipy(series_plain, GRETA_COUNT(series_plain), split_plain);
	split_as_scipy(series_faint, GRETA_COUNT(series_faint), split_faint);
	split_as_scipy(series_doubtful, GRETA_COUNT(series_doubtful), split_doubtful);
	split_as_scipy(series_none, GRETA_COUNT(series_none), split_none);
}

/* ---- regressions */

static void run_campaign(struct help *h, double factor, size_t salt)
{
	help_campaign(h, "nightly");
	for (size_t i = 0; i < 8; i++)
		help_good(h, help_attempt(h, h->jobs[i]), (double)(1 + i % 4) * factor * noisy(i + salt), "x", NULL);
}

static struct regress make(struct help *h, const char *baseline)
{
	struct regress r;
	struct greta_err e = {0};
	assert_ok(regress_make(h->db, h->campaign_id, &(struct regress_how){.baseline = baseline}, &r, &e));
	return r;
}

static void test_regress__finds_what_became_slower(void **state)
{
	struct help *h = *state;
	for (size_t i = 0; i < 6; i++)
		run_campaign(h, 1, i);
	struct regress r = make(h, NULL);
	assert_int_equal(regress_count(&r, COMPARE_SLOWER), 0);
	regress_release(&r);
	run_campaign(h, 1.25, 6);
	r = make(h, NULL);
	assert_int_equal(regress_count(&r, COMPARE_SLOWER), 4);
	assert_int_equal(r.cells.items[0].a.n, 12);
	cleanup_buf struct greta_buf xml = {0}, text = {0};
	regress_junit(&r, &xml);
	assert_non_null(strstr(xml.data, "tests=\"4\" failures=\"4\" skipped=\"0\""));
	regress_markdown(&r, &text);
	assert_non_null(strstr(text.data, "### Regression: nightly"));
	regress_release(&r);
}

static void test_regress__after_a_shift_the_new_level_is_the_yardstick(void **state)
{
	struct help *h = *state;
	for (size_t i = 0; i < 24; i++)
		run_campaign(h, i < 12 ? 1 : 1.3, i);
	struct regress r = make(h, NULL);
	assert_int_equal(regress_count(&r, COMPARE_SLOWER), 0);
	assert_int_equal(r.series[0].changes.n, 1);
	assert_int_equal(r.series[0].changes.items[0].at, 12);
	cleanup_buf struct greta_buf words = {0};
	regress_words(&r, &words);
	assert_non_null(strstr(words.data, "base at 4096 and 3 more: their history shifts by 1.3x to 1.3x with campaign nightly"));
	regress_release(&r);
}

static void test_regress__named_baseline(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	run_campaign(h, 1, 0);
	int64_t first = h->campaign_id;
	run_campaign(h, 2, 1);
	assert_ok(greta_baselines_set(h->db, "rel", first, NULL, NULL, &e));
	assert_ok(greta_baselines_set(h->db, "one", first, "base", NULL, &e));
	run_campaign(h, 1.01, 2);
	struct regress r = make(h, "rel");
	assert_int_equal(r.cells.items[0].a.n, 2);
	assert_true(fabs(r.cells.items[0].ratio - 1.01) < 0.02);
	regress_release(&r);
	r = make(h, "one"); /* v3 takes three to four times as long in this history */
	assert_int_equal(r.cells.n, 4);
	assert_true(r.cells.items[2].ratio > 2 && r.cells.items[2].a.n == 2);
	regress_release(&r);
	assert_fails(regress_make(h->db, h->campaign_id, &(struct regress_how){.baseline = "none"}, &r, &e), GRETA_EINVAL);
}

/* The same build with other arguments is no drift of the environment. */
static void test_regress__other_arguments_are_no_drift(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	run_campaign(h, 1, 0);
	run_campaign(h, 1.5, 1);
	assert_ok(greta_db_exec(h->db, &e, "INSERT INTO build (id, build_sha256, first_seen_ns) VALUES (7, 'b', 0)", ""));
	assert_ok(greta_db_exec(h->db, &e, "UPDATE attempt SET build_id = 7", ""));
	struct regress r = make(h, NULL);
	assert_true(r.differs.same_code);
	regress_release(&r);
	assert_ok(greta_db_exec(h->db, &e,
				"UPDATE variant SET detail = json_object('command', json_array('x', campaign_id), 'args', json('[]'))", ""));
	r = make(h, NULL);
	assert_false(r.differs.same_code);
	assert_string_equal(r.differs.items[0].key, "command");
	regress_release(&r);
}

static void test_regress__nothing_to_go_by(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	cleanup_buf struct greta_buf words = {0};
	bool regressed = true;
	struct regress r = make(h, NULL); /* nothing ran */
	regress_words(&r, &words);
	assert_non_null(strstr(words.data, "has no counted run"));
	regress_release(&r);
	greta_buf_clear(&words);
	run_campaign(h, 1, 0); /* the first of its kind */
	assert_ok(regress_after_campaign(h->db, h->campaign_id, &words, &regressed, &e));
	assert_string_equal(greta_buf_str(&words), "");
	assert_false(regressed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changes__finds_shifts_where_they_are),
		cmocka_unit_test(test_changes__as_scipy_has_them),
		cmocka_unit_test(test_changes__noise_and_short_series_have_none),
		cmocka_unit_test_setup_teardown(test_regress__finds_what_became_slower, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_regress__after_a_shift_the_new_level_is_the_yardstick, help_setup,
						help_teardown),
		cmocka_unit_test_setup_teardown(test_regress__named_baseline, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_regress__other_arguments_are_no_drift, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_regress__nothing_to_go_by, help_setup, help_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
