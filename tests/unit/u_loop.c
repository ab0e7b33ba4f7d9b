#include "base/clock.h"
#include "base/loop.h"
#include "tests/unit/unit.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct greta_loop *loop;
static int ends[2];

static int create(void **state)
{
	(void)state;
	loop = greta_loop_create(NULL);
	return loop ? pipe2(ends, O_NONBLOCK | O_CLOEXEC) : -1;
}

static int destroy(void **state)
{
	(void)state;
	greta_loop_destroy(loop);
	close(ends[0]);
	close(ends[1]);
	return 0;
}

struct seen {
	int calls;
	uint32_t events;
	struct greta_watch *other; /* to remove */
	char order[32];
	char tag;
};

static void note(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w;
	struct seen *s = arg;
	s->calls++;
	s->events = events;
}

static void note_and_stop(struct greta_watch *w, uint32_t events, void *arg)
{
	note(w, events, arg);
	greta_loop_stop(loop);
}

static void remove_self_and_other(struct greta_watch *w, uint32_t events, void *arg)
{
	struct seen *s = arg;
	note(w, events, arg);
	greta_watch_remove(w);
	greta_watch_remove(w);
	greta_watch_remove(s->other);
}

static void once(int64_t timeout_ms)
{
	struct greta_err e = {0};
	assert_ok(greta_loop_once(loop, timeout_ms, &e));
}

static void run(void)
{
	struct greta_err e = {0};
	assert_ok(greta_loop_run(loop, &e));
}

