#include "base/buf.h"
#include "base/child.h"
#include "base/clock.h"
#include "tests/unit/unit.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Descriptors that the shell was given. By its builtins only: it opens pipes and blocks signals to start a program. */
#define LIST_FDS "i=0; while [ $i -lt 256 ]; do [ -e /proc/$$/fd/$i ] && printf \"$i \"; i=$((i+1)); done"
#define SH(script) ((const char *const[]){"/bin/sh", "-c", (script), NULL})

static struct greta_child_result result;
static struct greta_err e;

/* Runs a shell script on top of *spec; what it wrote, until the next call. */
static const char *output_of(struct greta_child_spec spec, const char *script)
{
	static char text[8192];
	cleanup_buf struct greta_buf out = {0};
	const char *const argv[] = {"/bin/sh", "-c", script, NULL};
	spec.argv = argv;
	if (greta_child_run(&spec, 10000, sizeof text - 1, &out, &result, &e) != 0)
		fail_msg("%s", e.text);
	snprintf(text, sizeof text, "%s", greta_buf_str(&out));
	return text;
}

static int64_t ms_since(int64_t begun)
{
	return (greta_clock_mono_ns() - begun) / GRETA_NS_PER_MS;
}

static void test_child__output_and_status(void **state)
{
	(void)state;
	assert_string_equal(output_of((struct greta_child_spec){0}, "echo out; echo err >&2; exit 3"), "out\nerr\n");
	assert_true(WIFEXITED(result.status) && WEXITSTATUS(result.status) == 3);
	assert_false(result.timed_out || result.unreaped || result.truncated);
	output_of((struct greta_child_spec){0}, "kill -SEGV $$");
	assert_true(WIFSIGNALED(result.status) && WTERMSIG(result.status) == SIGSEGV);
}

static void test_child__output_is_bounded_but_read_to_its_end(void **state)
{
	(void)state;
	cleanup_buf struct greta_buf out = {0};
	struct greta_child_spec s = {
		.argv = SH("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done; exit 5")};
	assert_ok(greta_child_run(&s, 20000, 1000, &out, &result, &e));
	assert_int_equal(out.len, 1000);
	assert_true(result.truncated);
	assert_int_equal(WEXITSTATUS(result.status), 5);
	assert_ok(greta_child_run(&s, 20000, 0, NULL, &result, &e));
	assert_int_equal(WEXITSTATUS(result.status), 5);
}

static void test_child__exec_failures_name_program_and_reason(void **state)
{
	(void)state;
	struct greta_child_spec s = {.argv = (const char *const[]){"no-such-program-here", NULL}};
	assert_fails(greta_child_spawn(&s, &e), GRETA_ENOENT);
	assert_non_null(strstr(e.text, "no-such-program-here: not found in PATH ("));
	s.argv = (const char *const[]){"./missing", NULL};
	assert_fails(greta_child_spawn(&s, &e), GRETA_ENOENT);
	assert_string_equal(e.text, "./missing: no such program");
	assert_ok(greta_fs_write_atomic("plain", "x", 1, 0644, &e));
	s.argv = (const char *const[]){"./plain", NULL};
	assert_fails(greta_child_spawn(&s, &e), GRETA_EFAIL);
	assert_string_equal(e.text, "./plain: can't be run: Permission denied");
	assert_int_equal(e.sys, EACCES);
	assert_ok(greta_fs_write_atomic("orphan", "#!/no/such/sh\n", 14, 0755, &e));
	s.argv = (const char *const[]){"./orphan", NULL};
	assert_fails(greta_child_spawn(&s, &e), GRETA_ENOENT);
	assert_string_equal(e.text, "./orphan: is there, but the interpreter or loader that it names is not");
	assert_ok(greta_fs_write_atomic("garbage", "no magic here", 13, 0755, &e)); /* no shell tries it either */
	s.argv = (const char *const[]){"./garbage", NULL};
	assert_fails(greta_child_spawn(&s, &e), GRETA_EFAIL);
	assert_string_equal(e.text, "./garbage: can't be run: Exec format error");
	s = (struct greta_child_spec){.argv = SH("true"), .cwd = "/no/such/folder"};
	assert_fails(greta_child_spawn(&s, &e), GRETA_ENOENT);
	assert_string_equal(e.text, "/bin/sh: can't change to its folder /no/such/folder: No such file or directory");
	s = (struct greta_child_spec){.argv = SH("true"), .fds = (struct greta_child_fd[]){{1000, 3}}, .n_fds = 1};
	assert_fails(greta_child_spawn(&s, &e), GRETA_EFAIL);
	assert_string_equal(e.text, "/bin/sh: can't pass its descriptors: Bad file descriptor");
	s = (struct greta_child_spec){.argv = (const char *const[]){NULL}};
	assert_fails(greta_child_spawn(&s, &e), GRETA_EINVAL);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* none was left behind */
	assert_int_equal(errno, ECHILD);
	s.argv = (const char *const[]){"no-such-program-here", NULL};
	assert_fails(greta_child_run(&s, 1000, 10, NULL, &result, &e), GRETA_ENOENT);
}

