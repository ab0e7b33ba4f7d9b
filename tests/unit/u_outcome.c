#include "schemas/campaign.h"
#include "schemas/msg.h"
#include "schemas/outcome.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_outcome__names_read_back(void **state)
{
	(void)state;
	for (int i = 0; i < GRETA_OUTCOME_COUNT; i++)
		assert_int_equal(greta_outcome_parse(greta_outcome_name((enum greta_outcome)i)), i);
	for (int i = 0; i < GRETA_PHASE_COUNT; i++)
		assert_int_equal(greta_phase_parse(greta_phase_name((enum greta_phase)i)), i);
	for (int i = 0; i < GRETA_CLASS_COUNT; i++)
		assert_int_equal(greta_class_parse(greta_class_name((enum greta_class)i)), i);
	for (int i = GRETA_CERTAINTY_NONE; i <= GRETA_ESTABLISHED; i++)
		assert_int_equal(greta_certainty_parse(greta_certainty_name((enum greta_certainty)i)), i);
}

static void test_outcome__unknown_is_never_good(void **state)
{
	static const char *const names[] = {"", "OK", "good", "ok ", "unknown", "success", "0"};

	(void)state;
	assert_int_equal(greta_outcome_parse(NULL), GRETA_OUTCOME_UNKNOWN);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(greta_outcome_parse(names[i]), GRETA_OUTCOME_UNKNOWN);
	assert_string_equal(greta_outcome_name((enum greta_outcome)99), "?");
	assert_string_equal(greta_outcome_name((enum greta_outcome) - 1), "?");
}

static void test_outcome__what_is_slow_is_no_hang(void **state)
{
	(void)state;
	assert_true(greta_class_is_hang(GRETA_CLASS_GPU_KERNEL));
	assert_true(greta_class_is_hang(GRETA_CLASS_COLLATERAL));
	assert_false(greta_class_is_hang(GRETA_CLASS_NONE));
	assert_false(greta_class_is_hang(GRETA_CLASS_SLOW));
	assert_false(greta_class_is_hang(GRETA_CLASS_CLOCK_COLLAPSE));
}

static void test_outcome__retries_as_designed(void **state)
{
	(void)state;
	assert_int_equal(greta_outcome_default_retries(GRETA_OUTCOME_INFRA), 2);
	assert_int_equal(greta_outcome_default_retries(GRETA_OUTCOME_LOST), 1);
	assert_int_equal(greta_outcome_default_retries(GRETA_OUTCOME_PREEMPTED), -1);
	assert_int_equal(greta_outcome_default_retries(GRETA_OUTCOME_COLLATERAL), -1);
	assert_int_equal(greta_outcome_default_retries(GRETA_OUTCOME_GOOD), 0);
	assert_int_equal(greta_outcome_default_retries(GRETA_OUTCOME_HUNG), 0);
	assert_int_equal(greta_outcome_default_retries((enum greta_outcome)99), 0);
}

static void test_outcome__every_list_has_its_names(void **state)
{
	(void)state;
	assert_string_equal(greta_mode_name(GRETA_MODE_DEBUG), "debug");
	assert_string_equal(greta_order_name(GRETA_ORDER_SEQUENTIAL), "sequential");
	assert_string_equal(greta_adapter_name(GRETA_ADAPTER_LLAMA_BENCH), "llama-bench");
	assert_string_equal(greta_slot_kind_name(GRETA_SLOT_NODE), "node");
	assert_string_equal(greta_on_slow_name(GRETA_ON_SLOW_EXTEND), "extend");
	assert_string_equal(greta_event_kind_name(GRETA_EVENT_OUTCOME), "outcome");
	assert_string_equal(greta_msg_type_name(GRETA_MSG_EVENT), "event");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outcome__names_read_back),
		cmocka_unit_test(test_outcome__unknown_is_never_good),
		cmocka_unit_test(test_outcome__what_is_slow_is_no_hang),
		cmocka_unit_test(test_outcome__retries_as_designed),
		cmocka_unit_test(test_outcome__every_list_has_its_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
