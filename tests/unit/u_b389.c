#include "tests/unit/unit.h"

#include "orchestrator/import/b389.h"
#include <math.h>
#include <string.h>

struct tree {
	struct b389_tree t;
	struct greta_problems problems;
};

static int open_tree(struct tree *x, const char *name)
{
	struct greta_err e = {0};
	char path[512];
	snprintf(path, sizeof path, "%s/b3_89/%s", GRETA_FIXTURES, name);
	*x = (struct tree){0};
	return b389_read(path, &x->t, &x->problems, &e);
}

static void close_tree(struct tree *x)
{
	b389_release(&x->t);
	greta_problems_release(&x->problems);
}

static const struct b389_run *find(const struct tree *x, const char *variant, int64_t context, int64_t repeat)
{
	for (size_t i = 0; i < x->t.n_runs; i++) {
		const struct b389_run *r = &x->t.runs[i];
		bool same = variant ? r->variant && strcmp(r->variant, variant) == 0 : r->variant == NULL;
		if (same && r->context == context && r->repeat == repeat)
			return r;
	}
	fail_msg("no run %s %lld %lld", variant, (long long)context, (long long)repeat);
	return NULL;
}

static void test_b389__nested(void **state)
{
	(void)state;
	struct tree x;
	assert_int_equal(open_tree(&x, "nested"), 0);
	assert_int_equal(x.t.n_runs, 8);
	assert_int_equal(x.problems.n, 0);
	assert_string_equal(x.t.ticket, "b3_89");
	const struct b389_run *r = find(&x, "baseline", 4096, 0);
	assert_false(r->failed);
	assert_string_equal(r->mode, "perf");
	assert_true(fabs(greta_sample_number(&r->samples.items[0], "prefill_s") - 22.7) < 1e-9);
	assert_true(greta_sample_number(&r->samples.items[0], "prompt_tokens") == 4096);
	assert_true(b389_peak_vram(&x.t, r) == INT64_C(27917287424));
	close_tree(&x);
}

static void test_b389__event_log(void **state)
{
	(void)state;
	struct tree x;
	assert_int_equal(open_tree(&x, "nested"), 0);
	const struct b389_run *r = find(&x, "v3", 8192, 0);
	assert_true(r->failed);
	assert_int_equal(r->exit_code, 124);
	assert_int_equal((r->ended_ns - r->started_ns) / 1000000000, 1800);
	assert_int_equal(x.t.n_skips, 1);
	assert_string_equal(x.t.skips[0].variant, "v3");
	assert_int_equal(x.t.skips[0].repeat, 1);
	assert_string_equal(x.t.skips[0].reason, "first run of this cell failed");
	close_tree(&x);
}

static void test_b389__cut_prompt_keeps_its_token_count(void **state)
{
	(void)state;
	struct tree x;
	assert_int_equal(open_tree(&x, "nested"), 0);
	const struct b389_run *r = find(&x, "baseline", 8192, 1);
	assert_true(greta_sample_number(&r->samples.items[0], "prompt_tokens") == 2048);
	close_tree(&x);
}

static void test_b389__flat_names_no_variant(void **state)
{
	(void)state;
	struct tree x;
	assert_int_equal(open_tree(&x, "flat"), 0);
	assert_int_equal(x.t.n_runs, 2);
	assert_null(find(&x, NULL, 8192, 0)->variant);
	close_tree(&x);
}

static void test_b389__broken_runs_are_named(void **state)
{
	(void)state;
	struct tree x;
	struct greta_buf text = {0};
	open_tree(&x, "broken");
	assert_int_equal(x.t.n_runs, 0);
	greta_problems_print(&x.problems, "broken", &text);
	assert_non_null(strstr(text.data, "ctx_4096_run0"));
	assert_non_null(strstr(text.data, "has no perf.json"));
	greta_buf_release(&text);
	close_tree(&x);
}

static void test_b389__no_tree(void **state)
{
	(void)state;
	struct greta_err e = {0};
	struct tree x = {0};
	assert_fails(b389_read("/nowhere/at/all", &x.t, &x.problems, &e), GRETA_ENOENT);
	assert_non_null(strstr(e.text, "/nowhere/at/all"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_b389__nested),
		cmocka_unit_test(test_b389__event_log),
		cmocka_unit_test(test_b389__cut_prompt_keeps_its_token_count),
		cmocka_unit_test(test_b389__flat_names_no_variant),
		cmocka_unit_test(test_b389__broken_runs_are_named),
		cmocka_unit_test(test_b389__no_tree),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
