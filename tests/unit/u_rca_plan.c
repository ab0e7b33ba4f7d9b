#include "tests/unit/db_help.h"

#include "base/buf.h"
#include "db/nodes.h"
#include "orchestrator/rca/rca_decide.h"
#include "orchestrator/rca/rca_plan.h"
#include "orchestrator/rca/rca_verdict.h"

static const char campaign_text[] =
	"{\"name\": \"sweep\", \"model\": {\"path\": \"/m.gguf\"}, \"contexts\": [2048, 4096, 8192], \"repeats\": 4,"
	" \"timeout_s\": {\"default\": 60, \"8192\": 900}, \"env\": {\"LANG\": \"C\"}, \"seed\": 7, \"reference\": \"base\","
	" \"gates\": {\"logits_reference\": \"base\", \"same_top1\": true},"
	" \"variants\": [{\"name\": \"base\", \"env\": {\"GPU_MAX_HW_QUEUES\": \"4\"}},"
	" {\"name\": \"v3\", \"args\": [\"--attn\", \"q_lds\"], \"env\": {\"GPU_MAX_HW_QUEUES\": \"8\"},"
	" \"expect\": {\"attn_impl\": \"q_lds\"}}]}";

static int64_t add_node(struct help *h, const char *name, const char *facts_text, int64_t *node_id)
{
	struct greta_err e = {0};
	struct greta_facts facts = {0};
	struct greta_node_ids ids;
	int64_t alias;

	assert_ok(greta_nodes_add(h->db, name, "ssh", "{}", "{}", &alias, &e));
	assert_ok(greta_facts_parse(facts_text, strlen(facts_text), &facts, &e));
	assert_ok(greta_nodes_record(h->db, alias, &facts, &ids, &e));
	greta_facts_release(&facts);
	*node_id = ids.node_id;
	return alias;
}

/* v3 at 8192 hung on GPU-1 of node n1, which has three; n2 is there, too. */
static int64_t hung_attempt(struct help *h)
{
	static const struct greta_new_variant variants[] = {{"base", NULL}, {"v3", NULL}};
	const struct greta_new_job job = {.variant = 1, .context = 8192};
	const struct greta_new_campaign c = {.name = "sweep", .text = campaign_text, .variants = variants, .n_variants = 2,
					     .jobs = &job, .n_jobs = 1, .base_dir = "/here"};
	const struct greta_end end = {.outcome = GRETA_OUTCOME_HUNG, .wall_s = 70, .cpu_user_s = NAN, .cpu_system_s = NAN};
	cleanup_buf struct greta_buf text = {0};
	struct greta_new_attempt a = {.spec = "{\"attempt\":\"0b0e5a9e-6f0c-4c38-9a37-0d7f3f6f1c11\",\"argv\":[\"x\"],"
					      "\"env\":[\"LANG=C\",\"AMD_SERIALIZE_COPY=3\"]}"};
	struct greta_err e = {0};
	char uuid[GRETA_UUID_LEN + 1];
	int64_t campaign, attempt, node, other;

	a.place.alias_id = add_node(h, "n1", "{\"node_id\":\"k1\",\"devices\":[{\"uuid\":\"GPU-1\",\"kind\":\"amd\"},"
			      "{\"uuid\":\"GPU-2\",\"kind\":\"amd\"},{\"uuid\":\"GPU-3\",\"kind\":\"amd\"}]}", &node);
	add_node(h, "n2", "{\"node_id\":\"k2\",\"devices\":[{\"uuid\":\"GPU-9\",\"kind\":\"amd\"}]}", &other);
	assert_ok(greta_campaigns_add(h->db, &c, &campaign, uuid, &e));
	a.job_id = help_i64(h->db, "SELECT max(id) FROM job");
	assert_ok(greta_attempts_plan(h->db, &a, &attempt, &e));
	assert_ok(greta_attempts_place(h->db, attempt, &(struct greta_attempt_place){.node_id = node}, &e));
	h->seq = 0;
	assert_ok(help_event(h, attempt, 0, GRETA_EVENT_STARTED, "{\"devices\":[\"GPU-1\"]}", NULL, NULL, &e));
	greta_end_print(&end, &text);
	assert_ok(help_event(h, attempt, 0, GRETA_EVENT_OUTCOME, greta_buf_str(&text), NULL, NULL, &e));
	return attempt;
}

static void parse_file(const struct rca_plan *p, struct greta_campaign *out)
{
	struct greta_problems problems = {0};
	cleanup_buf struct greta_buf said = {0};
	int rc = greta_campaign_parse("rca", greta_buf_str(&p->text), p->text.len, out, &problems);

	greta_problems_print(&problems, "rca", &said);
	greta_problems_release(&problems);
	if (rc < 0)
		fail_msg("%s\n%s", greta_buf_str(&said), greta_buf_str(&p->text));
}

