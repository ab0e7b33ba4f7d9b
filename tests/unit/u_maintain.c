#include "tests/unit/db_help.h"

#include "base/cleanup.h"
#include "db/logs.h"
#include "db/nodes.h"
#include "db/records.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void run_one(struct help *h, int64_t job)
{
	struct greta_err e = {0};
	int64_t id = help_attempt(h, job);

	assert_ok(help_event(h, id, 0, GRETA_EVENT_STARTED, "{\"devices\":[\"GPU-0\"],\"build_sha256\":\"b\"}", NULL,
			     NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", "some words\n", NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_TELEMETRY, "{\"columns\":[\"p\"],\"rows\":[[1,2],[2,3]]}", NULL,
			     NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_EVIDENCE, "{\"name\":\"gdb\"}", "#0 wait", NULL, &e));
	help_good(h, id, 3, "a", NULL);
}

static void test_backup__whole_while_work_goes_on(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_db *copy;

	run_one(h, h->jobs[0]);
	assert_ok(greta_db_backup(h->db, "copy.db", &e));
	run_one(h, h->jobs[1]);
	assert_int_equal(access("copy.db-wal", F_OK), -1);
	assert_int_equal(access("copy.db.part", F_OK), -1);
	copy = greta_db_open_reader("copy.db", &e);
	assert_non_null(copy);
	assert_ok(greta_db_check(copy, &e));
	assert_int_equal(help_i64(copy, "SELECT count(*) FROM result"), 1);
	assert_string_equal(greta_db_uuid(copy), greta_db_uuid(h->db));
	greta_db_close(copy);
}

static void test_backup__replaces_nothing(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};

	assert_ok(greta_fs_write_atomic("precious", "text", 4, 0600, &e));
	assert_fails(greta_db_backup(h->db, "precious", &e), GRETA_EEXIST);
	assert_fails(greta_db_backup(h->db, "x.db", &e), GRETA_EEXIST);
	assert_fails(greta_db_backup(h->db, "no/such/folder/x.db", &e), GRETA_EFAIL);
	assert_non_null(strstr(e.text, "no/such/folder"));
}

/* Also from a reader's connection, as a command does it that is not the controller. */
static void test_backup__by_a_reader(void **state)
{
	struct greta_err e = {0};
	struct greta_db *reader = greta_db_open_reader("x.db", &e), *copy;

	(void)state;
	assert_ok(greta_db_backup(reader, "copy.db", &e));
	greta_db_close(reader);
	copy = greta_db_open_writer("copy.db", &e);
	assert_int_equal(help_i64(copy, "SELECT count(*) FROM cell"), 8);
	greta_db_close(copy);
}

static void test_check__says_what_is_wrong(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};

	assert_ok(greta_db_check(h->db, &e));
	assert_ok(greta_db_exec(h->db, &e, "PRAGMA foreign_keys", ""));
	greta_db_close(h->db);
	h->db = NULL;
	{
		cleanup_fd int fd = open("x.db", O_WRONLY);
		struct stat st;

		fstat(fd, &st);
		assert_int_equal(ftruncate(fd, st.st_size - 4096), 0);
	}
	h->db = greta_db_open_writer("x.db", &e);
	if (h->db)
		assert_true(greta_db_check(h->db, &e) < 0);
	assert_non_null(strstr(e.text, "damaged"));
}

static void test_snapshot__one_campaign_with_all_that_is_its(void **state)
{
	struct help *h = *state, second = **(struct help **)state;
	struct greta_err e = {0};
	struct greta_db *snap;
	int64_t alias;

	run_one(h, h->jobs[0]);
	run_one(h, h->jobs[1]);
	help_campaign(&second, "d");
	run_one(&second, second.jobs[0]);
	assert_ok(greta_nodes_add(h->db, "n", "ssh", "{\"host\":\"secret.example\"}", NULL, &alias, &e));
	assert_ok(greta_imports_add(h->db, "k", "p", second.campaign_id, 3, &e));

	assert_ok(greta_db_snapshot(h->db, second.campaign_id, "one.db", &e));
	snap = greta_db_open_reader("one.db", &e);
	assert_non_null(snap);
	assert_ok(greta_db_check(snap, &e));
	assert_string_equal(help_str(snap, "PRAGMA journal_mode"), "delete");
	assert_int_equal(help_i64(snap, "SELECT count(*) FROM campaign"), 1);
	assert_int_equal(help_i64(snap, "SELECT count(*) FROM cell"), 8);
	assert_int_equal(help_i64(snap, "SELECT count(*) FROM result"), 1);
	assert_string_equal(help_str(snap, "SELECT text FROM log"), "some words\n");
	assert_string_equal(help_str(snap, "SELECT text FROM evidence"), "#0 wait");
	assert_int_equal(help_i64(snap, "SELECT count(*) FROM telemetry"), 2);
	assert_string_equal(help_str(snap, "SELECT settings FROM alias"), "{}");
	assert_true(strcmp(greta_db_uuid(snap), greta_db_uuid(h->db)) != 0);
	greta_db_close(snap);

	assert_ok(greta_db_snapshot(h->db, 0, "all.db", &e));
	snap = greta_db_open_reader("all.db", &e);
	assert_int_equal(help_i64(snap, "SELECT count(*) FROM result"), 3);
	greta_db_close(snap);
	assert_fails(greta_db_snapshot(h->db, 99, "none.db", &e), GRETA_ENOENT);
	assert_fails(greta_db_snapshot(h->db, 0, "all.db", &e), GRETA_EEXIST);
	assert_int_equal(access("none.db", F_OK), -1);
}

