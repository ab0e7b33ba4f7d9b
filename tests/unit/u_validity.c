#include "tests/unit/db_help.h"

#include "base/cleanup.h"
#include "db/nodes.h"
#include "db/validity.h"
#include "orchestrator/analysis/cells.h"
#include "orchestrator/analysis/history.h"
#include "orchestrator/analysis/validity.h"

/* A campaign whose reference is `base`, each of its 8 runs on a GPU of one node of 8 CPUs. */
struct fleet {
	struct help h;
	int64_t alias, attempts[8];
};

struct reading {
	double cpu, engine_cpu, clock, throttle, throttle_before;
	const char *top1, *logits, *gpu;
};

static const struct reading usual = {60, 410, 2000, 0, 0, "17", "aa", "GPU-0"};

static void place(struct help *h, int64_t attempt, int64_t alias, const char *kind)
{
	struct greta_facts facts = {0};
	struct greta_node_ids ids;
	struct greta_err e = {0};
	cleanup_free char *text = greta_format(
		"{\"node_id\":\"key\",\"n_cpus\":8,\"devices\":["
		"{\"uuid\":\"GPU-0\",\"kind\":\"%s\",\"name\":\"G\",\"arch\":\"x\"},"
		"{\"uuid\":\"GPU-1\",\"kind\":\"%s\",\"name\":\"G\",\"arch\":\"x\"},"
		"{\"uuid\":\"GPU-2\",\"kind\":\"%s\",\"name\":\"G\",\"arch\":\"x\"}]}", kind, kind, kind);
	assert_ok(greta_facts_parse(text, strlen(text), &facts, &e));
	assert_ok(greta_nodes_record(h->db, alias, &facts, &ids, &e));
	greta_facts_release(&facts);
	const struct greta_attempt_place p = {.alias_id = alias, .node_id = ids.node_id};
	assert_ok(greta_attempts_place(h->db, attempt, &p, &e));
}

static void telemetry(struct help *h, int64_t attempt, const struct reading *r)
{
	struct greta_err e = {0};
	cleanup_buf struct greta_buf text = {0};
	greta_buf_adds(&text, "{\"columns\":[\"cpu_percent\",\"engine_cpu_percent\",\"gpu0.sclk_mhz\",\"gpu0.throttle\"],\"rows\":[");
	for (int i = 0; i < VALIDITY_READINGS; i++)
		greta_buf_addf(&text, "%s[%d000000000,%g,%g,%g,%g]", i ? "," : "", i + 1, r->cpu, r->engine_cpu, r->clock,
			       i ? r->throttle : r->throttle_before);
	greta_buf_adds(&text, "]}");
	assert_ok(help_event(h, attempt, 0, GRETA_EVENT_TELEMETRY, text.data, NULL, NULL, &e));
}

static void run(struct fleet *f, size_t job, const char *kind, const struct reading *r)
{
	struct help *h = &f->h;
	struct greta_err e = {0};
	int64_t id = f->attempts[job] = help_attempt(h, h->jobs[job]);
	place(h, id, f->alias, kind);
	cleanup_free char *started = greta_format("{\"devices\":[\"%s\"],\"build_sha256\":\"b\"}", r->gpu);
	assert_ok(help_event(h, id, 0, GRETA_EVENT_STARTED, started, NULL, NULL, &e));
	telemetry(h, id, r);
	cleanup_free char *outcome = greta_format(
		"{\"outcome\":\"ok\",\"wall_s\":100,\"tokens_verified\":1,\"started_wall_ns\":1770888600000000000,"
		"\"finished_wall_ns\":1770888700000000000,\"samples\":[{\"sample\":1,\"metrics\":{\"prefill_s\":%d,"
		"\"top1\":%s,\"logits_sha256\":\"%s\"}}],\"devices\":[\"%s\"],\"build_sha256\":\"b\"}",
		(int)(1 + job), r->top1, r->logits, r->gpu);
	struct greta_applied out;
	assert_ok(help_event(h, id, 0, GRETA_EVENT_OUTCOME, outcome, NULL, &out, &e));
	assert_true(out.counted);
}

