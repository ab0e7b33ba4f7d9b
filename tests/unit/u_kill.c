#include "tests/unit/unit.h"

#include "agent/kill.h"
#include "agent/klog.h"
#include "agent/oom.h"
#include "base/child.h"
#include "base/mem.h"
#include "tests/unit/agent_trees.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ATTEMPT "0d1e2f30-1111-4222-8333-444455556666"

static void threads(const char *root, int pid, const char *name, char state, int parent, int n_threads)
{
	char path[64];
	snprintf(path, sizeof path, "%d/stat", pid);
	tree_file(root, path, "%d (%s) %c %d 1 1 0 -1 4194560 120 0 0 0 1 2 0 0 20 0 %d 0 4711 0\n", pid, name, state, parent, n_threads);
}

static void process(const char *root, int pid, const char *name, char state, int parent, const char *env)
{
	char path[64];
	threads(root, pid, name, state, parent, state == 'X' ? 0 : 1);
	snprintf(path, sizeof path, "%d/environ", pid);
	tree_file(root, path, "%s", env);
}

static bool has(const struct kill_pids *p, pid_t pid)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->items[i] == pid)
			return true;
	return false;
}

static void test_kill__finds_by_descent(void **state)
{
	struct kill_pids found = {0};
	const struct kill_target t = {.proc = *state, .ancestor = 100};
	process(*state, 100, "greta-agent", 'S', 1, "");
	process(*state, 101, "engine", 'R', 100, "");
	process(*state, 90, "late (numbers) wrap) x", 'D', 101, ""); /* a child with a smaller number, and a nasty name */
	process(*state, 80, "grandchild", 'T', 90, "");
	process(*state, 102, "zombie", 'Z', 100, "");
	process(*state, 104, "gone", 'X', 100, "");
	process(*state, 200, "other", 'R', 1, "");
	tree_file(*state, "self/stat", "garbage");
	tree_file(*state, "300/stat", "300 garbage");
	kill_find(&t, &found);
	assert_int_equal(found.n, 3);
	assert_true(has(&found, 101) && has(&found, 90) && has(&found, 80));
	kill_pids_release(&found);
}

/* Ours, by its leader or by the session that a leader has left behind, is not the attempt's. */
static void test_kill__leaves_out_helpers(void **state)
{
	struct kill_pids found = {0};
	pid_t leaders[] = {110, 120};
	const struct kill_pids helpers = {.items = leaders, .n = 2};
	const struct kill_target t = {.proc = *state, .ancestor = 100, .helpers = &helpers};
	process(*state, 101, "engine", 'R', 100, "");
	process(*state, 110, "reader", 'S', 100, ""); /* it has not made its session yet */
	tree_file(*state, "121/stat", "121 (item) D 100 120 120 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 1 0\n");
	kill_find(&t, &found);
	assert_int_equal(found.n, 1);
	assert_int_equal(found.items[0], 101);
	kill_pids_release(&found);
}

static void test_kill__finds_by_name_of_the_attempt(void **state)
{
	struct kill_pids found = {0};
	const struct kill_target t = {.proc = *state, .attempt = ATTEMPT};
	process(*state, 100, "engine", 'R', 1, "PATH=/bin");
	char path[1200];
	snprintf(path, sizeof path, "%s/101", (char *)*state);
	process(*state, 101, "engine", 'R', 1, "");
	snprintf(path, sizeof path, "%s/101/environ", (char *)*state);
	int fd = open(path, O_WRONLY | O_TRUNC);
	static const char env[] = "PATH=/bin\0GRETA_ATTEMPT=" ATTEMPT "\0X=1";
	assert_int_equal(write(fd, env, sizeof env), sizeof env);
	close(fd);
	process(*state, 102, "decoy", 'R', 1, "XGRETA_ATTEMPT=" ATTEMPT);
	process(*state, 103, "decoy", 'R', 1, "GRETA_ATTEMPT=" ATTEMPT "7");
	kill_find(&t, &found);
	assert_int_equal(found.n, 1);
	assert_int_equal(found.items[0], 101);
	kill_pids_release(&found);
}

/* A process whose first thread has ended, while others run on: it shows as a zombie, and its own environment as empty. */
static void *outlive_the_first(void *fd)
{
	char path[64];
	struct greta_buf stat = {0};
	snprintf(path, sizeof path, "/proc/%d/stat", (int)getpid());
	do {
		usleep(1000);
		greta_buf_clear(&stat);
	} while (greta_fs_read(path, 4096, &stat, NULL) == 0 && !strstr(stat.data, ") Z "));
	if (write(*(int *)fd, "z", 1) == 1)
		pause();
	_exit(0);
}

