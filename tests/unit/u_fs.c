#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"
#include "tests/unit/unit.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int entries(const char *path)
{
	int n = 0;
	DIR *d = opendir(path);
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n - 2;
}

static bool exists(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0;
}

static void test_fs__read_refuses_more_than_allowed(void **state)
{
	(void)state;
	struct greta_err e = {0};
	cleanup_buf struct greta_buf b = {0};
	assert_ok(greta_fs_write_atomic("f", "12345", 5, 0600, &e));
	greta_buf_adds(&b, "x");
	assert_ok(greta_fs_read("f", 5, &b, &e));
	assert_string_equal(b.data, "x12345");
	assert_fails(greta_fs_read("f", 4, &b, &e), GRETA_EINVAL);
	assert_int_equal(b.len, 6);
	assert_string_equal(greta_buf_str(&b), "x12345");
	assert_fails(greta_fs_read("missing", 4, &b, &e), GRETA_ENOENT);
	assert_fails(greta_fs_read(".", 4, &b, &e), GRETA_EFAIL);
	assert_ok(greta_fs_read("/proc/self/status", 1 << 20, &b, &e)); /* fstat calls it empty */
	assert_non_null(strstr(b.data, "Name:"));
}

static void test_fs__write_replaces_whole_files(void **state)
{
	(void)state;
	struct greta_err e = {0};
	struct stat st;
	cleanup_buf struct greta_buf b = {0};
	mode_t was = umask(077);
	assert_ok(greta_fs_write_atomic("f", "old contents", 12, 0600, &e));
	assert_ok(greta_fs_write_atomic("f", "new", 3, 0640, &e));
	umask(was);
	assert_ok(greta_fs_read("f", 100, &b, &e));
	assert_string_equal(b.data, "new");
	assert_int_equal(stat("f", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(entries("."), 1);
}

static void test_fs__failed_write_leaves_the_old_file_and_nothing_else(void **state)
{
	(void)state;
	struct greta_err e = {0};
	cleanup_buf struct greta_buf b = {0};
	assert_ok(greta_fs_write_atomic("f", "old", 3, 0600, &e));
	struct rlimit was, small = {1000, 1000};
	getrlimit(RLIMIT_FSIZE, &was);
	small.rlim_max = was.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small); /* as a full disk would, in the middle of the file */
	char big[5000] = {0};
	int result = greta_fs_write_atomic("f", big, sizeof big, 0600, &e);
	setrlimit(RLIMIT_FSIZE, &was);
	assert_int_equal(result, -1);
	assert_int_equal(strncmp(e.text, "f: can't write: ", 16), 0);
	assert_ok(greta_fs_read("f", 100, &b, &e));
	assert_string_equal(b.data, "old");
	assert_int_equal(entries("."), 1);
	assert_ok(greta_fs_mkdirs("d", 0700, &e));
	assert_int_equal(greta_fs_write_atomic("d", "x", 1, 0600, &e), -1); /* a folder is in the way */
	assert_int_equal(entries("."), 2);
	assert_fails(greta_fs_write_atomic("no/f", "x", 1, 0600, &e), GRETA_ENOENT);
}

static void test_fs__mkdirs(void **state)
{
	(void)state;
	struct greta_err e = {0};
	assert_ok(greta_fs_mkdirs("a//b/c/", 0700, &e));
	assert_ok(greta_fs_mkdirs("a/b/c", 0700, &e));
	assert_ok(greta_fs_mkdirs("/", 0700, &e));
	assert_ok(greta_fs_mkdirs(".", 0700, &e));
	assert_int_equal(symlink("a/b", "link"), 0);
	assert_ok(greta_fs_mkdirs("link/d", 0700, &e));
	assert_true(exists("a/b/d"));
	assert_ok(greta_fs_write_atomic("f", "", 0, 0600, &e));
	assert_int_equal(greta_fs_mkdirs("f/x", 0700, &e), -1);
	assert_string_equal(e.text, "can't create the folder f: Not a directory");
	assert_int_equal(greta_fs_mkdirs("", 0700, &e), -1);
}

static void test_fs__remove_tree_does_not_follow_links(void **state)
{
	(void)state;
	struct greta_err e = {0};
	assert_ok(greta_fs_mkdirs("keep/deep", 0700, &e));
	assert_ok(greta_fs_mkdirs("tree/a/b/c", 0700, &e));
	assert_int_equal(symlink("../keep", "tree/link"), 0);
	assert_int_equal(symlink("nowhere", "tree/a/dangling"), 0);
	assert_int_equal(mkfifo("tree/a/pipe", 0600), 0);
	for (int i = 0; i < 300; i++) {
		char name[32];
		snprintf(name, sizeof name, "tree/a/b/%d", i);
		close(open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0000));
	}
	assert_ok(greta_fs_remove_tree("tree", &e));
	assert_false(exists("tree"));
	assert_true(exists("keep/deep"));
	assert_ok(greta_fs_remove_tree("tree", &e)); /* absent */
	assert_int_equal(symlink("keep", "link"), 0);
	assert_ok(greta_fs_remove_tree("link/", &e));
	assert_false(exists("link"));
	assert_true(exists("keep/deep"));
}

