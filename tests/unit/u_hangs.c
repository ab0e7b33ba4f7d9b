#include "tests/unit/db_help.h"

#include "db/nodes.h"
#include "orchestrator/analysis/hangs.h"

/* An attempt of a job in an environment, ended at a time: good, or hung there. */
static int64_t run(struct help *h, int64_t job, int64_t environment, int64_t ended_s, const char *hung_at)
{
	struct greta_err e = {0};
	int64_t id = help_attempt(h, job);
	const struct greta_attempt_place place = {.environment_id = environment};
	struct greta_sample sample = {.sample_no = 1};
	struct greta_end end = {.outcome = GRETA_OUTCOME_GOOD, .wall_s = 2, .cpu_user_s = NAN, .cpu_system_s = NAN,
				.peak_rss_bytes = -1, .started_wall_ns = 1, .finished_wall_ns = ended_s * 1000000000};

	assert_ok(greta_attempts_place(h->db, id, &place, &e));
	if (hung_at) {
		end.outcome = GRETA_OUTCOME_HUNG;
		end.class_ = GRETA_CLASS_HOST_SPIN;
		end.certainty = GRETA_SUPPORTED;
		end.progress.phase = GRETA_PHASE_PREFILL;
		greta_str_copy(end.progress.at, sizeof end.progress.at, hung_at);
	} else {
		greta_sample_set_number(&sample, "prefill_s", 1);
		end.samples = (struct greta_samples){&sample, 1, 1};
	}
	assert_ok(greta_attempts_end(h->db, id, &end, NULL, &e));
	greta_sample_release(&sample);
	return id;
}

static int64_t environment(struct help *h, const char *key, const char *value, const char *key2, const char *value2)
{
	struct greta_err e = {0};
	int64_t id;
	char *words[] = {(char *)(uintptr_t)key, (char *)(uintptr_t)value, (char *)(uintptr_t)key2, (char *)(uintptr_t)value2};
	struct greta_fact rows[] = {{words[0], words[1]}, {words[2], words[3]}};

	assert_ok(greta_environments_add(h->db, 0, rows, 2, &id, &e));
	return id;
}

static void expect_with(const struct vanish *v, const char *const *with)
{
	size_t n = 0;

	for (; with[n]; n++)
		assert_string_equal(v->with.items[n], with[n]);
	assert_int_equal(v->with.n, n);
}

#define WITH(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Jobs: 0 base 4096, 1 base 8192, 2 v3 4096, 3 v3 8192; then their second repeats. */
static void test_hangs__what_made_it_vanish(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct hangs hangs;
	int64_t plain = environment(h, "mode", "perf", "rocm.version", "6.2.1");
	int64_t debug = environment(h, "mode", "debug", "env.HIP_LAUNCH_BLOCKING", "1");

	run(h, h->jobs[2], debug, 50, NULL); /* before the first hang: says nothing */
	for (int i = 0; i < 3; i++)
		run(h, h->jobs[2], plain, 100 + i, "layer 7 attn q_lds");
	for (int i = 0; i < 10; i++)
		run(h, h->jobs[2], plain, 110 + i, NULL);
	run(h, h->jobs[6], plain, 130, "layer 21 attn q_lds"); /* the same cell and hang, in another layer */
	for (int i = 0; i < 21; i++)
		run(h, h->jobs[2], debug, 200 + i, NULL);
	for (int i = 0; i < 4; i++)
		run(h, h->jobs[2], plain, 300 + i, NULL);
	for (int i = 0; i < 6; i++)
		run(h, h->jobs[0], plain, 400 + i, NULL); /* the other variant */
	assert_ok(hangs_load(h->db, NULL, 0, &hangs, &e));
	assert_int_equal(hangs.n, 1);
	const struct hang_group *g = &hangs.items[0];
	assert_int_equal(g->n, 4);
	assert_non_null(strstr(g->fingerprint, " host_spin at prefill, layer * attn q_lds"));
	assert_true(g->first_ns == 100000000000 && g->last_ns == 130000000000);
	assert_string_equal(g->by[HANG_BY_VARIANT].items[0].name, "v3");
	assert_string_equal(g->by[HANG_BY_CONTEXT].items[0].name, "4096");
	assert_int_equal(g->by[HANG_BY_CONTEXT].items[0].n, 4);
	assert_int_equal(g->attempts.n, 4);
	assert_int_equal(g->vanished.n, 2);
	const struct vanish *v = g->vanished.items;
	expect_with(&v[0], WITH("HIP_LAUNCH_BLOCKING=1", "mode=debug"));
	assert_true(v[0].n == 21 && v[0].n_without == 18 && v[0].hung_without == 4);
	expect_with(&v[1], WITH("variant base"));
	assert_true(v[1].n == 6);
	assert_int_equal(g->vanished.n_unchanged, 4);
	hangs_release(&hangs);
}