static void test_child__path_is_that_of_its_environment(void **state)
{
	(void)state;
	assert_ok(greta_fs_mkdirs("bin", 0755, &e));
	assert_ok(greta_fs_mkdirs("first/prog", 0755, &e)); /* a folder of that name: passed over */
	assert_ok(greta_fs_write_atomic("bin/prog", "#!/bin/sh\necho $X\n", 18, 0755, &e));
	cleanup_buf struct greta_buf out = {0};
	struct greta_child_spec s = {.argv = (const char *const[]){"prog", NULL},
				     .env = (const char *const[]){"PATH=:/none:first:bin:", "X=7", NULL}};
	assert_ok(greta_child_run(&s, 5000, 100, &out, &result, &e));
	assert_string_equal(greta_buf_str(&out), "7\n");
	assert_int_equal(chdir("bin"), 0); /* empty elements do not mean the current folder */
	s.env = (const char *const[]){"PATH=:", NULL};
	assert_fails(greta_child_run(&s, 5000, 100, &out, &result, &e), GRETA_ENOENT);
}

static void test_child__only_named_descriptors_arrive(void **state)
{
	(void)state;
	int leak = open("/dev/zero", O_RDONLY); /* not close-on-exec */
	int high = fcntl(leak, F_DUPFD, 200);
	assert_string_equal(output_of((struct greta_child_spec){0}, LIST_FDS), "0 1 2 ");
	struct greta_child_spec s = {.fds = (struct greta_child_fd[]){{leak, 9}}, .n_fds = 1};
	assert_string_equal(output_of(s, LIST_FDS), "0 1 2 9 ");
	assert_string_equal(output_of((struct greta_child_spec){0}, "readlink /proc/$$/fd/0"), "/dev/null\n");
	close(leak);
	close(high);
}

static void test_child__descriptors_may_trade_places(void **state)
{
	(void)state;
	assert_ok(greta_fs_write_atomic("a", "A", 1, 0600, &e));
	assert_ok(greta_fs_write_atomic("b", "B", 1, 0600, &e));
	int a = open("a", O_RDONLY | O_CLOEXEC), b = open("b", O_RDONLY | O_CLOEXEC);
	assert_true(a < 9 && b < 9);
	char script[80];
	snprintf(script, sizeof script, "cat <&%d; cat <&%d", a, b);
	struct greta_child_fd swap[] = {{a, b}, {b, a}};
	assert_string_equal(output_of((struct greta_child_spec){.fds = swap, .n_fds = 2}, script), "BA");
	lseek(a, 0, SEEK_SET);
	struct greta_child_fd same[] = {{a, a}, {a, 0}};
	snprintf(script, sizeof script, "readlink /proc/$$/fd/%d | grep -c '/a$'; cat", a);
	assert_string_equal(output_of((struct greta_child_spec){.fds = same, .n_fds = 2}, script), "1\nA");
	close(a);
	close(b);
}

static void test_child__signals_are_reset(void **state)
{
	(void)state;
	sigset_t block, was;
	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &block, &was);
	signal(SIGPIPE, SIG_IGN);
	cleanup_buf struct greta_buf out = {0};
	struct greta_child_spec s = {.argv = (const char *const[]){"grep", "-E", "Sig(Blk|Ign)", "/proc/self/status", NULL}};
	assert_ok(greta_child_run(&s, 5000, 200, &out, &result, &e));
	assert_string_equal(greta_buf_str(&out), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
	signal(SIGPIPE, SIG_DFL);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
}

static void test_child__session_group_and_cwd(void **state)
{
	(void)state;
	const char *ids = "cut -d' ' -f5,6 /proc/$$/stat | sed \"s/$$/self/g\"";
	char want[64];
	assert_string_equal(output_of((struct greta_child_spec){.new_session = true, .cwd = "/"}, ids), "self self\n");
	snprintf(want, sizeof want, "self %d\n", (int)getsid(0));
	assert_string_equal(output_of((struct greta_child_spec){.new_group = true}, ids), want);
	assert_string_equal(output_of((struct greta_child_spec){.cwd = "/proc"}, "pwd"), "/proc\n");
}

