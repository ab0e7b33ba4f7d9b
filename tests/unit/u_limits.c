#include "tests/unit/db_help.h"

#include "orchestrator/control/limits.h"

static void run(struct limits_runs *r, int64_t context, double prefill_s)
{
	struct limits_run *one = GRETA_PUSH(r->items, r->n, r->cap);
	for (int p = 0; p < GRETA_PHASE_COUNT; p++)
		one->phase_s[p] = NAN;
	one->context = context;
	one->phase_s[GRETA_PHASE_PREFILL] = prefill_s;
}

static void runs(struct limits_runs *r, int n, int64_t context, double prefill_s)
{
	for (int i = 0; i < n; i++)
		run(r, context, prefill_s * (1 + 0.01 * (i % 3 - 1)));
}

/* Releases the runs. */
static struct greta_phase_limit learn(struct limits_runs *r, int64_t context)
{
	struct greta_phase_limit phases[GRETA_PHASE_COUNT] = {[GRETA_PHASE_PREFILL] = {.silence_s = 60}};
	limits_learn(r, context, phases);
	assert_true(phases[GRETA_PHASE_LOAD].bound_s == 0); /* of which nothing is known */
	assert_true(phases[GRETA_PHASE_PREFILL].silence_s == 60);
	limits_runs_release(r);
	return phases[GRETA_PHASE_PREFILL];
}

static void expect(struct greta_phase_limit l, double at_least, double at_most, const char *basis)
{
	if (!(l.bound_s >= at_least && l.bound_s <= at_most) || !strstr(l.basis, basis))
		fail_msg("%g s, by %s", l.bound_s, l.basis);
}

static void test_limits__the_cell_s_own_history(void **state)
{
	struct limits_runs r = {0};
	(void)state;
	runs(&r, LIMITS_MIN_RUNS, 4096, 10);
	expect(learn(&r, 4096), 250, 275, "history: 5 runs of this cell, median 10");
	runs(&r, LIMITS_SURE_RUNS, 4096, 10);
	expect(learn(&r, 4096), 50, 55, "history: 20 runs of this cell");
	runs(&r, LIMITS_SURE_RUNS, 4096, 10);
	run(&r, 4096, 300); /* one of them took 30 times as long: that is known, too */
	expect(learn(&r, 4096), 1500, 1600, "longest 5");
}

static void test_limits__too_little_is_known(void **state)
{
	struct limits_runs r = {0};
	(void)state;
	expect(learn(&r, 4096), 0, 0, "configured: 0 runs of this cell (5 are needed), 0 shorter contexts (3 are needed)");
	runs(&r, LIMITS_MIN_RUNS - 1, 4096, 10);
	runs(&r, 8, 2048, 3);
	runs(&r, 8, 1024, 1);
	runs(&r, 8, 8192, 40); /* longer ones say nothing */
	expect(learn(&r, 4096), 0, 0, "configured: 4 runs of this cell (5 are needed), 2 shorter contexts (3 are needed)");
}

static void test_limits__the_curve_of_shorter_contexts(void **state)
{
	struct limits_runs r = {0};
	double here = 1e-7 * 16384 * 16384 + 1e-4 * 16384;
	(void)state;
	for (int64_t n = 1024; n <= 8192; n *= 2)
		runs(&r, 3, n, 1e-7 * (double)(n * n) + 1e-4 * (double)n);
	expect(learn(&r, 16384), 25 * here, 27 * here, "curve: 12 runs at 4 shorter contexts");
}

/* Whatever few runs taught, a healthy cell 20 times slower than its siblings is not over its bound. */
static void test_limits__a_cell_20_times_slower_than_its_siblings(void **state)
{
	(void)state;
	for (int n = 0; n < LIMITS_SURE_RUNS; n++) {
		struct limits_runs r = {0};
		double sibling_s = 1e-3 * 8192;
		for (int64_t context = 1024; context <= 4096; context *= 2)
			runs(&r, n, context, 1e-3 * (double)context);
		struct greta_phase_limit l = learn(&r, 8192);
		assert_true(l.bound_s == 0 || l.bound_s > 20 * sibling_s);
		runs(&r, n, 8192, sibling_s); /* and with a short history of its own */
		l = learn(&r, 8192);
		assert_true(l.bound_s == 0 || l.bound_s > 20 * sibling_s);
	}
}