static void test_hangs__groups_and_campaigns(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct hangs hangs;
	int64_t plain = environment(h, "mode", "perf", "env.A", "1"), first = h->campaign_id, none = 12345;

	run(h, h->jobs[2], plain, 100, "layer 7 attn q_lds");
	run(h, h->jobs[3], plain, 200, "layer 7 swiglu");
	help_campaign(h, "again");
	run(h, h->jobs[3], plain, 300, "layer 1 attn q_lds");
	assert_ok(hangs_load(h->db, NULL, 0, &hangs, &e));
	assert_int_equal(hangs.n, 2);
	assert_non_null(strstr(hangs.items[0].fingerprint, "attn q_lds")); /* the one that came last */
	assert_int_equal(hangs.items[0].by[HANG_BY_CAMPAIGN].n, 2);
	assert_int_equal(hangs.items[0].by[HANG_BY_CONTEXT].n, 2);
	hangs_release(&hangs);
	assert_ok(hangs_load(h->db, &first, 1, &hangs, &e));
	assert_true(hangs.n == 2 && hangs.items[0].n == 1 && hangs.items[1].n == 1);
	hangs_release(&hangs);
	assert_ok(hangs_load(h->db, &none, 1, &hangs, &e));
	assert_int_equal(hangs.n, 0);
	hangs_release(&hangs);
}

/* Runs of an analysis are runs of the cells that it explains. */
static void test_hangs__reruns_of_an_analysis(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct hangs hangs;
	static const struct greta_new_variant variants[] = {{"v3.sdma0", NULL}, {"v35", NULL}};
	const struct greta_new_job jobs[] = {{.variant = 0, .context = 4096}, {.variant = 1, .context = 4096}};
	struct greta_job_rows rows = {0};
	int64_t plain = environment(h, "mode", "perf", "env.A", "1");
	int64_t changed = environment(h, "mode", "perf", "env.HSA_ENABLE_SDMA", "0");
	struct greta_new_campaign rca = {.name = "c-rca", .text = "{}", .kind = GRETA_CAMPAIGN_RCA, .variants = variants,
					 .n_variants = 2, .jobs = jobs, .n_jobs = 2};
	char uuid[GRETA_UUID_LEN + 1];
	int64_t id;

	rca.explains = run(h, h->jobs[2], plain, 100, "layer 7 attn q_lds");
	assert_ok(greta_campaigns_add(h->db, &rca, &id, uuid, &e));
	assert_ok(greta_jobs_next(h->db, id, GRETA_JOB_QUEUED, -1, 10, &rows, &e));
	assert_int_equal(rows.n, 2);
	for (int i = 0; i < 9; i++)
		run(h, rows.items[0].id, changed, 200 + i, NULL);
	run(h, rows.items[1].id, plain, 300, NULL); /* another variant, though its name begins alike */
	assert_ok(hangs_load(h->db, NULL, 0, &hangs, &e));
	assert_int_equal(hangs.n, 1);
	expect_with(&hangs.items[0].vanished.items[0], WITH("A unset", "HSA_ENABLE_SDMA=0"));
	assert_int_equal(hangs.items[0].vanished.items[0].n, 9);
	expect_with(&hangs.items[0].vanished.items[1], WITH("variant v35"));
	hangs_release(&hangs);
	greta_job_rows_release(&rows);
}

/* Of a setting under which another hang was seen, nothing is said; nor of what is not known. */
static void test_hangs__no_false_hope(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct hangs hangs;
	int64_t plain = environment(h, "mode", "perf", "env.A", "1"), other = environment(h, "mode", "perf", "env.A", "2");

	run(h, h->jobs[2], plain, 100, "layer 7 attn q_lds");
	run(h, h->jobs[2], other, 200, "layer 7 swiglu");
	run(h, h->jobs[2], other, 201, NULL);
	run(h, h->jobs[2], 0, 202, NULL);
	assert_ok(hangs_load(h->db, NULL, 0, &hangs, &e));
	assert_int_equal(hangs.n, 2);
	for (size_t i = 0; i < hangs.n; i++)
		assert_int_equal(hangs.items[i].vanished.n, 0);
	hangs_release(&hangs);
}

/* Out of its budget because it was slow: no hang; or with a busy GPU that may never have ended: one. */
static void test_hangs__of_those_that_timed_out(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct hangs hangs;
	struct greta_end end = {.outcome = GRETA_OUTCOME_TIMED_OUT, .wall_s = 2, .cpu_user_s = NAN, .cpu_system_s = NAN,
				.peak_rss_bytes = -1, .class_ = GRETA_CLASS_SLOW, .certainty = GRETA_SUPPORTED};

	assert_ok(greta_attempts_end(h->db, help_attempt(h, h->jobs[0]), &end, NULL, &e));
	assert_ok(hangs_load(h->db, NULL, 0, &hangs, &e));
	assert_int_equal(hangs.n, 0);
	end.class_ = GRETA_CLASS_GPU_KERNEL;
	assert_ok(greta_attempts_end(h->db, help_attempt(h, h->jobs[1]), &end, NULL, &e));
	assert_ok(hangs_load(h->db, NULL, 0, &hangs, &e));
	assert_int_equal(hangs.n, 1);
	hangs_release(&hangs);
	end.class_ = GRETA_CLASS_COLLATERAL; /* not its own failure */
	end.outcome = GRETA_OUTCOME_COLLATERAL;
	assert_ok(greta_attempts_end(h->db, help_attempt(h, h->jobs[2]), &end, NULL, &e));
	assert_ok(hangs_load(h->db, NULL, 0, &hangs, &e));
	assert_int_equal(hangs.n, 1);
	hangs_release(&hangs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, help_setup, help_teardown)
		T(test_hangs__what_made_it_vanish),
		T(test_hangs__groups_and_campaigns),
		T(test_hangs__reruns_of_an_analysis),
		T(test_hangs__no_false_hope),
		T(test_hangs__of_those_that_timed_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
