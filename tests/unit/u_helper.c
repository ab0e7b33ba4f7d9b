#include "tests/unit/unit.h"

#include "agent/helper.h"
#include "base/clock.h"
#include "base/str.h"
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct answer {
	struct greta_err why;
	char out[64];
	bool given;
};

static void on_answer(void *arg, struct greta_buf *out, const struct greta_err *e)
{
	struct answer *a = arg;
	a->given = true;
	a->why = *e;
	greta_str_copy(a->out, sizeof a->out, greta_buf_str(out));
}

/* What this program then is: main looks. */
static struct answer ask(struct greta_loop *loop, const char *what, int64_t deadline_ms)
{
	struct greta_err e = {0};
	struct answer a = {0};
	const char *const args[] = {what, NULL};
	assert_non_null(helper_start(loop, args, deadline_ms, 1000, on_answer, &a, &e));
	while (!a.given)
		assert_ok(greta_loop_once(loop, 1000, &e));
	return a;
}

static bool has_child(void)
{
	siginfo_t info;
	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void test_helper__hands_over_what_was_said(void **state)
{
	struct greta_err e = {0};
	struct greta_loop *loop = greta_loop_create(&e);
	(void)state;
	struct answer a = ask(loop, "speak", 60000);
	assert_int_equal(a.why.code, GRETA_OK);
	assert_string_equal(a.out, "word\n");
	a = ask(loop, "fail", 60000);
	assert_int_equal(a.why.code, GRETA_EFAIL);
	assert_string_equal(a.why.text, "no luck");
	assert_false(has_child());
	greta_loop_destroy(loop);
}

/* A session may live for weeks, and ask what hangs each time. */
static void test_helper__one_that_was_killed_leaves_no_zombie(void **state)
{
	struct greta_err e = {0};
	struct greta_loop *loop = greta_loop_create(&e);
	(void)state;
	struct answer a = ask(loop, "hang", 50);
	assert_int_equal(a.why.code, GRETA_ETIMEOUT);
	int64_t end_ns = greta_clock_mono_ns() + 20 * GRETA_NS_PER_S;
	while (has_child() && greta_clock_mono_ns() < end_ns)
		assert_ok(greta_loop_once(loop, 20, &e));
	assert_false(has_child());
	greta_loop_destroy(loop);
}

static int be_helper(const char *what)
{
	if (strcmp(what, "hang") == 0)
		pause();
	if (strcmp(what, "fail") == 0)
		fprintf(stderr, "some words\ngreta-agent: error: no luck\n");
	if (strcmp(what, "speak") == 0)
		puts("word");
	return strcmp(what, "speak") == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_helper__hands_over_what_was_said),
		cmocka_unit_test(test_helper__one_that_was_killed_leaves_no_zombie),
	};
	if (argc > 1)
		return be_helper(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