static void lose_the_first_thread(int fd)
{
	static int to;
	pthread_t other;
	to = fd;
	if (pthread_create(&other, NULL, outlive_the_first, &to) != 0)
		_exit(1);
	syscall(SYS_exit, 0); /* as pthread_exit ends in, without what it unwinds */
}

static void test_kill__a_process_without_its_first_thread(void **state)
{
	int ready[2], status;
	char byte;
	struct kill_pids found = {0};
	const struct kill_target by_descent = {.proc = "/proc", .ancestor = getpid()};
	const struct kill_target by_name = {.proc = "/proc", .attempt = ATTEMPT};
	const char *const argv[] = {"/proc/self/exe", "lose-the-first-thread", NULL};
	const char *const env[] = {KILL_ATTEMPT_VARIABLE "=" ATTEMPT, "ASAN_OPTIONS=detect_leaks=0", NULL};
	threads(*state, 101, "worker", 'Z', 100, 2);
	threads(*state, 102, "zombie", 'Z', 100, 1);
	kill_find(&(struct kill_target){.proc = *state, .ancestor = 100}, &found);
	assert_int_equal(found.n, 1);
	assert_int_equal(found.items[0], 101);
	kill_pids_release(&found);
	assert_int_equal(pipe(ready), 0);
	const struct greta_child_fd fds[] = {{ready[1], 3}};
	const struct greta_child_spec spec = {.argv = argv, .env = env, .fds = fds, .n_fds = 1, .death_signal = SIGKILL};
	pid_t pid = greta_child_spawn(&spec, NULL);
	assert_true(pid > 0);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	kill_find(&by_descent, &found);
	assert_true(has(&found, pid));
	kill_pids_release(&found);
	assert_int_equal(kill_all(&by_name), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(kill_all(&by_name), 0);
	close(ready[0]), close(ready[1]);
}

/* A real tree: a stopped child, one in its own session that ignores TERM, and an orphan. */
static void test_kill__ends_a_real_tree(void **state)
{
	const struct kill_target t = {.proc = "/proc", .ancestor = getpid()};
	int ready[2];
	char bytes[3];
	(void)state;
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	assert_int_equal(pipe(ready), 0);
	if (fork() == 0) {
		if (fork() == 0) {
			setsid();
			signal(SIGTERM, SIG_IGN);
			if (fork() != 0)
				_exit(write(ready[1], "a", 1) == 1 ? 0 : 1);
			_exit(write(ready[1], "b", 1) == 1 ? (pause(), 0) : 1);
		}
		if (write(ready[1], "c", 1) == 1)
			raise(SIGSTOP);
		_exit(0);
	}
	for (int got = 0; got < 3; got++)
		assert_int_equal(read(ready[0], bytes, 1), 1);
	int rounds = 0;
	while (waitpid(-1, NULL, WNOHANG) >= 0 && rounds++ < 500) {
		kill_all(&t);
		usleep(5000);
	}
	assert_true(rounds < 500);
	prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
	close(ready[0]), close(ready[1]);
}

static void oom_tree(const char *root, int v2_kills, int node_kills)
{
	tree_file(root, "self/cgroup", "4:memory:/a\n0::/user.slice/session-1.scope\n");
	tree_file(root, "self/mountinfo",
		  "35 24 0:30 / %s/cg rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
		  "36 24 0:31 / /nowhere rw - cgroup cgroup rw,cpu,cpuacct\n", root);
	tree_file(root, "cg/user.slice/session-1.scope/memory.events", "low 0\nhigh 0\nmax 12\noom 1\noom_kill %d\noom_group_kill 0\n",
		  v2_kills);
	tree_file(root, "vmstat", "nr_free_pages 1\noom_kill %d\npgfault 7\n", node_kills);
}

/* memory.events as in Documentation/admin-guide/cgroup-v2.rst; the kernel's lines as mm/oom_kill.c prints them. */
static void test_oom__every_proof(void **state)
{
	struct oom o;
	struct cgroup none = {0}, own = {0};
	struct cgroup_own groups;
	struct klog k;
	char *kmsg = greta_format("%s/kmsg", (char *)*state), *proof;
	setenv("GRETA_KMSG", kmsg, 1);
	tree_file(*state, "kmsg", "Out of memory: Killed process 4711 (old) total-vm:1kB\n");
	oom_tree(*state, 3, 7);
	klog_open(&k);
	cgroup_find_own(&groups, *state);
	oom_begin(&o, *state, &groups);
	assert_int_equal(o.v2_kills, 3);
	assert_null(oom_host_proof(&o, &none, &k, 4711, true)); /* what was before does not count */
	oom_tree(*state, 3, 8);
	assert_null(oom_host_proof(&o, &none, &k, 4711, false));
	proof = oom_host_proof(&o, &none, &k, 4711, true);
	assert_non_null(strstr(proof, "from 7 to 8"));
	free(proof);
	oom_tree(*state, 4, 8);
	proof = oom_host_proof(&o, &none, &k, 4711, false);
	assert_non_null(strstr(proof, "session-1.scope/memory.events went from 3 to 4"));
	free(proof);
	tree_file(*state, "own/memory.events", "oom_kill 1\n");
	own.path = greta_format("%s/own", (char *)*state);
	proof = oom_host_proof(&o, &own, &k, 4711, true);
	assert_non_null(strstr(proof, "own/memory.events went from 0 to 1"));
	free(proof);
	FILE *f = fopen(kmsg, "a");
	fputs("3,1234,5678,-;Memory cgroup out of memory: Killed process 4711 (greta-infer) total-vm:9kB, anon-rss:8kB\n", f);
	fclose(f);
	assert_true(klog_read(&k));
	proof = oom_host_proof(&o, &own, &k, 4711, true);
	assert_int_equal(strncmp(proof, "Memory cgroup out of memory: Killed process 4711 (greta-infer)", 60), 0);
	free(proof);
	cgroup_release(&own);
	klog_close(&k);
	unsetenv("GRETA_KMSG");
	free(kmsg);
}

static void test_oom__what_the_runtimes_say(void **state)
{
	static const char *const yes[] = {
		"x\nGGML: HIP error: out of memory\ny", "terminate called after throwing an instance of 'std::bad_alloc'",
		"CUDA error: out of memory", "hipErrorOutOfMemory",
	};
	static const char *const no[] = {"", "ran out of memory tests: 0", "all good\n"};
	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(yes); i++) {
		char *line = oom_engine_proof(yes[i], strlen(yes[i]));
		assert_non_null(line);
		assert_null(strchr(line, '\n'));
		free(line);
	}
	for (size_t i = 0; i < GRETA_COUNT(no); i++)
		assert_null(oom_engine_proof(no[i], strlen(no[i])));
}

