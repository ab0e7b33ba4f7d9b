#include "tests/unit/unit.h"
#include <errno.h>
#include <string.h>

static void test_err__set_fills_and_returns_minus_one(void **state)
{
	(void)state;
	struct greta_err e = {.sys = 5};
	assert_int_equal(greta_err_set(&e, GRETA_EPROTO, "frame %d", 7), -1);
	assert_int_equal(e.code, GRETA_EPROTO);
	assert_int_equal(e.sys, 0);
	assert_string_equal(e.text, "frame 7");
	assert_int_equal(greta_err_set(NULL, GRETA_EPROTO, "x"), -1);
}

static void test_err__sys_maps_errno_and_keeps_its_words(void **state)
{
	(void)state;
	static const struct {
		int sys;
		enum greta_code code;
	} cases[] = {{ENOENT, GRETA_ENOENT}, {EEXIST, GRETA_EEXIST}, {ENOSPC, GRETA_ENOSPC}, {EDQUOT, GRETA_ENOSPC},
		     {EAGAIN, GRETA_EAGAIN}, {ENOMEM, GRETA_ENOMEM}, {EPIPE, GRETA_ECLOSED}, {EACCES, GRETA_EFAIL}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct greta_err e = {0};
		errno = cases[i].sys;
		assert_int_equal(greta_err_sys(&e, "can't open %s", "f"), -1);
		assert_int_equal(e.code, cases[i].code);
		assert_int_equal(e.sys, cases[i].sys);
		assert_int_equal(errno, cases[i].sys);
		assert_int_equal(strncmp(e.text, "can't open f: ", 14), 0);
		assert_string_equal(e.text + 14, strerror(cases[i].sys));
	}
}

static void test_err__wrap_puts_context_in_front(void **state)
{
	(void)state;
	struct greta_err e = {0};
	greta_err_set(&e, GRETA_EAUTH, "host key changed");
	greta_err_wrap(&e, "node %s", "gpu3");
	assert_string_equal(e.text, "node gpu3: host key changed");
	assert_int_equal(e.code, GRETA_EAUTH);
	/* Its own text may be an argument. */
	greta_err_set(&e, GRETA_EFAIL, "again: %s", e.text);
	assert_string_equal(e.text, "again: node gpu3: host key changed");
	greta_err_wrap(&e, "%s", e.text);
	assert_string_equal(e.text, "again: node gpu3: host key changed: again: node gpu3: host key changed");
}

static void test_err__long_text_shows_that_it_was_cut(void **state)
{
	(void)state;
	struct greta_err e = {0};
	char umlauts[1200];
	for (int odd = 0; odd < 2; odd++) { /* both ways the cut can fall into two-byte characters */
		size_t n = (size_t)odd;
		umlauts[0] = 'x';
		for (; n + 2 < sizeof umlauts; n += 2)
			memcpy(umlauts + n, "\xc3\xa4", 2);
		umlauts[n] = '\0';
		greta_err_set(&e, GRETA_EFAIL, "%s", umlauts);
		size_t len = strlen(e.text);
		assert_true(len < sizeof e.text && len > sizeof e.text - 8);
		assert_string_equal(e.text + len - 3, "...");
		assert_memory_equal(e.text + len - 5, "\xc3\xa4", 2);
	}
	errno = ENOSPC;
	greta_err_sys(&e, "%s", umlauts);
	const char *words = ": No space left on device";
	assert_string_equal(e.text + strlen(e.text) - strlen(words), words);
}

static void test_err__codes_have_names(void **state)
{
	(void)state;
	assert_string_equal(greta_code_name(GRETA_OK), "OK");
	assert_string_equal(greta_code_name(GRETA_ECANCELLED), "ECANCELLED");
	assert_string_equal(greta_code_name((enum greta_code)99), "?");
	assert_string_equal(greta_code_name((enum greta_code) - 1), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err__set_fills_and_returns_minus_one),
		cmocka_unit_test(test_err__sys_maps_errno_and_keeps_its_words),
		cmocka_unit_test(test_err__wrap_puts_context_in_front),
		cmocka_unit_test(test_err__long_text_shows_that_it_was_cut),
		cmocka_unit_test(test_err__codes_have_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