static void test_fs__remove_tree_names_what_it_cannot(void **state)
{
	(void)state;
	struct greta_err e = {0};
	assert_ok(greta_fs_mkdirs("tree/free", 0777, &e));
	assert_ok(greta_fs_mkdirs("tree/a/shut", 0755, &e));
	assert_ok(greta_fs_write_atomic("tree/a/shut/f", "", 0, 0600, &e));
	assert_int_equal(chmod(".", 0777) | chmod("tree", 0777) | chmod("tree/a", 0777), 0);
	assert_int_equal(chmod("tree/free", 0777) | chmod("tree/a/shut", 0555), 0);
	if (geteuid() != 0 || seteuid(65534) != 0) /* one's own can be opened */
		skip();
	int result = greta_fs_remove_tree("tree", &e);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(result, -1);
	assert_string_equal(e.text, "tree: a: shut: can't remove f: Permission denied");
	assert_false(exists("tree/free")); /* the rest went */
}

static void test_fs__remove_tree_opens_what_is_ours(void **state)
{
	static const struct {
		const char *dir;
		mode_t mode;
	} shut[] = {{"tree/a/b", 0}, {"tree/a", 0555}, {"tree/c", 0333}, {"tree/d", 0444}, {"tree", 0100}};
	(void)state;
	struct greta_err e = {0};
	assert_int_equal(chmod(".", 0777), 0);
	bool root = geteuid() == 0;
	if (root && seteuid(65534) != 0)
		skip();
	assert_ok(greta_fs_mkdirs("tree/a/b", 0700, &e));
	assert_ok(greta_fs_mkdirs("tree/c", 0700, &e));
	assert_ok(greta_fs_mkdirs("tree/d", 0700, &e));
	assert_ok(greta_fs_write_atomic("tree/a/b/f", "", 0, 0600, &e));
	assert_ok(greta_fs_write_atomic("tree/c/f", "", 0, 0600, &e));
	assert_ok(greta_fs_write_atomic("tree/d/f", "", 0, 0600, &e));
	for (size_t i = 0; i < GRETA_COUNT(shut); i++)
		assert_int_equal(chmod(shut[i].dir, shut[i].mode), 0);
	int result = greta_fs_remove_tree("tree", &e);
	if (root)
		assert_int_equal(seteuid(0), 0);
	if (result != 0)
		fail_msg("%s", e.text);
	assert_false(exists("tree"));
}

/* Deeper than PATH_MAX. */
static void test_fs__remove_tree_of_a_deep_tree(void **state)
{
	struct greta_err e = {0};
	char name[101];
	memset(name, 'd', 100);
	name[100] = '\0';
	for (int i = 0; i < 200; i++)
		if (mkdir(name, 0700) != 0 || chdir(name) != 0)
			fail();
	assert_int_equal(chdir(*state), 0);
	assert_ok(greta_fs_remove_tree(name, &e));
	assert_int_equal(entries("."), 0);
}

static void test_fs__lock_says_who_holds_it(void **state)
{
	(void)state;
	struct greta_err e = {0};
	struct stat st;
	char want[80];
	mode_t was = umask(077);
	int fd = greta_fs_lock("lock", 0666, &e);
	umask(was);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0666);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_fails(greta_fs_lock("lock", 0666, &e), GRETA_EBUSY);
	snprintf(want, sizeof want, "lock is locked by process %d (u_fs)", (int)getpid());
	assert_string_equal(e.text, want);
	assert_int_equal(ftruncate(fd, 0), 0); /* a holder that could not write its number, on a full disk */
	assert_fails(greta_fs_lock("lock", 0666, &e), GRETA_EBUSY);
	assert_string_equal(e.text, "lock is locked by another process");
	close(fd);
	fd = greta_fs_lock("lock", 0666, &e);
	assert_true(fd >= 0);
	close(fd);
	assert_fails(greta_fs_lock("no/lock", 0600, &e), GRETA_ENOENT);
	assert_int_equal(symlink("elsewhere", "planted"), 0); /* in a folder that all may write to */
	assert_int_equal(greta_fs_lock("planted", 0600, &e), -1);
	assert_false(exists("elsewhere"));
	assert_ok(greta_fs_write_atomic("elsewhere", "precious", 8, 0600, &e));
	assert_int_equal(greta_fs_lock("planted", 0600, &e), -1);
}

