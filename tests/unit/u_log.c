#include "base/cleanup.h"
#include "base/log.h"
#include "tests/unit/unit.h"
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <string.h>

static int ends[2];

static int open_pipe(void **state)
{
	(void)state;
	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0)
		return -1;
	greta_log_init("greta-x", GRETA_LOG_INFO);
	greta_log_to_fd(ends[1]);
	return 0;
}

static int close_pipe(void **state)
{
	(void)state;
	greta_log_to_fd(2);
	close(ends[0]);
	close(ends[1]);
	return 0;
}

static const char *logged(int fd)
{
	static char text[4096];
	ssize_t n = read(fd, text, sizeof text - 1);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void test_log__lines_name_program_and_level(void **state)
{
	(void)state;
	greta_info("hello %d", 1);
	assert_string_equal(logged(ends[0]), "greta-x: hello 1\n");
	greta_warn("odd");
	assert_string_equal(logged(ends[0]), "greta-x: warning: odd\n");
	greta_error("bad\n");
	assert_string_equal(logged(ends[0]), "greta-x: error: bad\n");
	greta_error("%s", "");
	assert_string_equal(logged(ends[0]), "greta-x: error: \n");
}

static void test_log__level_and_silence(void **state)
{
	(void)state;
	greta_debug("hidden");
	assert_string_equal(logged(ends[0]), "");
	greta_log_level_set(GRETA_LOG_DEBUG);
	greta_debug("shown");
	assert_string_equal(logged(ends[0]), "greta-x: debug: shown\n");
	greta_log_to_fd(-1);
	greta_error("silent");
	assert_string_equal(logged(ends[0]), "");
}

static void test_log__quoted_output_cannot_drive_the_terminal(void **state)
{
	(void)state;
	greta_info("%s", "a\033[2Jb\rc\td\ne\x7f");
	assert_string_equal(logged(ends[0]), "greta-x: a?[2Jb?c\td\ne?\n");
}

static void test_log__errno_survives(void **state)
{
	(void)state;
	int closed = ends[1];
	greta_log_to_fd(1000);
	errno = ENOSPC;
	greta_error("nowhere to go");
	assert_int_equal(errno, ENOSPC);
	greta_log_to_fd(closed);
}

static void test_log__colours_only_on_a_terminal(void **state)
{
	(void)state;
	int master, terminal;
	if (openpty(&master, &terminal, NULL, NULL, NULL) != 0) {
		print_message("skipped: no pseudo-terminal to be had\n");
		skip();
	}
	setenv("TERM", "xterm", 1);
	unsetenv("NO_COLOR");
	greta_log_to_fd(terminal);
	greta_error("x");
	assert_non_null(strstr(logged(master), "\033[1;31merror: \033[0mx"));
	setenv("NO_COLOR", "1", 1);
	greta_error("x");
	assert_null(strchr(logged(master), '\033'));
	unsetenv("NO_COLOR");
	setenv("TERM", "dumb", 1);
	greta_error("x");
	assert_null(strchr(logged(master), '\033'));
	close(master);
	close(terminal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_log__lines_name_program_and_level, open_pipe, close_pipe),
		cmocka_unit_test_setup_teardown(test_log__level_and_silence, open_pipe, close_pipe),
		cmocka_unit_test_setup_teardown(test_log__quoted_output_cannot_drive_the_terminal, open_pipe,
						close_pipe),
		cmocka_unit_test_setup_teardown(test_log__errno_survives, open_pipe, close_pipe),
		cmocka_unit_test_setup_teardown(test_log__colours_only_on_a_terminal, open_pipe, close_pipe),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