static void test_loop__descriptors_are_level_triggered(void **state)
{
	(void)state;
	struct seen s = {0};
	struct greta_watch *w = greta_loop_fd(loop, ends[0], EPOLLIN, note, &s);
	once(0);
	assert_int_equal(s.calls, 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	once(1000);
	once(1000);
	assert_int_equal(s.calls, 2);
	assert_int_equal(s.events, EPOLLIN);
	greta_watch_events(w, 0);
	once(0);
	assert_int_equal(s.calls, 2);
	greta_watch_events(w, EPOLLIN);
	once(0);
	assert_int_equal(s.calls, 3);
	greta_watch_remove(w);
	once(0);
	assert_int_equal(s.calls, 3);
}

/* A paused descriptor whose peer has gone must not make the loop spin. */
static void test_loop__paused_hang_up_is_silent(void **state)
{
	(void)state;
	struct seen s = {0};
	int pair[2];
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	struct greta_watch *w = greta_loop_fd(loop, pair[0], 0, note, &s);
	close(pair[1]);
	int64_t begun = greta_clock_mono_ns();
	once(30);
	assert_int_equal(s.calls, 0);
	assert_true(greta_clock_mono_ns() - begun >= 30 * GRETA_NS_PER_MS);
	greta_watch_events(w, EPOLLIN);
	once(1000);
	assert_int_equal(s.events, EPOLLHUP);
	greta_watch_remove(w);
	close(pair[0]);
}

static void test_loop__failures_are_told(void **state)
{
	(void)state;
	struct seen s = {0};
	assert_non_null(greta_loop_fd(loop, ends[0], EPOLLIN, note, &s));
	assert_null(greta_loop_fd(loop, ends[0], EPOLLIN, note, &s));
	assert_int_equal(errno, EEXIST);
	assert_null(greta_loop_fd(loop, 1000, EPOLLIN, note, &s));
	assert_int_equal(errno, EBADF);
	assert_null(greta_loop_signal(loop, 1000, note, &s));
	pid_t gone = fork();
	if (gone == 0)
		_exit(0);
	waitpid(gone, NULL, 0);
	assert_null(greta_loop_child(loop, gone, note, &s));
	assert_int_equal(errno, ESRCH);
	assert_int_equal(write(ends[1], "x", 1), 1); /* and the first watch still works */
	once(0);
	assert_int_equal(s.calls, 1);
}

static void test_loop__removal_inside_callbacks(void **state)
{
	(void)state;
	struct seen a = {0}, b = {0};
	int pair[2];
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	assert_int_equal(write(pair[1], "x", 1), 1);
	struct greta_watch *wa = greta_loop_fd(loop, ends[0], EPOLLIN, remove_self_and_other, &a);
	struct greta_watch *wb = greta_loop_fd(loop, pair[0], EPOLLIN, remove_self_and_other, &b);
	a.other = wb;
	b.other = wa;
	once(1000);
	once(0);
	assert_int_equal(a.calls + b.calls, 1); /* both were ready in one round; the first silenced the second */
	close(pair[0]);
	close(pair[1]);
}

static void test_loop__removal_of_timers_and_signals_inside_callbacks(void **state)
{
	(void)state;
	struct seen a = {0}, b = {0};
	struct greta_watch *wa = greta_loop_timer(loop, 0, 1, remove_self_and_other, &a);
	b.other = wa;
	a.other = greta_loop_timer(loop, 0, 1, remove_self_and_other, &b);
	usleep(2000);
	once(0);
	once(5);
	assert_int_equal(a.calls + b.calls, 1);
	a = b = (struct seen){0};
	wa = greta_loop_signal(loop, SIGUSR1, remove_self_and_other, &a);
	a.other = greta_loop_signal(loop, SIGUSR1, remove_self_and_other, &b);
	b.other = wa;
	raise(SIGUSR1);
	once(1000);
	assert_int_equal(a.calls + b.calls, 1);
}

static void tag_order(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w;
	(void)events;
	struct seen *tagged = arg;
	struct seen *all = tagged - (tagged->tag - 'a');
	size_t n = strlen(all->order);
	all->order[n] = tagged->tag;
}

static void test_loop__timers_fire_in_order(void **state)
{
	(void)state;
	struct seen s[6] = {{.tag = 'a'}, {.tag = 'b'}, {.tag = 'c'}, {.tag = 'd'}, {.tag = 'e'}, {.tag = 'f'}};
	static const int delays_ms[] = {9, 3, 6, 1, 12, 15};
	struct greta_watch *w[6];
	for (int i = 0; i < 6; i++)
		w[i] = greta_loop_timer(loop, delays_ms[i], 0, tag_order, &s[i]);
	greta_watch_rearm(w[4], 0);
	greta_watch_remove(w[2]);
	greta_watch_rearm(w[5], -1);
	usleep(20000);
	once(0);
	assert_string_equal(s[0].order, "edba");
	greta_watch_rearm(w[5], 0);
	once(1000);
	assert_string_equal(s[0].order, "edbaf");
}

static void test_loop__many_random_timers_keep_order(void **state)
{
	(void)state;
	enum { N = 500 };
	static struct seen s[N];
	static struct greta_watch *w[N];
	uint64_t seed = 88172645463325252u;
	for (int i = 0; i < N; i++) {
		s[i] = (struct seen){0};
		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		w[i] = greta_loop_timer(loop, (int64_t)(seed % 40), 0, note, &s[i]);
	}
	for (int i = 0; i < N; i += 3) {
		greta_watch_remove(w[i]);
		w[i] = NULL;
	}
	for (int i = 1; i < N; i += 3)
		greta_watch_rearm(w[i], i % 40);
	int64_t begun = greta_clock_mono_ns();
	for (int round = 0; round < 60 && greta_clock_mono_ns() - begun < 60 * GRETA_NS_PER_MS; round++)
		once(1);
	usleep(45000);
	once(0);
	for (int i = 0; i < N; i++)
		assert_int_equal(s[i].calls, i % 3 ? 1 : 0);
}

static void test_loop__timer_waits_no_less_than_asked(void **state)
{
	(void)state;
	struct seen s = {0};
	int64_t begun = greta_clock_mono_ns();
	greta_loop_timer(loop, 20, 0, note_and_stop, &s);
	run();
	assert_int_equal(s.calls, 1);
	assert_true(greta_clock_mono_ns() - begun >= 20 * GRETA_NS_PER_MS);
}

static void test_loop__missed_periods_are_not_made_up(void **state)
{
	(void)state;
	struct seen s = {0};
	greta_loop_timer(loop, 5, 5, note, &s);
	usleep(52000);
	once(0);
	assert_int_equal(s.calls, 1);
	once(1000);
	assert_int_equal(s.calls, 2);
}

static void rearm_now(struct greta_watch *w, uint32_t events, void *arg)
{
	note(w, events, arg);
	greta_watch_rearm(w, 0);
}

static void test_loop__eager_timer_does_not_starve_descriptors(void **state)
{
	(void)state;
	struct seen eager = {0}, fd = {0};
	greta_loop_timer(loop, 0, 0, rearm_now, &eager);
	greta_loop_fd(loop, ends[1], EPOLLOUT, note_and_stop, &fd);
	run();
	assert_int_equal(fd.calls, 1);
	assert_true(eager.calls <= 1);
}

static void test_loop__signals_reach_all_watches_and_are_given_back(void **state)
{
	(void)state;
	struct seen a = {0}, b = {0};
	sigset_t mask;
	struct greta_watch *wa = greta_loop_signal(loop, SIGUSR2, note, &a);
	struct greta_watch *wb = greta_loop_signal(loop, SIGUSR2, note, &b);
	raise(SIGUSR2);
	once(1000);
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.events, SIGUSR2);
	greta_watch_remove(wa);
	raise(SIGUSR2);
	once(1000);
	assert_int_equal(b.calls, 2);
	greta_watch_remove(wb);
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	assert_false(sigismember(&mask, SIGUSR2));
}

static pid_t exiting_child(int code, int after_ms)
{
	pid_t pid = fork();
	if (pid == 0) {
		usleep((useconds_t)after_ms * 1000);
		_exit(code);
	}
	return pid;
}

