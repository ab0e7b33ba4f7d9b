#include "tests/unit/unit.h"

#include "agent/progress.h"
#include <string.h>

#define MS INT64_C(1000000)

static bool feed(struct progress *p, const char *text)
{
	return progress_feed(p, text, strlen(text));
}

static void test_progress__lines_in_any_pieces(void **state)
{
	const char *text = "{\"phase\":\"load\",\"done\":1,\"total\":2}\n\n{\"phase\":\"prefill\",\"done\":3,\"total\":32,\"unit\":\"layer\"}\n";
	(void)state;
	for (size_t cut = 0; cut <= strlen(text); cut++) {
		struct progress p;
		progress_init(&p);
		progress_feed(&p, text, cut);
		progress_feed(&p, text + cut, strlen(text) - cut);
		assert_int_equal(p.n_lines, 2);
		assert_int_equal(p.n_garbled, 0);
		assert_int_equal(p.last.phase, GRETA_PHASE_PREFILL);
		assert_true(p.last.done == 3);
		progress_release(&p);
	}
}

static void test_progress__every_line_of_a_feed_is_there(void **state)
{
	struct progress p;
	(void)state;
	progress_init(&p);
	assert_true(feed(&p, "{\"phase\":\"prefill\",\"done\":1,\"total\":9}\nnonsense\n{\"phase\":\"prefill\",\"done\":2,\"total\":9}\n{\"pha"));
	assert_int_equal(p.n_fresh, 2);
	assert_true(p.fresh[0].done == 1 && p.fresh[1].done == 2);
	assert_true(feed(&p, "se\":\"prefill\",\"done\":3,\"total\":9}\n"));
	assert_int_equal(p.n_fresh, 1);
	assert_true(p.fresh[0].done == 3);
	assert_false(feed(&p, "nonsense\n"));
	assert_int_equal(p.n_fresh, 0);
	progress_release(&p);
}

static void test_progress__garbage_is_counted(void **state)
{
	struct progress p;
	char big[PROGRESS_LINE_MAX * 3];
	(void)state;
	progress_init(&p);
	memset(big, 'x', sizeof big);
	assert_false(feed(&p, "nonsense\n"));
	assert_false(progress_feed(&p, big, sizeof big));
	assert_true(p.line.len <= PROGRESS_LINE_MAX);
	assert_false(feed(&p, "tail of it\n"));
	assert_true(feed(&p, "{\"phase\":\"decode\",\"done\":1,\"total\":1}\n"));
	assert_int_equal(p.n_garbled, 2);
	assert_int_equal(p.n_lines, 1);
	progress_release(&p);
}

static void test_progress__is_thinned_out(void **state)
{
	struct progress p;
	int told = 0;
	(void)state;
	progress_init(&p);
	for (int ms = 0; ms < 10000; ms++) {
		feed(&p, "{\"phase\":\"prefill\",\"done\":1,\"total\":32}\n");
		told += progress_due(&p, ms * MS);
	}
	assert_true(told >= 39 && told <= 41); /* 4 a second */
	assert_true(progress_wait_ns(&p, 10000 * MS) >= 0);
	assert_false(progress_due(&p, 10000 * MS) && progress_due(&p, 10000 * MS));
	progress_release(&p);
}

static void test_progress__a_new_phase_is_told_at_once(void **state)
{
	struct progress p;
	(void)state;
	progress_init(&p);
	feed(&p, "{\"phase\":\"load\",\"done\":1,\"total\":2}\n");
	assert_true(progress_due(&p, 1 * MS));
	feed(&p, "{\"phase\":\"load\",\"done\":2,\"total\":2}\n");
	assert_false(progress_due(&p, 2 * MS));
	assert_int_equal(progress_wait_ns(&p, 2 * MS), 249 * MS);
	feed(&p, "{\"phase\":\"prefill\",\"done\":0,\"total\":2}\n");
	assert_true(progress_due(&p, 3 * MS));
	assert_int_equal(progress_wait_ns(&p, 3 * MS), -1);
	progress_release(&p);
}

static void test_progress__endless_changes_of_phase_are_bounded(void **state)
{
	struct progress p;
	int told = 0;
	(void)state;
	progress_init(&p);
	for (int i = 0; i < 100000; i++) {
		feed(&p, i % 2 ? "{\"phase\":\"load\",\"done\":1,\"total\":2}\n" : "{\"phase\":\"prefill\",\"done\":1,\"total\":2}\n");
		told += progress_due(&p, i * MS / 10); /* ten seconds in all */
	}
	assert_true(told < PROGRESS_BURST + 100);
	progress_release(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_progress__lines_in_any_pieces),
		cmocka_unit_test(test_progress__every_line_of_a_feed_is_there),
		cmocka_unit_test(test_progress__garbage_is_counted),
		cmocka_unit_test(test_progress__is_thinned_out),
		cmocka_unit_test(test_progress__a_new_phase_is_told_at_once),
		cmocka_unit_test(test_progress__endless_changes_of_phase_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
