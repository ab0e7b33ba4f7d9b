/* Every cell of both tables: what must be refused is written down here as well as what must happen. */
#include "tests/unit/unit.h"

#include "base/log.h"
#include "orchestrator/control/job_fsm.h"

/* "-": refused; else the next state and what is to be done, by name. */
struct attempt_row {
	enum greta_attempt_state state;
	const char *cells[ATTEMPT_EVENT_COUNT];
};

/* held, absent, accepted, started, outcome, refused, lease_out, cancel */
static const struct attempt_row attempt_rows[] = {
	{GRETA_ATTEMPT_PLANNED, {"planned attach", "planned start", "dispatched none", "running none", "ended settle",
				 "ended settle", "ended settle", "planned cancel"}},
	{GRETA_ATTEMPT_DISPATCHED, {"dispatched attach", "dispatched start", "dispatched none", "running none",
				    "ended settle", "ended settle", "ended settle", "dispatched cancel"}},
	{GRETA_ATTEMPT_RUNNING, {"running attach", "ended settle", "running none", "running none", "ended settle", "-",
				 "ended settle", "running cancel"}},
	{GRETA_ATTEMPT_ENDED, {"ended reclaim", "ended none", "ended none", "ended none", "ended resettle", "-",
			       "ended none", "ended none"}},
	{GRETA_ATTEMPT_PRUNED, {"pruned reclaim", "pruned none", "-", "-", "-", "-", "pruned none", "pruned none"}},
};

static void test_job_fsm__every_cell_of_attempts(void **state)
{
	(void)state;
	assert_int_equal(sizeof attempt_rows / sizeof attempt_rows[0], GRETA_ATTEMPT_STATE_COUNT);
	for (int s = 0; s < GRETA_ATTEMPT_STATE_COUNT; s++) {
		for (int ev = 0; ev < ATTEMPT_EVENT_COUNT; ev++) {
			enum greta_attempt_state next = 99;
			enum attempt_action action = 99;
			char got[64] = "-";

			assert_int_equal(attempt_rows[s].state, s);
			if (attempt_fsm_step(s, ev, &next, &action))
				snprintf(got, sizeof got, "%s %s", greta_attempt_state_name(next),
					 attempt_action_name(action));
			else
				assert_true(next == 99 && action == 99);
			if (strcmp(got, attempt_rows[s].cells[ev]))
				fail_msg("%s while %s: %s, expected %s", attempt_event_name(ev),
					 greta_attempt_state_name(s), got, attempt_rows[s].cells[ev]);
		}
	}
}

struct job_row {
	enum greta_job_state state;
	const char *cells[JOB_EVENT_COUNT];
};

/* planned, good, retry, gave_up, skip, cancel */
static const struct job_row job_rows[] = {
	{GRETA_JOB_QUEUED, {"running none", "done count", "queued none", "queued none", "skipped dequeue",
			    "cancelled dequeue"}},
	{GRETA_JOB_RUNNING, {"-", "done count", "queued enqueue", "done finish", "-", "cancelled stop"}},
	{GRETA_JOB_DONE, {"-", "done compare", "done none", "done none", "-", "done none"}},
	{GRETA_JOB_SKIPPED, {"-", "-", "-", "-", "skipped none", "skipped none"}},
	{GRETA_JOB_CANCELLED, {"-", "cancelled none", "cancelled none", "cancelled none", "-", "cancelled none"}},
};

static void test_job_fsm__every_cell_of_jobs(void **state)
{
	(void)state;
	assert_int_equal(sizeof job_rows / sizeof job_rows[0], GRETA_JOB_STATE_COUNT);
	for (int s = 0; s < GRETA_JOB_STATE_COUNT; s++) {
		for (int ev = 0; ev < JOB_EVENT_COUNT; ev++) {
			enum greta_job_state next = 99;
			enum job_action action = 99;
			char got[64] = "-";

			assert_int_equal(job_rows[s].state, s);
			if (job_fsm_step(s, ev, &next, &action))
				snprintf(got, sizeof got, "%s %s", greta_job_state_name(next), job_action_name(action));
			if (strcmp(got, job_rows[s].cells[ev]))
				fail_msg("%s while %s: %s, expected %s", job_event_name(ev), greta_job_state_name(s), got,
					 job_rows[s].cells[ev]);
		}
	}
}

/* An attempt never goes back, whatever comes in whatever order. */
static void test_job_fsm__attempts_never_go_back(void **state)
{
	(void)state;
	for (int s = 0; s < GRETA_ATTEMPT_STATE_COUNT; s++) {
		for (int ev = 0; ev < ATTEMPT_EVENT_COUNT; ev++) {
			enum greta_attempt_state next = s;
			enum attempt_action action;

			if (attempt_fsm_step(s, ev, &next, &action))
				assert_true((int)next >= s);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_job_fsm__every_cell_of_attempts),
		cmocka_unit_test(test_job_fsm__every_cell_of_jobs),
		cmocka_unit_test(test_job_fsm__attempts_never_go_back),
	};

	greta_log_to_fd(-1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
