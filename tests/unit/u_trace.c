/* Each case runs in a process of its own, since a trace is opened once for the life of a program. */
#include "base/log.h"
#include "base/trace.h"
#include "tests/unit/unit.h"
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void traced_program(const char *target)
{
	pid_t pid = fork();
	if (pid == 0) {
		char *argv[] = {(char *)"greta-x", (char *)"--name=\"q\"", NULL};
		greta_log_to_fd(-1);
		if (target)
			setenv("GRETA_TRACE", target, 1);
		else
			unsetenv("GRETA_TRACE");
		greta_trace_start("greta-x", argv);
		int64_t begun = greta_trace_region_begin();
		greta_trace_event("open", "file %s", "a\nb");
		greta_trace_region_end("plan", begun);
		greta_trace_exit(3);
		_exit(greta_trace_on() ? 1 : 0);
	}
	int status;
	assert_true(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), target && target[0] != '/' ? 1 : 0);
}

/* The n-th line of the file "trace", from 0; NULL if there are fewer. */
static char *trace_line(int n)
{
	static char text[4096];
	FILE *f = fopen("trace", "re");
	char *line = NULL;
	for (int i = 0; f && i <= n; i++)
		line = fgets(text, sizeof text, f);
	if (f)
		fclose(f);
	return line;
}

static void assert_line_has(int n, const char *what)
{
	char *line = trace_line(n);
	assert_non_null(line);
	if (!strstr(line, what) || strncmp(line, "{\"t\":", 5) != 0 ||
	    !strstr(line, "\"program\":\"greta-x\",\"pid\":"))
		fail_msg("line %d lacks %s: %s", n, what, line);
}

static void test_trace__writes_the_vocabulary(void **state)
{
	(void)state;
	traced_program("trace");
	assert_line_has(0, "\"trace\":\"start\",\"argv\":[\"greta-x\",\"--name=\\\"q\\\"\"]}");
	assert_line_has(1, "\"trace\":\"event\",\"name\":\"open\",\"detail\":\"file a\\nb\"}");
	assert_line_has(2, "\"trace\":\"region\",\"name\":\"plan\",\"s\":");
	assert_line_has(3, "\"trace\":\"exit\",\"code\":3,\"s\":");
	assert_null(trace_line(4));
	traced_program("trace");
	assert_line_has(7, "\"trace\":\"exit\""); /* appended */
}

static void test_trace__is_off_unless_asked(void **state)
{
	(void)state;
	traced_program(NULL);
	traced_program("/nonexistent/trace"); /* runs on without */
	struct stat st;
	assert_int_not_equal(stat("trace", &st), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_trace__writes_the_vocabulary, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_trace__is_off_unless_asked, unit_tmp_create, unit_tmp_remove),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