static void test_loop__child_is_reaped_once(void **state)
{
	(void)state;
	struct seen s = {0};
	pid_t pid = exiting_child(7, 10);
	assert_non_null(greta_loop_child(loop, pid, note_and_stop, &s));
	run();
	assert_int_equal(s.calls, 1);
	assert_true(WIFEXITED((int)s.events) && WEXITSTATUS((int)s.events) == 7);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
	once(0);
	assert_int_equal(s.calls, 1);
}

static void test_loop__child_reaped_by_another_is_unknown(void **state)
{
	(void)state;
	struct seen s = {0};
	pid_t pid = exiting_child(0, 5);
	greta_loop_child(loop, pid, note_and_stop, &s);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	run();
	assert_true(s.events == GRETA_LOOP_STATUS_UNKNOWN);
	assert_false(WIFEXITED((int)s.events) || WIFSIGNALED((int)s.events));
}

static void test_loop__child_callback_may_remove_its_watch(void **state)
{
	(void)state;
	struct seen s = {0};
	pid_t pid = exiting_child(0, 0);
	greta_loop_child(loop, pid, remove_self_and_other, &s);
	for (int i = 0; i < 100 && !s.calls; i++)
		once(100);
	assert_int_equal(s.calls, 1);
}

static int forbid_pidfd(void)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof rules / sizeof rules[0], rules};
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0
		       ? 0
		       : -1;
}

/* Some containers refuse pidfd_open. The filter can't be lifted, so this is tried in a process of its own. */
static void test_loop__child_without_pidfd(void **state)
{
	(void)state;
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		struct seen s = {0};
		struct greta_loop *own = greta_loop_create(NULL);
		if (forbid_pidfd() != 0)
			_exit(77);
		if (!greta_loop_child(own, exiting_child(7, 30), note, &s))
			_exit(1);
		for (int i = 0; i < 200 && !s.calls; i++)
			greta_loop_once(own, 50, NULL);
		greta_loop_destroy(own);
		_exit(s.calls == 1 && WEXITSTATUS((int)s.events) == 7 ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("skipped: seccomp filters can't be set here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void test_loop__files_and_dev_null_are_always_ready(void **state)
{
	(void)state;
	struct seen s = {0}, t = {0};
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct greta_watch *w = greta_loop_fd(loop, fd, EPOLLIN, note, &s);
	assert_non_null(w);
	greta_loop_timer(loop, 10, 0, note_and_stop, &t);
	run();
	assert_true(s.calls > 1);
	assert_int_equal(s.events, EPOLLIN);
	greta_watch_events(w, 0);
	int calls = s.calls;
	int64_t begun = greta_clock_mono_ns();
	once(20);
	assert_true(greta_clock_mono_ns() - begun >= 20 * GRETA_NS_PER_MS);
	assert_int_equal(s.calls, calls);
	greta_watch_remove(w);
	once(0);
	close(fd);
}

static void test_loop__stop_before_run_counts(void **state)
{
	(void)state;
	struct seen s = {0};
	greta_loop_stop(loop);
	run();
	greta_loop_timer(loop, 1, 0, note_and_stop, &s);
	run();
	assert_int_equal(s.calls, 1);
}

static void run_inside(struct greta_watch *w, uint32_t events, void *arg)
{
	note(w, events, arg);
	greta_watch_remove(w);
	greta_loop_once(loop, 0, NULL); /* must not free what the outer round still holds */
}

static void test_loop__a_callback_may_run_the_loop(void **state)
{
	(void)state;
	struct seen a = {0}, b = {0};
	assert_int_equal(write(ends[1], "x", 1), 1);
	greta_loop_fd(loop, ends[0], EPOLLIN, run_inside, &a);
	greta_loop_fd(loop, ends[1], EPOLLOUT, run_inside, &b);
	once(1000);
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 1);
}

#define IN_LOOP(test) cmocka_unit_test_setup_teardown(test, create, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_LOOP(test_loop__descriptors_are_level_triggered),
		IN_LOOP(test_loop__paused_hang_up_is_silent),
		IN_LOOP(test_loop__failures_are_told),
		IN_LOOP(test_loop__removal_inside_callbacks),
		IN_LOOP(test_loop__removal_of_timers_and_signals_inside_callbacks),
		IN_LOOP(test_loop__timers_fire_in_order),
		IN_LOOP(test_loop__many_random_timers_keep_order),
		IN_LOOP(test_loop__timer_waits_no_less_than_asked),
		IN_LOOP(test_loop__missed_periods_are_not_made_up),
		IN_LOOP(test_loop__eager_timer_does_not_starve_descriptors),
		IN_LOOP(test_loop__signals_reach_all_watches_and_are_given_back),
		IN_LOOP(test_loop__child_is_reaped_once),
		IN_LOOP(test_loop__child_reaped_by_another_is_unknown),
		IN_LOOP(test_loop__child_callback_may_remove_its_watch),
		IN_LOOP(test_loop__child_without_pidfd),
		IN_LOOP(test_loop__files_and_dev_null_are_always_ready),
		IN_LOOP(test_loop__stop_before_run_counts),
		IN_LOOP(test_loop__a_callback_may_run_the_loop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