static void test_klog__says_when_it_is_blind(void **state)
{
	struct klog k;
	(void)state;
	setenv("GRETA_KMSG", "/nonexistent/kmsg", 1);
	klog_open(&k);
	assert_non_null(strstr(k.blind, "/nonexistent/kmsg"));
	assert_false(klog_read(&k));
	klog_close(&k);
	unsetenv("GRETA_KMSG");
}

/* Of the kernel's own device each read gives one record; a file gives many at once, and lines without framing. */
static void test_klog__keeps_the_messages(void **state)
{
	struct klog k;
	char *kmsg = greta_format("%s/kmsg", (char *)*state);
	setenv("GRETA_KMSG", kmsg, 1);
	tree_file(*state, "kmsg", "%s", "");
	klog_open(&k);
	tree_file(*state, "kmsg", "6,1,5,-;one; two\n SUBSYSTEM=pci\n DEVICE=+pci:0000:01:00.0\n3,2,6,c;three\n\nplain 4; text\n7 up");
	assert_true(klog_read(&k));
	assert_string_equal(k.lines.data, "one; two\nthree\nplain 4; text\n7 up\n");
	klog_close(&k);
	unsetenv("GRETA_KMSG");
	free(kmsg);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "lose-the-first-thread") == 0)
		lose_the_first_thread(3);
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, unit_tmp_create, unit_tmp_remove)
		T(test_kill__finds_by_descent),
		T(test_kill__leaves_out_helpers),
		T(test_kill__finds_by_name_of_the_attempt),
		T(test_kill__a_process_without_its_first_thread),
		T(test_kill__ends_a_real_tree),
		T(test_oom__every_proof),
		T(test_oom__what_the_runtimes_say),
		T(test_klog__keeps_the_messages),
		T(test_klog__says_when_it_is_blind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
