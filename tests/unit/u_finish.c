#include "tests/unit/unit.h"

#include "agent/finish.h"
#include "base/mem.h"
#include <math.h>
#include <signal.h>
#include <string.h>

#define EXITED(code) ((code) << 8)
#define SIGNALLED(n) (n)

static struct greta_spec spec = {.context = 4096, .samples = 1, .wall_s = 100};

static void add_sample(struct greta_end *end, double prefill_s)
{
	struct greta_sample *s = GRETA_PUSH(end->samples.items, end->samples.n, end->samples.cap);
	s->sample_no = 1;
	greta_sample_set_number(s, "prefill_s", prefill_s);
	greta_sample_set_number(s, "prompt_tokens", 4096);
	greta_sample_set_text(s, "attn_impl", "q_lds");
}

static void check(struct finish_input in, double prefill_s, enum greta_outcome outcome, const char *has)
{
	struct greta_end end = {.wall_s = 50};
	in.spec = &spec;
	if (!in.complaints)
		in.complaints = "";
	if (!in.last_line)
		in.last_line = "";
	if (prefill_s >= 0)
		add_sample(&end, prefill_s);
	finish_judge(&in, &end);
	assert_string_equal(greta_outcome_name(end.outcome), greta_outcome_name(outcome));
	if (has && (!end.reason || !strstr(end.reason, has)))
		fail_msg("\"%s\" does not say \"%s\"", end.reason, has);
	if (!has)
		assert_null(end.reason);
	greta_end_release(&end);
}

static void test_finish__a_neighbour_s_doing(void **state)
{
	const char *why = "a neighbour's GPU took it down";
	(void)state;
	check((struct finish_input){.started = true, .exited = true, .status = EXITED(1), .collateral = why,
				    .collateral_certainty = GRETA_ESTABLISHED, .last_line = "HIP error"},
	      -1, GRETA_OUTCOME_COLLATERAL, "exit 1; last words: HIP error");
	check((struct finish_input){.started = true, .exited = true, .status = SIGNALLED(SIGABRT), .collateral = why}, -1,
	      GRETA_OUTCOME_COLLATERAL, why);
	check((struct finish_input){.started = true, .exited = true, .status = EXITED(1), .collateral = why, .oom_proof = "oom-kill"},
	      -1, GRETA_OUTCOME_OOM, "oom-kill");
	check((struct finish_input){.started = true, .exited = true, .collateral = why}, 1.5, GRETA_OUTCOME_GOOD, NULL);
	check((struct finish_input){.started = true, .stop = STOP_VERDICT, .stop_text = "no progress",
				    .class_ = GRETA_CLASS_COLLATERAL, .certainty = GRETA_SUPPORTED},
	      -1, GRETA_OUTCOME_COLLATERAL, "no progress");
	check((struct finish_input){.started = true, .stop = STOP_WALL, .class_text = "the GPU is busy",
				    .class_ = GRETA_CLASS_COLLATERAL, .certainty = GRETA_SUPPORTED},
	      -1, GRETA_OUTCOME_COLLATERAL, "not moving: the GPU is busy");
}

static void test_finish__what_the_engine_did(void **state)
{
	(void)state;
	check((struct finish_input){.started = true, .exited = true}, 1.5, GRETA_OUTCOME_GOOD, NULL);
	check((struct finish_input){.started = true, .exited = true}, -1, GRETA_OUTCOME_INVALID, "without a result");
	check((struct finish_input){.started = true, .exited = true}, 0, GRETA_OUTCOME_INVALID, "prefill_s");
	check((struct finish_input){.started = true, .exited = true}, 60, GRETA_OUTCOME_INVALID, "50");
	check((struct finish_input){.started = true, .exited = true, .contradicts = true, .complaints = "1 and 2"}, 1,
	      GRETA_OUTCOME_INVALID, "1 and 2");
	check((struct finish_input){.started = true, .exited = true, .status = EXITED(3), .last_line = "boom"}, -1,
	      GRETA_OUTCOME_FAILED, "exit 3; last words: boom");
	check((struct finish_input){.started = true, .exited = true, .status = EXITED(3)}, 1.5, GRETA_OUTCOME_FAILED, "exit 3");
	check((struct finish_input){.started = true, .exited = true, .status = SIGNALLED(SIGSEGV)}, -1, GRETA_OUTCOME_FAILED,
	      "signal 11");
	check((struct finish_input){.started = true, .exited = true, .status = SIGNALLED(SIGKILL), .oom_proof = "Killed process 7"},
	      -1, GRETA_OUTCOME_OOM, "Killed process 7");
}