/* Processes that take the lock, remove it and let go, as fast as they can: never two at once. */
static void test_fs__removed_lock_is_no_lock(void **state)
{
	(void)state;
	pid_t pids[3];
	for (int i = 0; i < 3; i++) {
		pids[i] = fork();
		if (pids[i] != 0)
			continue;
		for (int round = 0; round < 1000; round++) {
			int fd = greta_fs_lock("lock", 0600, NULL);
			if (fd < 0)
				continue;
			int alone = open("inside", O_CREAT | O_EXCL | O_CLOEXEC, 0600);
			if (alone < 0)
				_exit(1);
			close(alone);
			unlink("inside");
			if (round % 2)
				unlink("lock");
			close(fd);
		}
		_exit(0);
	}
	for (int i = 0; i < 3; i++) {
		int status = -1;
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
}

static void test_fs__devices_can_be_locked(void **state)
{
	(void)state;
	struct greta_err e = {0};
	int fd = greta_fs_lock("/dev/null", 0600, &e);
	if (fd < 0)
		fail_msg("%s", e.text);
	assert_fails(greta_fs_lock("/dev/null", 0600, &e), GRETA_EBUSY);
	close(fd);
}

static void test_fs__network(void **state)
{
	(void)state;
	const char *type = "unset";
	assert_false(greta_fs_is_network("/proc", &type));
	assert_null(type);
	assert_false(greta_fs_is_network("/proc/no/such/thing", NULL));
}

static void test_fs__join_and_self(void **state)
{
	(void)state;
	static const char *const cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
	for (size_t i = 0; i < 4; i++) {
		char *path = greta_fs_join(cases[i][0], cases[i][1]);
		assert_string_equal(path, cases[i][2]);
		free(path);
	}
	char *dir = greta_fs_self_dir(), *self = greta_fs_join(dir, "u_fs");
	assert_true(exists(self));
	free(self);
	free(dir);
}

#define IN_TMP(test) cmocka_unit_test_setup_teardown(test, unit_tmp_create, unit_tmp_remove)

static void test_fs__cache_dir(void **state)
{
	static const struct {
		const char *set, *xdg, *home, *dir;
	} cases[] = {
		{"/own", "/xdg", "/home/x", "/own"}, {"", "/xdg", "/home/x", "/xdg/greta"},
		{"", "relative", "/home/x", "/home/x/.cache/greta"}, {"", "", "", NULL},
	};

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(cases); i++) {
		cleanup_free char *dir = NULL;

		setenv("GRETA_CACHE_DIR", cases[i].set, 1);
		setenv("XDG_CACHE_HOME", cases[i].xdg, 1);
		setenv("HOME", cases[i].home, 1);
		dir = greta_fs_cache_dir();
		assert_true(greta_str_eq(dir, cases[i].dir));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_TMP(test_fs__read_refuses_more_than_allowed),
		cmocka_unit_test(test_fs__cache_dir),
		IN_TMP(test_fs__write_replaces_whole_files),
		IN_TMP(test_fs__failed_write_leaves_the_old_file_and_nothing_else),
		IN_TMP(test_fs__mkdirs),
		IN_TMP(test_fs__remove_tree_does_not_follow_links),
		IN_TMP(test_fs__remove_tree_names_what_it_cannot),
		IN_TMP(test_fs__remove_tree_opens_what_is_ours),
		IN_TMP(test_fs__remove_tree_of_a_deep_tree),
		IN_TMP(test_fs__lock_says_who_holds_it),
		IN_TMP(test_fs__removed_lock_is_no_lock),
		IN_TMP(test_fs__devices_can_be_locked),
		IN_TMP(test_fs__network),
		cmocka_unit_test(test_fs__join_and_self),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