static const struct greta_variant *with(const struct rca_plan *p, const struct greta_campaign *c, unsigned on)
{
	for (size_t v = 0; v < p->design.n_variants; v++)
		if (p->design.variants[v] == on)
			return &c->variants[v];
	fail_msg("no variant has just the factors %x on", on);
	return NULL;
}

static bool has(const struct greta_strs *list, const char *s)
{
	for (size_t i = 0; i < list->n; i++)
		if (greta_str_eq(list->items[i], s))
			return true;
	return false;
}

static void test_rca_plan__factors_are_those_that_can_be_varied(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct rca_request r = {.attempt_id = hung_attempt(h)};
	struct rca_plan p;
	static const char *const names[] = {"HSA_ENABLE_SDMA=0", "AMD_SERIALIZE_KERNEL=3", "GPU_MAX_HW_QUEUES=1", "variant base",
					    "another GPU than GPU-1", "another node than n1"};

	assert_ok(rca_plan_make(h->db, &r, &p, &e));
	assert_int_equal(p.design.n_factors, GRETA_COUNT(names));
	for (size_t f = 0; f < GRETA_COUNT(names); f++)
		assert_string_equal(p.design.factors[f].name, names[f]);
	assert_non_null(strstr(greta_buf_str(&p.notes), "AMD_SERIALIZE_COPY=3 is not tried: it hung with that"));
	assert_int_equal(p.design.context, 8192);
	assert_int_equal(p.design.n_contexts, 3); /* two of the campaign's, a half that is one of these, and an eighth */
	assert_int_equal(p.design.contexts[0], 1024);
	assert_int_equal(p.design.same_device, 1);
	assert_int_equal(p.design.other_devices, 2);
	assert_int_equal(p.runs.n, p.jobs.n);
	rca_plan_release(&p);
}

static void test_rca_plan__its_campaign_differs_in_the_factors_alone(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct rca_request r = {.attempt_id = hung_attempt(h)};
	struct rca_plan p;
	struct greta_campaign c = {0};
	const struct greta_variant *v;

	assert_ok(rca_plan_make(h->db, &r, &p, &e));
	parse_file(&p, &c);
	assert_true(c.gates.logits_reference == NULL); /* gates say nothing about hangs */
	assert_true(has(&c.env, "LANG=C") && greta_campaign_timeout_s(&c, 8192) == 900 && greta_campaign_timeout_s(&c, 4096) == 60);

	v = with(&p, &c, 0);
	assert_string_equal(v->name, "v3");
	assert_true(v->nodes.n == 1 && has(&v->nodes, "n1") && v->devices.n == 1 && has(&v->devices, "GPU-1"));
	assert_true(has(&v->env, "GPU_MAX_HW_QUEUES=8") && has(&v->args, "q_lds") && v->n_expect == 1);

	v = with(&p, &c, 1u << 0 | 1u << 2); /* a setting takes the place of what the variant sets */
	assert_string_equal(v->name, "v3.sdma0.queues1");
	assert_true(v->env.n == 2 && has(&v->env, "HSA_ENABLE_SDMA=0") && has(&v->env, "GPU_MAX_HW_QUEUES=1"));

	v = with(&p, &c, 1u << 3 | 1u << 4); /* the reference on another GPU */
	assert_string_equal(v->name, "base.gpu");
	assert_true(v->args.n == 0 && has(&v->env, "GPU_MAX_HW_QUEUES=4") && v->devices.n == 2 && has(&v->devices, "GPU-3"));

	v = with(&p, &c, 1u << 5); /* elsewhere no GPU is named */
	assert_true(v->nodes.n == 1 && has(&v->nodes, "n2") && v->devices.n == 0);
	greta_campaign_release(&c);
	rca_plan_release(&p);
}

static void test_rca_plan__a_quarantined_gpu_is_not_asked_for(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct rca_request r = {.attempt_id = hung_attempt(h)};
	struct rca_plan p;
	int64_t node = help_i64(h->db, "SELECT id FROM node WHERE node_key = 'k1'");
	struct greta_quarantine bad = {.slot = (char *)(uintptr_t) "gpu-GPU-2", .reason = (char *)(uintptr_t) "probe failed"};

	assert_ok(greta_quarantine_set(h->db, node, &bad, 1, &e));
	assert_ok(rca_plan_make(h->db, &r, &p, &e));
	assert_int_equal(p.design.other_devices, 1);
	rca_plan_release(&p);
	bad.slot = (char *)(uintptr_t) "gpu-GPU-1";
	assert_ok(greta_quarantine_set(h->db, node, &bad, 1, &e));
	assert_fails(rca_plan_make(h->db, &r, &p, &e), GRETA_EBUSY);
	assert_non_null(strstr(e.text, "node resume n1"));
}