static int64_t judge(struct fleet *f)
{
	struct greta_err e = {0};
	int64_t n;
	assert_ok(validity_judge(f->h.db, f->h.campaign_id, &n, &e));
	return n;
}

/* Job `odd` reads as r says, the others as usual. */
static int64_t judge_odd(struct fleet *f, const char *kind, size_t odd, const struct reading *r)
{
	for (size_t i = 0; i < 8; i++)
		run(f, i, kind, i == odd ? r : &usual);
	return judge(f);
}

static const char *marks(struct fleet *f)
{
	return help_str(f->h.db, "SELECT coalesce(group_concat(attempt_id || ' ' || kind || ': ' || reason, '; '), '') FROM validity");
}

/* Cells of three repeats: judged clocks need them. */
static void three_repeats(struct fleet *f)
{
	static const struct greta_new_variant v[] = {{"base", NULL}, {"v3", NULL}};
	struct greta_new_job jobs[8];
	struct greta_new_campaign c = {.name = "c3", .text = "{\"name\":\"c3\",\"model\":\"m\",\"variants\":[{\"name\":\"base\"},{\"name\":\"v3\"}],"
				       "\"contexts\":[4096],\"repeats\":4}", .variants = v, .n_variants = 2, .jobs = jobs, .n_jobs = 8};
	struct greta_job_rows rows = {0};
	struct greta_err e = {0};
	for (size_t i = 0; i < 8; i++)
		jobs[i] = (struct greta_new_job){.variant = i / 4, .context = 4096, .repeat = (int64_t)(i % 4)};
	assert_ok(greta_campaigns_add(f->h.db, &c, &f->h.campaign_id, f->h.uuid, &e));
	assert_ok(greta_jobs_next(f->h.db, f->h.campaign_id, GRETA_JOB_QUEUED, -1, 100, &rows, &e));
	for (size_t i = 0; i < 8; i++)
		f->h.jobs[i] = rows.items[i].id;
	greta_job_rows_release(&rows);
}

static int setup(void **state)
{
	struct fleet *f = greta_alloc(sizeof *f);
	struct greta_err e = {0};
	void *dir = NULL;
	if (unit_tmp_create(&dir))
		return -1;
	free(dir);
	help_open(&f->h, "x.db");
	three_repeats(f);
	assert_ok(greta_nodes_add(f->h.db, "n1", "local", NULL, NULL, &f->alias, &e));
	*state = f;
	return 0;
}

/* ---- */

static void test_validity__a_run_like_the_others_is_not_marked(void **state)
{
	assert_int_equal(judge_odd(*state, "nvidia", 9, NULL), 0);
}

static void test_validity__heat_is_a_mark_and_the_power_cap_is_none(void **state)
{
	struct fleet *f = *state;
	struct reading hot = usual, capped = usual;
	hot.throttle = 0x44;
	capped.throttle = 0x04;
	run(f, 0, "nvidia", &hot);
	run(f, 1, "nvidia", &capped);
	assert_int_equal(judge(f), 1);
	assert_non_null(strstr(marks(f), "1 throttled: GPU-0 slowed down"));
}

static void test_validity__amd_counts_are_no_mask(void **state)
{
	struct fleet *f = *state;
	struct reading counted = usual;
	counted.throttle_before = 100000;
	counted.throttle = 100255;
	assert_int_equal(judge_odd(f, "amd", 2, &counted), 0);
}

static void test_validity__collapsed_clocks_stand_out_in_their_cell(void **state)
{
	struct fleet *f = *state;
	struct reading slow = usual;
	slow.clock = 900;
	slow.throttle = 7;
	assert_int_equal(judge_odd(f, "amd", 2, &slow), 1);
	assert_non_null(strstr(marks(f), "GPU-0 ran at 900 MHz in the mean, where 2000 MHz is usual for this cell; it was throttling"));
}

static void test_validity__neighbours_are_what_is_not_ours(void **state)
{
	struct fleet *f = *state;
	struct reading busy = usual;
	busy.cpu = 95;
	busy.engine_cpu = 100; /* 7.6 CPUs are busy, 1 by itself */
	run(f, 0, "nvidia", &busy);
	assert_int_equal(judge(f), 1);
	assert_non_null(strstr(marks(f), "busy neighbour: other processes kept 6.6 of the node's 8 CPUs busy"));
	busy.engine_cpu = 660; /* at the same time, by an attempt of ours */
	run(f, 1, "nvidia", &busy);
	assert_int_equal(judge(f), 0);
}

