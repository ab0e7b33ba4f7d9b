#include "base/fs.h"
#include "base/mem.h"
#include "schemas/campaign.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- the fixtures: what is wrong with a file stands in it, as "// expect: " lines */

#define EXPECT "// expect: "

static size_t check_expectations(const char *file, const char *text, const struct greta_buf *printed)
{
	size_t n = 0;

	for (const char *at = text; (at = strstr(at, EXPECT)); n++) {
		size_t len = strcspn(at, "\n") - strlen(EXPECT);
		cleanup_buf struct greta_buf wanted = {0};

		at += strlen(EXPECT);
		greta_buf_add(&wanted, at, len);
		if (!strstr(greta_buf_str(printed), wanted.data))
			fail_msg("%s: did not say\n  %s\nbut\n%s", file, wanted.data, greta_buf_str(printed));
	}
	return n;
}

static void check_fixture(const char *path, const char *file, bool good)
{
	struct greta_campaign c;
	struct greta_problems problems = {0};
	cleanup_buf struct greta_buf text = {0}, printed = {0};
	int rc = greta_campaign_load(path, &c, &problems, &text);

	greta_problems_print(&problems, file, &printed);
	if (rc != (good ? 0 : -1))
		fail_msg("%s: returned %d and said\n%s", file, rc, greta_buf_str(&printed));
	if (check_expectations(file, greta_buf_str(&text), &printed) != problems.n)
		fail_msg("%s: said something that is not expected\n%s", file, greta_buf_str(&printed));
	assert_true(good ? greta_problems_errors(&problems) == 0 : greta_problems_errors(&problems) > 0);
	if (!good)
		assert_null(c.name);
	greta_problems_release(&problems);
	greta_campaign_release(&c);
}

static void check_folder(const char *folder, bool good)
{
	cleanup_buf struct greta_buf dir = {0};
	DIR *d;
	int n = 0;

	greta_buf_addf(&dir, GRETA_FIXTURES "/campaigns/%s", folder);
	d = opendir(dir.data);
	assert_non_null(d);
	for (const struct dirent *entry; (entry = readdir(d));) {
		cleanup_buf struct greta_buf path = {0};

		if (!greta_str_ends(entry->d_name, ".json"))
			continue;
		greta_buf_addf(&path, "%s/%s", dir.data, entry->d_name);
		check_fixture(path.data, entry->d_name, good);
		n++;
	}
	closedir(d);
	assert_true(n > 2);
}

static void test_campaign__good_files(void **state)
{
	(void)state;
	check_folder("good", true);
}

static void test_campaign__bad_files(void **state)
{
	(void)state;
	check_folder("bad", false);
}

static void test_campaign__contradictory_files(void **state)
{
	(void)state;
	check_folder("contradictory", false);
}

static void test_campaign__examples(void **state)
{
	static const char *const examples[] = {"quickstart.json", "b3_89.json", "ladder.json", "long_context.json"};

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(examples); i++) {
		cleanup_buf struct greta_buf path = {0};

		greta_buf_addf(&path, GRETA_FIXTURES "/../../examples/%s", examples[i]);
		check_fixture(path.data, examples[i], true);
	}
}

/* ---- what comes out */

static void load(const char *file, struct greta_campaign *c)
{
	cleanup_buf struct greta_buf path = {0}, printed = {0};
	struct greta_problems problems = {0};

	greta_buf_addf(&path, GRETA_FIXTURES "/campaigns/good/%s", file);
	if (greta_campaign_load(path.data, c, &problems, NULL)) {
		greta_problems_print(&problems, file, &printed);
		fail_msg("%s", printed.data);
	}
	greta_problems_release(&problems);
}

static void test_campaign__defaults(void **state)
{
	struct greta_campaign c;

	(void)state;
	load("minimal.json", &c);
	assert_string_equal(c.name, "minimal");
	assert_string_equal(c.reference, "baseline");
	assert_non_null(strstr(c.file, "minimal.json"));
	assert_int_equal(c.mode, GRETA_MODE_PERF);
	assert_string_equal(c.model.path, "model.gguf");
	assert_true(c.model.upload);
	assert_string_equal(c.engine.command.items[0], "greta-infer");
	assert_string_equal(c.engine.executable.path, "greta-infer");
	assert_false(c.engine.executable.upload);
	assert_int_equal(c.engine.adapter, GRETA_ADAPTER_PERF_TIMING);
	assert_int_equal(greta_campaign_repeats(&c, 4096), 3);
	assert_true(greta_campaign_timeout_s(&c, 4096) == 1800);
	assert_int_equal(c.samples_per_attempt, 1);
	assert_int_equal(c.warmup, 0);
	assert_int_equal(c.order, GRETA_ORDER_INTERLEAVED);
	assert_int_equal(c.slot, GRETA_SLOT_GPU);
	assert_int_equal(c.n_gpus, 1);
	assert_int_equal(c.retries[GRETA_OUTCOME_INFRA], 2);
	assert_int_equal(c.retries[GRETA_OUTCOME_LOST], 1);
	assert_int_equal(c.retries[GRETA_OUTCOME_PREEMPTED], -1);
	assert_int_equal(c.retries[GRETA_OUTCOME_HUNG], 0);
	for (int p = 0; p < GRETA_PHASE_COUNT; p++) /* what moves is not ended before its budget */
		assert_true(c.phases[p].limit_s == 0);
	greta_campaign_release(&c);
}

