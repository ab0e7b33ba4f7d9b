#include "tests/unit/unit.h"

#include "base/child.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "orchestrator/report/excerpt.h"
#include "orchestrator/report/repro.h"
#include <string.h>
#include <sys/wait.h>

static const char *const awkward[] = {"it's", "a  b", "$HOME", "`id`", "*", "a\nb", "\\n", "\"", "", "-e", "!", "ü", NULL};

/* Runs the script that stands for r; its exit code, and what it says. */
static int run_script(const struct repro *r, struct greta_buf *said)
{
	struct greta_err e = {0};
	struct greta_buf script = {0};
	struct greta_child_result result;
	repro_script(r, &script);
	const char *const argv[] = {"sh", "-c", script.data, NULL};
	const struct greta_child_spec sh = {.argv = argv};
	assert_ok(greta_child_run(&sh, 20000, 1 << 20, said, &result, &e));
	assert_true(WIFEXITED(result.status));
	greta_buf_release(&script);
	return WEXITSTATUS(result.status);
}

static void spec_make(struct greta_spec *spec)
{
	*spec = (struct greta_spec){0};
	greta_strs_add(&spec->argv, "/usr/bin/printf");
	greta_strs_add(&spec->argv, "%s|");
	for (size_t i = 0; awkward[i]; i++)
		greta_strs_add(&spec->argv, awkward[i]);
	greta_strs_add(&spec->argv, "on {slot}");
}

static void test_repro__arguments_arrive(void **state)
{
	struct greta_spec spec;
	struct greta_buf said = {0}, wanted = {0};
	char sha256[GRETA_SHA256_HEX + 1];
	(void)state;
	spec_make(&spec);
	assert_int_equal(greta_sha256_file("/usr/bin/printf", sha256, NULL), 0);
	struct repro r = {.spec = &spec, .what = "attempt\nexit 9", .ended = "hung: $(exit 8)\r\nexit 7", .engine_sha256 = sha256};
	greta_strs_add(&r.slots, "gpu-1");
	greta_strs_add(&r.slots, "gpu-2");
	for (size_t i = 0; awkward[i]; i++)
		greta_buf_addf(&wanted, "%s|", awkward[i]);
	greta_buf_adds(&wanted, "on gpu-1,gpu-2|");
	assert_int_equal(run_script(&r, &said), 0);
	assert_string_equal(greta_buf_str(&said), wanted.data);
	repro_release(&r);
	greta_spec_release(&spec);
	greta_buf_release(&said), greta_buf_release(&wanted);
}

static void test_repro__refuses_another_file(void **state)
{
	struct greta_spec spec;
	struct greta_buf said = {0};
	(void)state;
	spec_make(&spec);
	struct repro r = {.spec = &spec, .engine_sha256 = "00"};
	assert_int_equal(run_script(&r, &said), 65);
	assert_non_null(strstr(said.data, "engine /usr/bin/printf is not the one that ran"));
	greta_buf_clear(&said);
	r.engine_sha256 = NULL;
	greta_strs_add(&spec.verify, "00 /no such/m.gguf");
	assert_int_equal(run_script(&r, &said), 66);
	assert_non_null(strstr(said.data, "file /no such/m.gguf can't be read here"));
	repro_release(&r);
	greta_spec_release(&spec);
	greta_buf_release(&said);
}

static void test_repro__environment(void **state)
{
	struct greta_spec spec = {0};
	struct greta_buf said = {0};
	(void)state;
	greta_strs_add(&spec.argv, "/usr/bin/env");
	spec.cwd = greta_strdup("/tmp");
	struct repro r = {.spec = &spec};
	repro_take_environment(&r, "== /proc/10/environ ==\nPATH=/usr/bin:/bin\nA=1 $x 'y'\nTWO=lines\n of it\nGRETA_ATTEMPT=8f3e\n"
				   "GRETA_PROGRESS_FD=3\nPWD=/gone\nGRETA_SLOT=cpu-0\nTOKEN=(not stored)\n== /proc/11/environ ==\nB=2\n");
	assert_true(r.whole);
	unsetenv("TOKEN");
	assert_int_not_equal(run_script(&r, &said), 0);
	assert_non_null(strstr(said.data, "TOKEN"));
	greta_buf_clear(&said);
	setenv("TOKEN", "secret", 1);
	setenv("NOT_PASSED_ON", "1", 1);
	assert_int_equal(run_script(&r, &said), 0);
	assert_string_equal(said.data, "PATH=/usr/bin:/bin\nA=1 $x 'y'\nTWO=lines\n of it\nGRETA_SLOT=cpu-0\nTOKEN=secret\n");
	repro_release(&r);
	r = (struct repro){.spec = &spec};
	repro_set(&r, "HSA_ENABLE_SDMA=1");
	repro_set(&r, "HSA_ENABLE_SDMA=0");
	repro_set(&r, "no variable");
	greta_buf_clear(&said);
	assert_int_equal(run_script(&r, &said), 0);
	assert_non_null(strstr(said.data, "\nHSA_ENABLE_SDMA=0\n"));
	assert_non_null(strstr(said.data, "NOT_PASSED_ON=1\n")); /* on top of what is there */
	repro_release(&r);
	greta_spec_release(&spec);
	greta_buf_release(&said);
}

static void test_repro__cpus(void **state)
{
	struct greta_spec spec = {.cpus = 2};
	struct greta_buf script = {0};
	(void)state;
	greta_strs_add(&spec.argv, "x");
	struct repro r = {.spec = &spec};
	greta_strs_add(&r.slots, "cpu-0");
	greta_strs_add(&r.slots, "cpu-3");
	repro_script(&r, &script);
	assert_non_null(strstr(script.data, "exec taskset -c 0,3 env"));
	repro_release(&r);
	greta_spec_release(&spec);
	greta_buf_release(&script);
}

static void test_excerpt__of_items(void **state)
{
	struct greta_buf out = {0};
	(void)state;
	assert_false(excerpt_of("processes", "much", &out));
	assert_int_equal(out.len, 0);
	assert_true(excerpt_of("debugger", "[New LWP]\nThread 2 (LWP 5):\n#0  a ()\nmore\n#1  b ()\n", &out));
	assert_string_equal(out.data, "  Thread 2 (LWP 5):\n  #0  a ()\n  #1  b ()\n");
	greta_buf_clear(&out);
	assert_true(excerpt_of("debugger", "(no gdb or rocgdb on this node)\n", &out));
	assert_string_equal(out.data, "  (no gdb or rocgdb on this node)\n");
	greta_buf_clear(&out);
	assert_true(excerpt_of("log_tail", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n\x1b[31m11\n12", &out));
	assert_string_equal(out.data, "  (2 lines before)\n  3\n  4\n  5\n  6\n  7\n  8\n  9\n  10\n   [31m11\n  12\n");
	greta_buf_clear(&out);
	assert_true(excerpt_of("black_box", "t_s busy\n1 0\n2 0\n3 0\n4 100\n", &out));
	assert_string_equal(out.data, "  t_s busy\n  (1 lines before)\n  2 0\n  3 0\n  4 100\n");
	greta_buf_clear(&out);
	assert_true(excerpt_of("kernel_log", "", &out));
	assert_string_equal(out.data, "  (nothing)\n");
	greta_buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_repro__arguments_arrive),
		cmocka_unit_test(test_repro__refuses_another_file),
		cmocka_unit_test(test_repro__environment),
		cmocka_unit_test(test_repro__cpus),
		cmocka_unit_test(test_excerpt__of_items),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