static bool is_one_of(const char *name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(name, list[i]))
			return true;
	return false;
}

/* More than the log may hold before somebody begins to bring it into the file. */
static void test_snapshot__of_much(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t id = help_attempt(h, h->jobs[0]);
	struct greta_db *copy;

	for (int i = 1; i <= 24; i++)
		assert_ok(greta_db_exec(h->db, &e, "INSERT INTO evidence_part (attempt_id, name, part, parts, raw_bytes, zstd)"
					" VALUES (?, 'much', ?, 24, 1, randomblob(1000000))", "ii", id, (int64_t)i));
	assert_ok(greta_db_snapshot(h->db, h->campaign_id, "much.db", &e));
	copy = greta_db_open_reader("much.db", &e);
	assert_non_null(copy);
	assert_int_equal(help_i64(copy, "SELECT sum(length(zstd)) FROM evidence_part"), 24000000);
	greta_db_close(copy);
}

/* Every table that a later version adds has to be thought of in snapshot.sql. */
static void test_snapshot__knows_every_table(void **state)
{
	/* whoever gets the snapshot has no business with the first two; the others are made anew */
	static const char *const kept_here[] = {"meta", "action", "log_column", "log_group", "log_slice"};
	struct help *h = *state;
	struct greta_err e = {0};
	cleanup_buf struct greta_buf sql = {0};
	struct greta_query *q = greta_query_open(h->db, &e, "SELECT name FROM sqlite_schema WHERE type = 'table'", "");

	assert_ok(greta_fs_read(GRETA_FIXTURES "/../../db/snapshot.sql", 1 << 20, &sql, &e));
	while (greta_query_step(q, &e) == 1) {
		char line[100];
		const char *name = greta_query_str(q, 0);

		snprintf(line, sizeof line, "INSERT INTO main.%s", name);
		if (!strstr(greta_buf_str(&sql), line) && !is_one_of(name, kept_here, GRETA_COUNT(kept_here)))
			fail_msg("snapshot.sql leaves %s out", name);
	}
	greta_query_close(q);
}

static void test_prune__takes_logs_and_telemetry_alone(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_pruned pruned;
	struct greta_applied out;
	int64_t running;

	run_one(h, h->jobs[0]);
	run_one(h, h->jobs[1]);
	running = help_attempt(h, h->jobs[2]);
	assert_ok(help_event(h, running, 0, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", "still here\n", NULL, &e));
	assert_ok(greta_db_prune(h->db, 5, 100, &pruned, &e)); /* all ended later */
	assert_int_equal(pruned.n_attempts, 0);
	assert_ok(greta_db_prune(h->db, INT64_MAX, 1, &pruned, &e));
	assert_int_equal(pruned.n_attempts, 1);
	assert_int_equal(pruned.telemetry_rows, 2);
	assert_ok(greta_db_prune(h->db, INT64_MAX, 100, &pruned, &e));
	assert_int_equal(pruned.n_attempts, 1);
	assert_true(pruned.log_bytes > 0);
	assert_string_equal(help_str(h->db, "SELECT group_concat(text, '') FROM log"), "still here\n");
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM telemetry"), 0);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM telemetry_stat"), 2);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM evidence"), 2);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM scaling"), 2);
	assert_string_equal(help_str(h->db, "SELECT log_tail FROM result LIMIT 1"), "some words\n");
	assert_ok(greta_db_check(h->db, &e));
	/* an old event that comes again is still known */
	assert_ok(help_event(h, 1, 1, GRETA_EVENT_STARTED, "{}", NULL, &out, &e));
	assert_int_equal(out.what, GRETA_APPLY_STALE);
	assert_ok(greta_db_prune(h->db, INT64_MAX, 100, &pruned, &e));
	assert_int_equal(pruned.n_attempts, 0);
}

/* A process that sits in a query. */
static pid_t start_reader(void)
{
	struct greta_err e = {0};
	struct greta_db *db;
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		db = greta_db_open_reader("x.db", &e);
		if (greta_query_step(greta_query_open(db, &e, "SELECT * FROM job", ""), &e) != 1 ||
		    write(ready[1], "r", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void test_holders__a_reader_is_named(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	cleanup_buf struct greta_buf who = {0};
	char wanted[64], name[16];
	pid_t pid = start_reader();

	run_one(h, h->jobs[0]);
	assert_ok(greta_db_holders(h->db, INT64_MAX, &who, &e)); /* not that large: nobody need be told of */
	assert_int_equal(who.len, 0);
	assert_ok(greta_db_holders(h->db, 0, &who, &e));
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(prctl(PR_GET_NAME, name), 0);
	snprintf(wanted, sizeof wanted, "process %d (%s)", (int)pid, name);
	assert_string_equal(greta_buf_str(&who), wanted);
	greta_buf_clear(&who);
	assert_ok(greta_db_holders(h->db, 0, &who, &e));
	assert_int_equal(who.len, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
	const struct CMUnitTest tests[] = {
		T(test_backup__whole_while_work_goes_on),
		T(test_backup__replaces_nothing),
		T(test_backup__by_a_reader),
		T(test_check__says_what_is_wrong),
		T(test_snapshot__one_campaign_with_all_that_is_its),
		T(test_snapshot__knows_every_table),
		T(test_snapshot__of_much),
		T(test_holders__a_reader_is_named),
		T(test_prune__takes_logs_and_telemetry_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