static void test_rca_plan__settings_of_ones_own(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct rca_request r = {.attempt_id = hung_attempt(h), .rate = 0.2};
	struct rca_plan p;
	struct greta_campaign c = {0};

	greta_strs_add(&r.settings, "A=1,2,B=3");
	greta_strs_add(&r.settings, "AMD_SERIALIZE_COPY=3");
	assert_ok(rca_plan_make(h->db, &r, &p, &e));
	assert_int_equal(p.design.n_factors, 4);
	parse_file(&p, &c);
	assert_true(has(&with(&p, &c, 1)->env, "A=1,2") && has(&with(&p, &c, 1)->env, "B=3"));
	greta_campaign_release(&c);
	rca_plan_release(&p);
	for (int i = 0; i < 9; i++)
		greta_strs_addf(&r.settings, "S%d=1", i);
	assert_fails(rca_plan_make(h->db, &r, &p, &e), GRETA_EINVAL);
	greta_strs_release(&r.settings);
}

static void test_rca_plan__says_what_can_not_be_explained(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t good = help_attempt(h, h->jobs[0]), hung = hung_attempt(h), found;
	struct rca_plan p;

	h->seq = 0;
	help_good(h, good, 1, "x", NULL);
	assert_fails(rca_plan_make(h->db, &(struct rca_request){.attempt_id = good}, &p, &e), GRETA_EINVAL);
	assert_non_null(strstr(e.text, "ended ok, not hung"));
	assert_fails(rca_plan_attempt_of_job(h->db, h->jobs[0], &found, &e), GRETA_EINVAL);
	assert_ok(rca_plan_attempt_of_campaign(h->db, help_i64(h->db, "SELECT max(id) FROM campaign"), &found, &e));
	assert_int_equal(found, hung);
	assert_fails(rca_plan_make(h->db, &(struct rca_request){.attempt_id = hung, .budget_runs = 50}, &p, &e), GRETA_EINVAL);
	assert_non_null(strstr(e.text, "can decide nothing"));
	assert_ok(greta_nodes_set_state(h->db, help_i64(h->db, "SELECT id FROM alias WHERE name = 'n1'"), GRETA_ALIAS_QUARANTINED,
					"it fell over", &e));
	assert_fails(rca_plan_make(h->db, &(struct rca_request){.attempt_id = hung}, &p, &e), GRETA_EBUSY);
}

/* Stored, and read back with what became of its runs. */
static void test_rca_plan__is_found_again_in_the_database(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct rca_request r = {.attempt_id = hung_attempt(h)};
	struct rca_plan p;
	struct rca_verdict v;
	cleanup_buf struct greta_buf design = {0}, words = {0};
	const struct greta_new_variant variants[] = {{"v3", NULL}};
	struct greta_new_campaign c = {.name = "rca", .kind = GRETA_CAMPAIGN_RCA, .explains = r.attempt_id, .variants = variants,
				       .n_variants = 1, .n_jobs = 29};
	struct greta_new_job jobs[29];
	char uuid[GRETA_UUID_LEN + 1];
	int64_t id;

	assert_ok(rca_plan_make(h->db, &r, &p, &e));
	rca_design_print(&p.design, &design);
	for (int i = 0; i < 29; i++)
		jobs[i] = (struct greta_new_job){.context = 8192, .repeat = i, .block = RCA_AGAIN};
	c.text = greta_buf_str(&p.text);
	c.design = greta_buf_str(&design);
	c.jobs = jobs;
	assert_ok(greta_campaigns_add(h->db, &c, &id, uuid, &e));
	for (int i = 0; i < 29; i++) {
		int64_t job = help_i64(h->db, "SELECT min(id) FROM job WHERE state = 'queued' AND campaign_id = (SELECT max(id) FROM campaign)");
		int64_t attempt = help_attempt(h, job);

		h->seq = 0;
		help_good(h, attempt, 1, "x", NULL);
		assert_ok(greta_jobs_set_state(h->db, job, GRETA_JOB_DONE, NULL, &e));
	}
	assert_ok(rca_verdict_make(h->db, id, &v, &e));
	assert_int_equal(v.state.end, RCA_END_NOTHING);
	assert_int_equal(rca_verdict_exit(&v), CMD_NOT_ALL_OK);
	rca_verdict_words(&v, &words);
	assert_non_null(strstr(greta_buf_str(&words), "Nothing was found: v3 at context 8192 did not hang again. 0 of 29 hung"));
	rca_verdict_release(&v);
	rca_plan_release(&p);
	assert_fails(rca_verdict_make(h->db, h->campaign_id, &v, &e), GRETA_EINVAL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, help_setup, help_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_rca_plan__factors_are_those_that_can_be_varied),
		TEST(test_rca_plan__its_campaign_differs_in_the_factors_alone),
		TEST(test_rca_plan__a_quarantined_gpu_is_not_asked_for),
		TEST(test_rca_plan__settings_of_ones_own),
		TEST(test_rca_plan__says_what_can_not_be_explained),
		TEST(test_rca_plan__is_found_again_in_the_database),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
