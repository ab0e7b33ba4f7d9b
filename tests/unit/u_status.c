#include "tests/unit/unit.h"

#include "base/mem.h"
#include "orchestrator/commands/live.h"
#include "orchestrator/control/status.h"
#include <math.h>
#include <string.h>

static struct greta_json *encode(const struct status *s)
{
	cleanup_buf struct greta_buf text = {0};
	struct greta_jsonw w = greta_jsonw(&text);
	struct greta_err e = {0};
	struct greta_json *j;

	greta_jsonw_object(&w, NULL);
	status_print(s, &w);
	greta_jsonw_end_object(&w);
	j = greta_json_parse("status", text.data, text.len, &e);
	if (!j)
		fail_msg("%s", e.text);
	return j;
}

static void fill(struct status *s)
{
	struct status_campaign *c = GRETA_PUSH(s->campaigns, s->n_campaigns, s->cap_campaigns);
	struct status_attempt *a = GRETA_PUSH(s->attempts, s->n_attempts, s->cap_attempts);
	struct status_node *n = GRETA_PUSH(s->nodes, s->n_nodes, s->cap_nodes);

	s->controller = greta_strdup("host:42");
	s->fence = 7;
	*c = (struct status_campaign){.id = 3, .name = greta_strdup("b3\"89"), .state = greta_strdup("active"),
				      .n_jobs = 12, .n_queued = 5, .n_running = 1, .n_done = 4, .n_skipped = 1,
				      .n_cancelled = 1, .elapsed_s = 12.5, .eta_s = NAN, .eta_low_s = 10, .eta_high_s = 40};
	c->ended_by[GRETA_OUTCOME_GOOD] = 4;
	c->ended_by[GRETA_OUTCOME_HUNG] = 2;
	*a = (struct status_attempt){.campaign_id = 3, .job_id = 9, .context = 4096, .repeat = 1, .try_no = 2,
				     .variant = greta_strdup("v3"), .node = greta_strdup("gpu1"),
				     .slot = greta_strdup("gpu 3"), .running_s = 3.25, .phase_s = 1, .since_progress_s = 0.5,
				     .eta_s = 20, .budget_s = 1800, .verdict = greta_strdup("slow: layer 11 of 32"),
				     .progress = {.phase = GRETA_PHASE_PREFILL, .done = 11, .total = 32, .unit = "layer",
						  .t_s = 2.5, .at = "layer 11 attn q_lds"}};
	greta_str_copy(a->uuid, sizeof a->uuid, "6e03ab58-f8fc-4c8c-918c-8fe72627373f");
	*n = (struct status_node){.name = greta_strdup("gpu1"), .transport = greta_strdup("ssh"),
				  .state = greta_strdup("up"), .n_slots = 8, .n_busy = 1, .rtt_s = 0.001};
	GRETA_PUSH(s->news, s->n_news, s->cap_news);
	s->news[0].text = greta_strdup("gpu1: connected again");
	s->news[0].wall_ns = 1234567890123456789;
}

static void test_status__comes_back_as_it_went(void **state)
{
	struct status out = {0}, in;
	struct greta_json *j;

	(void)state;
	fill(&out);
	j = encode(&out);
	status_parse(greta_json_root(j), &in);
	greta_json_destroy(j);
	assert_string_equal(in.controller, "host:42");
	assert_int_equal(in.fence, 7);
	assert_int_equal(in.n_campaigns, 1);
	assert_string_equal(in.campaigns[0].name, "b3\"89");
	assert_memory_equal(in.campaigns[0].ended_by, out.campaigns[0].ended_by, sizeof in.campaigns[0].ended_by);
	assert_true(isnan(in.campaigns[0].eta_s) && in.campaigns[0].eta_high_s == 40);
	assert_int_equal(in.campaigns[0].n_skipped, 1);
	assert_int_equal(in.n_attempts, 1);
	assert_string_equal(in.attempts[0].uuid, out.attempts[0].uuid);
	assert_string_equal(in.attempts[0].progress.at, "layer 11 attn q_lds");
	assert_string_equal(in.attempts[0].progress.unit, "layer");
	assert_true(in.attempts[0].progress.phase == GRETA_PHASE_PREFILL && in.attempts[0].progress.total == 32);
	assert_true(in.attempts[0].budget_s == 1800 && in.attempts[0].eta_s == 20);
	assert_null(in.attempts[0].waiting_for);
	assert_string_equal(in.nodes[0].state, "up");
	assert_null(in.nodes[0].reason);
	assert_true(in.news[0].wall_ns == 1234567890123456789);
	status_release(&in);
	status_release(&out);
}

/* A controller of another release may leave things out, or say them otherwise. */
static void test_status__of_another_release(void **state)
{
	static const char text[] = "{\"campaigns\": [{\"id\": \"x\", \"later\": [1]}], \"attempts\": [{\"phase\": \"unheard\"}], "
				   "\"nodes\": {}, \"news\": 5}";
	struct greta_json *j = greta_json_parse("status", text, strlen(text), NULL);
	struct status in;

	(void)state;
	status_parse(greta_json_root(j), &in);
	greta_json_destroy(j);
	assert_int_equal(in.n_campaigns, 1);
	assert_null(in.campaigns[0].name);
	assert_true(isnan(in.campaigns[0].elapsed_s));
	assert_int_equal(in.attempts[0].progress.phase, GRETA_PHASE_NONE);
	assert_int_equal(in.n_nodes, 0);
	assert_int_equal(in.n_news, 0);
	status_release(&in);
}

/* A snapshot may hold fewer attempts than run, and a terminal has room for fewer still. */
static void test_status__draws_what_fits_and_tells_the_rest(void **state)
{
	const struct term t = {.fd = -1, .tty = true, .width = 80, .height = 24};
	cleanup_buf struct greta_buf out = {0};
	struct status s = {0};

	(void)state;
	fill(&s);
	s.campaigns[0].n_running = 40;
	live_draw(&t, &s, 3, &out);
	assert_non_null(strstr(out.data, "gpu 3"));
	assert_non_null(strstr(out.data, "... and 39 more running"));
	s.campaigns[0].n_running = 1;
	greta_buf_clear(&out);
	live_draw(&t, &s, 3, &out);
	assert_null(strstr(out.data, "more running"));
	status_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status__comes_back_as_it_went),
		cmocka_unit_test(test_status__of_another_release),
		cmocka_unit_test(test_status__draws_what_fits_and_tells_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
