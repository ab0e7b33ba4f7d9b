/* ssh_answers: an answer is used again exactly as long as ssh would give it again. */
#include "tests/unit/unit.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "orchestrator/remote/ssh_answers.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char answer[] = "host gpu1\nhostname 10.0.0.1\nuser perf\nport 22\n";

static void write_file(const char *path, const char *text)
{
	const struct timespec settled[2] = {{1700000000, 0}, {1700000000, 0}};
	struct greta_err e = {0};

	assert_ok(greta_fs_write_atomic(path, text, strlen(text), 0600, &e));
	assert_int_equal(utimensat(AT_FDCWD, path, settled, 0), 0);
}

static struct ssh_question question(const char *host)
{
	cleanup_strs struct greta_strs argv = {0};
	struct ssh_question q;

	greta_strs_add(&argv, "ssh");
	greta_strs_add(&argv, "-G");
	greta_strs_add(&argv, host);
	ssh_question_take(&argv, "config", &q);
	return q;
}

/* As it is some seconds after the files were written, for which no test waits. */
static struct ssh_question later(const char *host)
{
	struct ssh_question q = question(host);

	q.may_keep = true;
	return q;
}

static bool is_known(const struct ssh_question *q)
{
	cleanup_buf struct greta_buf out = {0};
	bool found = ssh_answer_find(q, &out);

	if (found)
		assert_string_equal(out.data, answer);
	return found;
}

static void assert_changes(const char *host, const struct ssh_question *before, const char *what)
{
	struct ssh_question after = later(host);

	if (!strcmp(after.hash, before->hash) || is_known(&after))
		fail_msg("%s: the old answer is still given", what);
}

static int setup(void **state)
{
	unit_tmp_create(state);
	setenv("GRETA_CACHE_DIR", "cache", 1);
	return mkdir("conf.d", 0700);
}

static void test_ssh_answers__given_again(void **state)
{
	struct ssh_question q, other;

	(void)state;
	write_file("config", "Host gpu1\n\tHostName 10.0.0.1\n");
	q = later("gpu1");
	assert_false(is_known(&q));
	ssh_answer_keep(&q, answer, strlen(answer));
	q = later("gpu1");
	assert_true(is_known(&q));
	other = later("gpu2");
	assert_false(is_known(&other));
}

static void test_ssh_answers__any_file_that_changes_is_seen(void **state)
{
	cleanup_free char *here = getcwd(NULL, 0), *text = NULL;
	struct ssh_question q;

	(void)state;
	assert_non_null(here);
	text = greta_format("include = %s/conf.d/*.conf %s/absent\nHost *\n", here, here);
	write_file("config", text);
	write_file("conf.d/a.conf", "User one\n");
	q = later("gpu1");
	ssh_answer_keep(&q, answer, strlen(answer));
	assert_true(is_known(&q));
	write_file("conf.d/a.conf", "User two\n"); /* as long, and as old by its time of writing */
	assert_changes("gpu1", &q, "an included file");
	q = later("gpu1");
	write_file("conf.d/b.conf", "User three\n");
	assert_changes("gpu1", &q, "a file more in the folder of an Include");
	q = later("gpu1");
	write_file("absent", "User four\n");
	assert_changes("gpu1", &q, "an included file that was absent");
	q = later("gpu1");
	unlink("config");
	assert_changes("gpu1", &q, "no configuration");
}

static void test_ssh_answers__what_else_has_a_say_is_not_kept(void **state)
{
	static const char *const texts[] = {
		"Match host gpu* exec \"test -e /x\"\n", "  match LocalNetwork 10.0.0.0/8\n", "CanonicalizeHostname yes\n",
		"IdentityFile ${HOME}/key\n", "Include %h.conf\n", "Include ~someone/config\n", "Include conf*/x\n",
		"Include \"a file\"\n", "Include ${DIR}/config\n",
	};
	struct stat st;

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(texts); i++) {
		struct ssh_question q;

		write_file("config", texts[i]);
		q = question("gpu1");
		if (q.may_keep)
			fail_msg("kept: %s", texts[i]);
		ssh_answer_keep(&q, answer, strlen(answer));
		assert_false(is_known(&q));
	}
	assert_int_equal(stat("cache", &st), -1);
}

/* Within the tick of a clock a file may change twice and look the same. */
static void test_ssh_answers__files_written_just_now(void **state)
{
	struct ssh_question q;

	(void)state;
	write_file("config", "Host *\n");
	q = question("gpu1");
	assert_false(q.may_keep);
}

static void test_ssh_answers__only_whole_files_of_ours(void **state)
{
	struct ssh_question q;
	cleanup_free char *path = NULL, *other = NULL;
	struct stat st;

	(void)state;
	write_file("config", "Host *\n");
	q = later("gpu1");
	ssh_answer_keep(&q, answer, strlen(answer));
	path = greta_format("cache/ssh/%s", q.place);
	assert_int_equal(chmod(path, 0620), 0);
	assert_false(is_known(&q));
	assert_int_equal(chmod(path, 0600), 0);
	assert_true(is_known(&q));
	other = greta_format("%s.elsewhere", path);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink(q.place, path), 0);
	assert_false(is_known(&q));
	assert_int_equal(rename(other, path), 0);
	assert_true(is_known(&q));
	assert_int_equal(stat(path, &st), 0);
	for (off_t left = st.st_size - 1; left >= 0; left -= 5) { /* the power went off */
		assert_int_equal(truncate(path, left), 0);
		assert_false(is_known(&q));
	}
	ssh_answer_keep(&q, answer, strlen(answer));
	assert_true(is_known(&q));
}

static void test_ssh_answers__nowhere_to_keep_them(void **state)
{
	struct ssh_question q;

	(void)state;
	write_file("config", "Host *\n");
	setenv("GRETA_CACHE_DIR", "config/below/a/file", 1);
	q = later("gpu1");
	ssh_answer_keep(&q, answer, strlen(answer));
	assert_false(is_known(&q));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ssh_answers__given_again, setup, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_ssh_answers__any_file_that_changes_is_seen, setup, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_ssh_answers__what_else_has_a_say_is_not_kept, setup, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_ssh_answers__files_written_just_now, setup, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_ssh_answers__only_whole_files_of_ours, setup, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_ssh_answers__nowhere_to_keep_them, setup, unit_tmp_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