static void test_campaign__everything(void **state)
{
	static const int64_t contexts[] = {1000, 4096, 8192, 16384, 32768, 40000, 50000, 60000};
	struct greta_campaign c;
	const struct greta_engine *v4;

	(void)state;
	load("everything.json", &c);
	assert_int_equal(c.n_contexts, GRETA_COUNT(contexts));
	assert_memory_equal(c.contexts, contexts, sizeof(contexts));
	assert_int_equal(greta_campaign_repeats(&c, 4096), 5);
	assert_int_equal(greta_campaign_repeats(&c, 32768), 2);
	assert_true(greta_campaign_timeout_s(&c, 4096) == 900);
	assert_true(greta_campaign_timeout_s(&c, 32768) == 5400.5);
	assert_false(c.model.upload);
	assert_int_equal(c.variants[1].n_expect, 3);
	assert_string_equal(c.variants[1].expect[1].value, "32");
	assert_string_equal(c.variants[1].expect[2].value, "1");
	assert_string_equal(c.env.items[1], "HF_TOKEN");
	v4 = greta_campaign_engine(&c, &c.variants[2]);
	assert_ptr_not_equal(v4, &c.engine);
	assert_string_equal(v4->executable.path, "builds/v4/greta_infer");
	assert_true(v4->executable.upload);
	assert_null(v4->executable.sha256); /* the campaign's is of another file */
	assert_string_equal(v4->build_id, "core-v4");
	assert_int_equal(v4->command.n, c.engine.command.n);
	assert_true(v4->max_seq_len_env);
	assert_int_equal(c.n_gpus, 2);
	assert_int_equal(c.seed, 42);
	assert_int_equal(c.retries[GRETA_OUTCOME_INFRA], 3);
	assert_int_equal(c.retries[GRETA_OUTCOME_PREEMPTED], -1);
	assert_true(c.phases[GRETA_PHASE_PREFILL].silence_s == 0);
	assert_true(c.phases[GRETA_PHASE_DECODE].silence_s == 60);
	assert_true(c.gates.same_top1 && c.gates.no_spill);
	assert_string_equal(c.labels.items[0], "gpu=mi300x");
	greta_campaign_release(&c);
}

static void test_campaign__unreadable_file(void **state)
{
	struct greta_campaign c;
	struct greta_problems problems = {0};
	cleanup_buf struct greta_buf printed = {0};

	(void)state;
	assert_int_equal(greta_campaign_load("/nonexistent/c.json", &c, &problems, NULL), -1);
	assert_int_equal(problems.n, 1);
	greta_problems_print(&problems, "c.json", &printed);
	assert_non_null(strstr(printed.data, "No such file"));
	greta_problems_release(&problems);
}

/* A file of nothing but mistakes is told so, and not at length. */
static void test_campaign__bounds_its_complaints(void **state)
{
	struct greta_campaign c;
	struct greta_problems problems = {0};
	cleanup_buf struct greta_buf text = {0};

	(void)state;
	greta_buf_adds(&text, "{\"contexts\":[");
	for (int i = 0; i < 5000; i++)
		greta_buf_adds(&text, "\"x\\u001b[31m\",");
	greta_buf_adds(&text, "1]}");
	assert_int_equal(greta_campaign_parse("t", text.data, text.len, &c, &problems), -1);
	assert_int_equal(problems.n, 201);
	for (size_t i = 0; i < problems.n; i++)
		assert_null(strchr(problems.items[i].text, '\x1b'));
	greta_problems_release(&problems);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_campaign__good_files),
		cmocka_unit_test(test_campaign__bad_files),
		cmocka_unit_test(test_campaign__contradictory_files),
		cmocka_unit_test(test_campaign__examples),
		cmocka_unit_test(test_campaign__defaults),
		cmocka_unit_test(test_campaign__everything),
		cmocka_unit_test(test_campaign__unreadable_file),
		cmocka_unit_test(test_campaign__bounds_its_complaints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