static void test_child__deadline_ends_the_whole_group(void **state)
{
	(void)state;
	cleanup_buf struct greta_buf out = {0};
	struct greta_child_spec s = {.argv = SH("sleep 100 & echo $!; wait")};
	int64_t begun = greta_clock_mono_ns();
	/* time enough for a shell to come to its second command on a machine that is busy */
	assert_ok(greta_child_run(&s, 2000, 100, &out, &result, &e));
	assert_true(result.timed_out);
	assert_int_equal(WTERMSIG(result.status), SIGTERM);
	assert_true(ms_since(begun) >= 2000 && ms_since(begun) < 5000);
	pid_t grandchild = (pid_t)strtol(greta_buf_str(&out), NULL, 10);
	assert_true(grandchild > 0);
	for (int i = 0; i < 200 && kill(grandchild, 0) == 0; i++) { /* a zombie until init reaps it */
		char path[40];
		cleanup_buf struct greta_buf status = {0};
		snprintf(path, sizeof path, "/proc/%d/stat", (int)grandchild);
		if (greta_fs_read(path, 4096, &status, NULL) != 0 || strstr(greta_buf_str(&status), ") Z "))
			return;
		usleep(10000);
	}
	assert_int_equal(kill(grandchild, 0), -1);
}

static void test_child__kill_follows_term(void **state)
{
	(void)state;
	struct greta_child_spec s = {.argv = SH("trap '' TERM; while :; do sleep 1; done")};
	int64_t begun = greta_clock_mono_ns();
	assert_ok(greta_child_run(&s, 2000, 100, NULL, &result, &e)); /* long enough for the trap to be set */
	assert_true(result.timed_out && !result.unreaped);
	assert_int_equal(WTERMSIG(result.status), SIGKILL);
	assert_true(ms_since(begun) >= 2500);
}

/* A helper that leaves a daemon behind with its stdout must not hold us until that one ends. */
static void test_child__end_is_not_awaited_on_the_pipe(void **state)
{
	(void)state;
	int64_t begun = greta_clock_mono_ns();
	const char *text = output_of((struct greta_child_spec){0}, "sleep 30 & echo $!");
	assert_true(ms_since(begun) < 5000);
	kill((pid_t)strtol(text, NULL, 10), SIGKILL);
}

static void test_child__dies_with_its_parent(void **state)
{
	(void)state;
	int ends[2];
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid_t parent = fork();
	if (parent == 0) {
		struct greta_child_spec s = {.argv = (const char *const[]){"sleep", "100", NULL},
					     .death_signal = SIGKILL,
					     .fds = (struct greta_child_fd[]){{ends[1], 5}},
					     .n_fds = 1};
		_exit(greta_child_spawn(&s, NULL) > 0 ? 0 : 1);
	}
	close(ends[1]);
	int status;
	assert_int_equal(waitpid(parent, &status, 0), parent);
	assert_int_equal(status, 0);
	char byte;
	alarm(20); /* else this would wait for sleep's own end */
	assert_int_equal(read(ends[0], &byte, 1), 0);
	alarm(0);
	close(ends[0]);
}

static void test_child__closed_standard_descriptors(void **state)
{
	(void)state;
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		close(0);
		close(1);
		close(2);
		struct greta_child_spec s = {.argv = SH(LIST_FDS)};
		struct greta_buf out = {0};
		if (greta_child_run(&s, 5000, 100, &out, &result, NULL) != 0 ||
		    strcmp(greta_buf_str(&out), "0 1 2 ") != 0)
			_exit(1);
		s.argv = SH("test -e /proc/$$/fd/1 && test -e /proc/$$/fd/2");
		waitpid(greta_child_spawn(&s, NULL), &status, 0);
		_exit(status == 0 ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_child__status_texts(void **state)
{
	(void)state;
	char text[64];
	assert_string_equal(greta_child_status_text(3 << 8, text), "exit 3");
	assert_string_equal(greta_child_status_text(SIGSEGV, text), "signal 11 (Segmentation fault)");
	assert_string_equal(greta_child_status_text(SIGRTMIN + 1, text), "signal 35");
	assert_string_equal(greta_child_status_text(-1, text), "unknown end");
}

#define IN_TMP(test) cmocka_unit_test_setup_teardown(test, unit_tmp_create, unit_tmp_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_child__output_and_status),
		cmocka_unit_test(test_child__output_is_bounded_but_read_to_its_end),
		IN_TMP(test_child__exec_failures_name_program_and_reason),
		IN_TMP(test_child__path_is_that_of_its_environment),
		cmocka_unit_test(test_child__only_named_descriptors_arrive),
		IN_TMP(test_child__descriptors_may_trade_places),
		cmocka_unit_test(test_child__signals_are_reset),
		cmocka_unit_test(test_child__session_group_and_cwd),
		cmocka_unit_test(test_child__deadline_ends_the_whole_group),
		cmocka_unit_test(test_child__kill_follows_term),
		cmocka_unit_test(test_child__end_is_not_awaited_on_the_pipe),
		cmocka_unit_test(test_child__dies_with_its_parent),
		cmocka_unit_test(test_child__closed_standard_descriptors),
		cmocka_unit_test(test_child__status_texts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
