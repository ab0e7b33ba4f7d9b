#include "tests/unit/unit.h"

#include "db/db.h"
#include "orchestrator/analysis/cells.h"
#include "orchestrator/analysis/scaling.h"
#include "orchestrator/import/import.h"
#include "orchestrator/report/report.h"
#include <math.h>
#include <string.h>

static struct greta_db *db;

static int setup(void **state)
{
	struct greta_err e = {0};
	int64_t fence;
	if (unit_tmp_create(state))
		return -1;
	db = greta_db_open_writer("test.db", &e);
	if (!db)
		fprintf(stderr, "%s\n", e.text);
	return db ? greta_db_raise_fence(db, &fence, &e) : -1;
}

static int teardown(void **state)
{
	greta_db_close(db);
	return unit_tmp_remove(state);
}

static int64_t do_import(const char *dir, const char *const *variants, struct import_summary *summary)
{
	struct greta_err e = {0};
	struct import_request r = {.dir = dir};
	for (; variants && *variants; variants++)
		greta_strs_add(&r.variants, *variants);
	assert_ok(import_tree(db, &r, summary, &e));
	greta_strs_release(&r.variants);
	greta_buf_release(&summary->notes);
	return summary->campaign_id;
}

static struct cells load(int64_t campaign_id)
{
	struct greta_err e = {0};
	struct cells c;
	assert_ok(cells_load(db, campaign_id, &c, &e));
	return c;
}

static const struct cell *cell_of(const struct cells *c, const char *variant, int64_t context)
{
	for (size_t i = 0; i < c->n; i++)
		if (strcmp(c->items[i].variant, variant) == 0 && c->items[i].context == context)
			return &c->items[i];
	fail_msg("no cell %s %lld", variant, (long long)context);
	return NULL;
}

static const char nested[] = GRETA_FIXTURES "/b3_89/nested";
static const char *const planned[] = {"baseline=flash_v2_naive", "v3=q_lds", "v4=q_lds_v2", NULL};

static void test_import__every_kind_of_run(void **state)
{
	(void)state;
	struct import_summary s;
	struct cells c = load(do_import(nested, planned, &s));
	assert_int_equal(s.n_added, 8);
	assert_int_equal(s.n_ok, 4);
	assert_int_equal(s.n_invalid, 2);
	assert_int_equal(s.n_failed, 2);
	assert_int_equal(cell_of(&c, "baseline", 4096)->prefill.n, 2);
	assert_int_equal(cell_of(&c, "baseline", 8192)->jobs[1].outcome, GRETA_OUTCOME_INVALID);
	assert_int_equal(cell_of(&c, "v3", 4096)->jobs[1].outcome, GRETA_OUTCOME_OOM);
	assert_non_null(strstr(cell_of(&c, "v3", 4096)->jobs[1].why, "Killed process 4242"));
	assert_int_equal(cell_of(&c, "v3", 8192)->jobs[0].outcome, GRETA_OUTCOME_TIMED_OUT);
	assert_int_equal(cell_of(&c, "v4", 4096)->jobs[0].outcome, GRETA_OUTCOME_INVALID);
	assert_non_null(strstr(cell_of(&c, "v4", 4096)->jobs[0].why, "flash_v2_naive"));
	cells_release(&c);
}

static void test_import__cells_that_never_ran_are_shown(void **state)
{
	(void)state;
	struct import_summary s;
	struct cells c = load(do_import(nested, planned, &s));
	/* v4 8192 both, v4 4096 #1, v3 8192 #1 (the executor said why) */
	assert_int_equal(s.n_never_ran, 4);
	const struct cell *v4 = cell_of(&c, "v4", 8192);
	assert_int_equal(v4->n, 2);
	assert_int_equal(v4->jobs[0].attempt_id, 0);
	assert_string_equal(cell_of(&c, "v3", 8192)->jobs[1].reason, "first run of this cell failed");
	assert_false(cells_all_good(&c));
	cells_release(&c);
}

static void test_import__twice_adds_nothing(void **state)
{
	(void)state;
	struct import_summary first, second;
	int64_t id = do_import(nested, planned, &first);
	assert_int_equal(do_import(nested, planned, &second), id);
	assert_int_equal(second.n_added, 0);
	assert_int_equal(second.n_known, 8);
	struct cells c = load(id);
	assert_int_equal(cell_of(&c, "baseline", 4096)->n, 2);
	assert_int_equal(cell_of(&c, "baseline", 4096)->jobs[0].n_attempts, 1);
	cells_release(&c);
}

static void test_import__report_has_its_sections(void **state)
{
	(void)state;
	static const char *const sections[] = {"Configuration", "Key metrics", "Performance summary", "Scaling",
					       "Validation status", "Anomalies", "Artifacts"};
	struct greta_err e = {0};
	struct import_summary s;
	struct greta_buf text = {0};
	assert_ok(report_markdown(db, do_import(nested, planned, &s), false, &text, &e));
	for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
		char heading[64];
		snprintf(heading, sizeof heading, "\n## %s\n", sections[i]);
		assert_non_null(strstr(text.data, heading));
	}
	assert_non_null(strstr(text.data, "v3 4096 #2"));
	greta_buf_release(&text);
}

/* The published figures of the B3.89 final report. */
static void test_import__published_figures(void **state)
{
	(void)state;
	static const char *const variants[] = {"baseline", "v3", "v4", NULL};
	static const struct {
		int64_t context;
		double tokens_per_s, ratio;
	} published[] = {{4096, 179.9, 1.0}, {8192, 71.7, 5.0}, {16384, 34.9, 20.6}};
	char dir[1024];
	snprintf(dir, sizeof dir, "%s/b3_89", GRETA_SHARED_DATA);
	if (access(dir, R_OK)) {
		print_message("skipped: %s is not there\n", dir);
		skip();
	}
	struct import_summary s;
	struct cells c = load(do_import(dir, variants, &s));
	double first = cell_of(&c, "baseline", 4096)->prefill.median;
	for (size_t i = 0; i < 3; i++) {
		const struct cell *x = cell_of(&c, "baseline", published[i].context);
		assert_int_equal(x->prefill.n, 1);
		assert_true(fabs((double)x->context / x->prefill.median - published[i].tokens_per_s) < 0.05);
		assert_true(fabs(x->prefill.median / first - published[i].ratio) < 0.05);
	}
	assert_int_equal(s.n_never_ran, 6);
	assert_int_equal(cell_of(&c, "v3", 4096)->jobs[0].attempt_id, 0);
	struct greta_buf remarks = {0};
	struct scaling curves;
	scaling_make(&c, NULL, &curves);
	scaling_remarks(&curves, &remarks);
	assert_non_null(strstr(remarks.data, "exponent 2.33"));
	assert_non_null(strstr(remarks.data, "rest on one run"));
	scaling_release(&curves);
	greta_buf_release(&remarks);
	cells_release(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_import__every_kind_of_run, setup, teardown),
		cmocka_unit_test_setup_teardown(test_import__cells_that_never_ran_are_shown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_import__twice_adds_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_import__report_has_its_sections, setup, teardown),
		cmocka_unit_test_setup_teardown(test_import__published_figures, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