static void test_validity__one_gpu_that_answers_alone_is_named(void **state)
{
	struct fleet *f = *state;
	struct reading other[3] = {usual, usual, usual};
	other[1].gpu = "GPU-1";
	other[2].gpu = "GPU-2";
	other[2].logits = "bb";
	for (size_t i = 0; i < 3; i++)
		run(f, i, "amd", &other[i]);
	assert_int_equal(judge(f), 1);
	assert_non_null(strstr(marks(f), "possible silent data corruption on GPU-2: its logits bb, where 2 other GPUs have aa"));
}

static void test_validity__two_gpus_against_each_other(void **state)
{
	struct fleet *f = *state;
	struct reading other = usual;
	other.gpu = "GPU-1";
	other.top1 = "18";
	run(f, 0, "amd", &usual);
	run(f, 1, "amd", &other);
	assert_int_equal(judge(f), 2);
	assert_non_null(strstr(marks(f), "nothing tells which is right"));
}

static void test_validity__bits_that_vary_everywhere_say_nothing(void **state)
{
	struct fleet *f = *state;
	struct reading other[4] = {usual, usual, usual, usual};
	for (size_t i = 1; i < 3; i++) {
		other[i].gpu = i == 1 ? "GPU-1" : "GPU-2";
		other[i].logits = i == 1 ? "bb" : "cc";
	}
	for (size_t i = 0; i < 4; i++)
		run(f, i, "amd", &other[i]);
	assert_int_equal(judge(f), 0);
}

static void test_validity__statistics_leave_it_out_unless_asked(void **state)
{
	struct fleet *f = *state;
	struct greta_err e = {0};
	struct reading hot = usual;
	struct cells cells;
	struct history h = {0};
	cleanup_buf struct greta_buf text = {0};
	hot.throttle = 0x40;
	assert_int_equal(judge_odd(f, "nvidia", 0, &hot), 1);
	assert_ok(cells_load(f->h.db, f->h.campaign_id, &cells, &e));
	assert_int_equal(cells.items[0].prefill.n, 3);
	validity_tally_text(&cells.marked, false, &text);
	assert_string_equal(text.data, "1 counted result is marked (1 throttled) and left out of the statistics; --include-marked takes them in\n");
	cells_take_marked(&cells);
	assert_int_equal(cells.items[0].prefill.n, 4);
	cells_release(&cells);
	assert_ok(history_load(f->h.db, &(struct history_filter){.campaign_id = f->h.campaign_id}, &h, &e));
	assert_int_equal(h.n, 7);
	assert_int_equal(h.marked.total, 1);
	history_release(&h);
	assert_ok(greta_marks_set(f->h.db, f->attempts[0], NULL, 0, &e));
	assert_int_equal(help_i64(f->h.db, "SELECT count(*) FROM attempt WHERE excluded IS NOT NULL"), 0);
}

/* The campaign file names its reference, or its first variant is it. */
static void test_validity__another_top1_than_the_reference(void **state)
{
	struct fleet *f = *state;
	struct reading off = usual;
	off.top1 = "99";
	for (size_t i = 0; i < 8; i++)
		run(f, i, "amd", i < 4 ? &usual : &off);
	assert_int_equal(judge(f), 4);
	assert_non_null(strstr(marks(f), "its likeliest token is 99, where the reference variant base has 17"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, help_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_validity__a_run_like_the_others_is_not_marked),
		T(test_validity__heat_is_a_mark_and_the_power_cap_is_none),
		T(test_validity__amd_counts_are_no_mask),
		T(test_validity__collapsed_clocks_stand_out_in_their_cell),
		T(test_validity__neighbours_are_what_is_not_ours),
		T(test_validity__one_gpu_that_answers_alone_is_named),
		T(test_validity__two_gpus_against_each_other),
		T(test_validity__bits_that_vary_everywhere_say_nothing),
		T(test_validity__statistics_leave_it_out_unless_asked),
		T(test_validity__another_top1_than_the_reference),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
