#include "tests/unit/unit.h"

#include "base/mem.h"
#include "orchestrator/plan/plan_order.h"

static struct greta_campaign parse(const char *rest)
{
	struct greta_campaign c = {0};
	struct greta_problems problems = {0};
	cleanup_buf struct greta_buf text = {0}, said = {0};

	greta_buf_addf(&text, "{\"name\": \"x\", \"variants\": [{\"name\": \"a\", \"args\": [\"1\"]}, {\"name\": \"b\"}, "
			      "{\"name\": \"c\", \"args\": [\"2\"]}], \"engine\": {\"command\": [\"/bin/e\", \"{context}\"], "
			      "\"adapter\": \"perf_timing\"}, %s}", rest);
	if (greta_campaign_parse("x", text.data, text.len, &c, &problems) != 0) {
		greta_problems_print(&problems, "x", &said);
		fail_msg("%s", greta_buf_str(&said));
	}
	greta_problems_release(&problems);
	return c;
}

static bool same(const struct plan_job *a, const struct plan_job *b)
{
	return a->variant == b->variant && a->context == b->context && a->repeat == b->repeat;
}

/* Each cell of the matrix is there exactly once. */
static void check_whole(const struct greta_campaign *c, const struct plan *p)
{
	size_t n = 0;

	for (size_t k = 0; k < c->n_contexts; k++)
		n += c->n_variants * (size_t)greta_campaign_repeats(c, c->contexts[k]);
	assert_int_equal(p->n, n);
	for (size_t i = 0; i < p->n; i++) {
		assert_true(p->jobs[i].repeat < greta_campaign_repeats(c, p->jobs[i].context));
		for (size_t k = i + 1; k < p->n; k++)
			assert_false(same(&p->jobs[i], &p->jobs[k]));
	}
}

static void test_plan_order__interleaved_blocks(void **state)
{
	struct greta_campaign c = parse("\"contexts\": [10, 20, 30], \"repeats\": 4, \"seed\": 7");
	struct plan p;
	bool shuffled = false;

	(void)state;
	assert_int_equal(plan_make(&c, &p, NULL), 0);
	check_whole(&c, &p);
	for (size_t i = 0; i < p.n; i++) {
		assert_int_equal(p.jobs[i].block, (int64_t)i / 9);
		assert_int_equal(p.jobs[i].repeat, p.jobs[i].block);
		if (i >= 9)
			shuffled |= p.jobs[i].variant != p.jobs[i - 9].variant || p.jobs[i].context != p.jobs[i - 9].context;
	}
	assert_true(shuffled);
	plan_release(&p);
	greta_campaign_release(&c);
}

static void test_plan_order__the_seed_decides(void **state)
{
	struct greta_campaign c = parse("\"contexts\": [10, 20, 30], \"repeats\": 3, \"seed\": 1");
	struct plan a, b, d;
	bool differs = false;

	(void)state;
	assert_int_equal(plan_make(&c, &a, NULL), 0);
	assert_int_equal(plan_make(&c, &b, NULL), 0);
	c.seed = 2;
	assert_int_equal(plan_make(&c, &d, NULL), 0);
	for (size_t i = 0; i < a.n; i++) {
		assert_true(same(&a.jobs[i], &b.jobs[i]));
		differs |= !same(&a.jobs[i], &d.jobs[i]);
	}
	assert_true(differs);
	plan_release(&a);
	plan_release(&b);
	plan_release(&d);
	greta_campaign_release(&c);
}

/* Every cell should be as likely in every place of a block: over 3,000 seeds each of 9 places within 5 sigma. */
static void test_plan_order__shuffles_evenly(void **state)
{
	struct greta_campaign c = parse("\"contexts\": [10, 20, 30], \"repeats\": 1");
	int seen[9] = {0};

	(void)state;
	for (uint64_t seed = 0; seed < 3000; seed++) {
		struct plan p;

		c.seed = seed;
		assert_int_equal(plan_make(&c, &p, NULL), 0);
		for (int i = 0; i < 9; i++)
			if (p.jobs[i].variant == 0 && p.jobs[i].context == 10)
				seen[i]++;
		plan_release(&p);
	}
	for (int i = 0; i < 9; i++)
		assert_in_range(seen[i], 333 - 86, 333 + 86);
	greta_campaign_release(&c);
}

static void test_plan_order__sequential(void **state)
{
	struct greta_campaign c = parse("\"contexts\": [10, 20], \"repeats\": 2, \"order\": \"sequential\"");
	struct plan p;

	(void)state;
	assert_int_equal(plan_make(&c, &p, NULL), 0);
	check_whole(&c, &p);
	for (size_t i = 0; i < p.n; i++) {
		assert_int_equal(p.jobs[i].variant, i / 4);
		assert_int_equal(p.jobs[i].context, i / 2 % 2 ? 20 : 10);
		assert_int_equal(p.jobs[i].repeat, i % 2);
		assert_int_equal(p.jobs[i].block, 0);
	}
	plan_release(&p);
	greta_campaign_release(&c);
}

static void test_plan_order__too_many(void **state)
{
	struct greta_campaign c = parse("\"contexts\": [10, 20], \"repeats\": 2");
	struct greta_err e = {0};
	struct plan p;

	(void)state;
	c.repeats[0].n = PLAN_JOBS_MAX;
	assert_int_equal(plan_make(&c, &p, &e), -1);
	assert_int_equal(e.code, GRETA_EINVAL);
	assert_non_null(strstr(e.text, "60000000 jobs"));
	greta_campaign_release(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plan_order__interleaved_blocks),
		cmocka_unit_test(test_plan_order__the_seed_decides),
		cmocka_unit_test(test_plan_order__shuffles_evenly),
		cmocka_unit_test(test_plan_order__sequential),
		cmocka_unit_test(test_plan_order__too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