static void test_finish__what_the_supervisor_did(void **state)
{
	(void)state;
	check((struct finish_input){.start_cause = "exec", .start_error = "no such program"}, -1, GRETA_OUTCOME_INFRA,
	      "no such program");
	check((struct finish_input){.start_cause = "gate", .start_error = "gate: 812 bytes"}, -1, GRETA_OUTCOME_INVALID, "812");
	check((struct finish_input){.stop = STOP_CANCEL, .stop_text = "by bob"}, -1, GRETA_OUTCOME_CANCELLED, "by bob");
	check((struct finish_input){.started = true, .exited = true, .stop = STOP_CANCEL, .stop_text = "by bob"}, -1,
	      GRETA_OUTCOME_CANCELLED, "by bob");
	check((struct finish_input){.started = true, .exited = true, .stop = STOP_PREEMPT, .stop_text = "told to"}, -1,
	      GRETA_OUTCOME_PREEMPTED, "told to");
	check((struct finish_input){.started = true, .exited = true, .stop = STOP_WALL, .projection = "layer 11 of 32"}, -1,
	      GRETA_OUTCOME_TIMED_OUT, "layer 11 of 32");
	check((struct finish_input){.started = true, .exited = true, .stop = STOP_WALL}, -1, GRETA_OUTCOME_TIMED_OUT,
	      "no progress");
	check((struct finish_input){.started = true, .exited = true, .stop = STOP_WALL, .class_ = GRETA_CLASS_HOST_DEADLOCK,
				    .certainty = GRETA_SUPPORTED, .class_text = "all asleep"}, -1, GRETA_OUTCOME_HUNG, "all asleep");
	check((struct finish_input){.started = true, .exited = true, .stop = STOP_VERDICT, .class_ = GRETA_CLASS_HOST_SPIN,
				    .stop_text = "spins"}, -1, GRETA_OUTCOME_HUNG, "spins");
	check((struct finish_input){.started = true, .exited = true, .stop = STOP_WALL, .class_ = GRETA_CLASS_HOST_SPIN,
				    .certainty = GRETA_HYPOTHESIS, .class_text = "loop or work"}, -1, GRETA_OUTCOME_TIMED_OUT,
	      "loop or work");
	check((struct finish_input){.started = true, .exited = true, .stop = STOP_LIMIT, .stop_text = "load took longer"}, -1,
	      GRETA_OUTCOME_TIMED_OUT, "load took longer");
	/* a result that came before the stop does not make it good */
	check((struct finish_input){.started = true, .exited = true, .stop = STOP_CANCEL, .stop_text = "by bob"}, 1.5,
	      GRETA_OUTCOME_CANCELLED, "by bob");
}

/* Whatever is put in: never unknown, and good only for an exit 0 with a result that was not stopped. */
static void test_finish__every_combination(void **state)
{
	static const int statuses[] = {0, EXITED(1), EXITED(137), SIGNALLED(SIGKILL), SIGNALLED(SIGTERM)};
	(void)state;
	for (unsigned bits = 0; bits < 64; bits++) {
		for (int stop = STOP_NOT; stop <= STOP_PREEMPT; stop++) {
			for (size_t k = 0; k < GRETA_COUNT(statuses); k++) {
				struct greta_end end = {.wall_s = NAN};
				struct finish_input in = {
					.spec = &spec, .complaints = "", .last_line = "", .stop_text = "why",
					.stop = (enum stop_why)stop, .status = statuses[k],
					.started = bits & 1, .exited = bits & 2, .contradicts = bits & 4,
					.oom_proof = bits & 8 ? "proof" : NULL,
					.class_ = bits & 16 ? GRETA_CLASS_HOST_IO : GRETA_CLASS_NONE,
				};
				if (bits & 32)
					add_sample(&end, 1);
				end.wall_s = 50;
				finish_judge(&in, &end);
				bool may_be_good = in.started && in.exited && stop == STOP_NOT && in.status == 0 && !in.contradicts &&
						   (bits & 32);
				assert_int_not_equal(end.outcome, GRETA_OUTCOME_UNKNOWN);
				assert_int_equal(end.outcome == GRETA_OUTCOME_GOOD, may_be_good);
				assert_true(may_be_good || (end.reason && end.reason[0]));
				greta_end_release(&end);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finish__what_the_engine_did),
		cmocka_unit_test(test_finish__a_neighbour_s_doing),
		cmocka_unit_test(test_finish__what_the_supervisor_did),
		cmocka_unit_test(test_finish__every_combination),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