/* ---- which runs count */

static void good(struct help *h, int64_t job, const char *device, double prefill_s)
{
	struct greta_err e = {0};
	int64_t id = help_attempt(h, job);
	help_good(h, id, prefill_s, "q_lds", NULL);
	assert_ok(greta_db_exec(h->db, &e, "UPDATE attempt SET device_type = ? WHERE id = ?", "si", device, id));
}

static size_t known(struct help *h, int64_t context, const char *devices, int64_t model_id, bool has_model)
{
	struct greta_err e = {0};
	struct limits_runs r = {0};
	const struct limits_cell cell = {h->campaign_id,
					 help_i64(h->db, "SELECT id FROM variant WHERE name = 'base' ORDER BY id DESC LIMIT 1"),
					 context, model_id, has_model, devices};
	assert_ok(limits_load(h->db, &cell, &r, &e));
	size_t n = r.n;
	for (size_t i = 0; i < n; i++) {
		assert_true(r.items[i].context <= context && r.items[i].phase_s[GRETA_PHASE_LOAD] == 1.5);
		assert_true(r.items[i].phase_s[GRETA_PHASE_NONE] == r.items[i].phase_s[GRETA_PHASE_PREFILL] + 1);
		assert_true(isnan(r.items[i].phase_s[GRETA_PHASE_WARMUP]));
	}
	limits_runs_release(&r);
	return n;
}

static void test_limits__runs_of_another_kind_do_not_count(void **state)
{
	struct help *h = *state;
	good(h, h->jobs[0], "MI300X", 1); /* base 4096 */
	good(h, h->jobs[1], "MI300X", 4); /* base 8192 */
	good(h, h->jobs[2], "MI300X", 1); /* v3 4096 */
	good(h, h->jobs[4], "EPYC", 90);  /* base 4096 */
	assert_int_equal(known(h, 4096, "[\"MI300X\",\"EPYC\"]", 0, false), 2);
	assert_int_equal(known(h, 8192, "[\"MI300X\"]", 0, false), 2);
	assert_int_equal(known(h, 4096, "[]", 0, false), 0);
	help_campaign(h, "c"); /* once more: the earlier one's runs count, if it had the same model */
	assert_int_equal(known(h, 8192, "[\"MI300X\"]", 0, false), 2);
	assert_int_equal(known(h, 8192, "[\"MI300X\"]", 0, true), 0);
	assert_int_equal(known(h, 8192, "[\"MI300X\"]", 7, true), 0);
	help_campaign(h, "other");
	assert_int_equal(known(h, 8192, "[\"MI300X\"]", 0, false), 0);
}

/* However many repeats there are, some tell enough, and to find them takes no longer. */
static void test_limits__the_first_runs_of_many(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	for (int64_t repeat = 100; repeat > 0; repeat--) {
		assert_ok(greta_db_exec(h->db, &e, "INSERT INTO job(campaign_id, variant_id, context, repeat, position)"
					" SELECT campaign_id, variant_id, 1024, ?, 1000 + ? FROM job WHERE id = ?", "iii", repeat - 1,
					repeat, h->jobs[0]));
		good(h, help_i64(h->db, "SELECT max(id) FROM job"), "MI300X", 1);
	}
	good(h, h->jobs[0], "MI300X", 1); /* base 4096 */
	assert_int_equal(known(h, 1024, "[\"MI300X\"]", 0, false), LIMITS_CELL_RUNS);
	assert_int_equal(known(h, 4096, "[\"MI300X\"]", 0, false), LIMITS_CELL_RUNS + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits__the_cell_s_own_history),
		cmocka_unit_test(test_limits__too_little_is_known),
		cmocka_unit_test(test_limits__the_curve_of_shorter_contexts),
		cmocka_unit_test(test_limits__a_cell_20_times_slower_than_its_siblings),
		cmocka_unit_test_setup_teardown(test_limits__runs_of_another_kind_do_not_count, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_limits__the_first_runs_of_many, help_setup, help_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
