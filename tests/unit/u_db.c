#include "tests/unit/db_help.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "db/internal.h"
#include "db/logs.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- opening */

static void test_db__default_path(void **state)
{
	char *path;

	(void)state;
	setenv("GRETA_DB", "/a/b.db", 1);
	path = greta_db_default_path("c.db");
	assert_string_equal(path, "c.db");
	free(path);
	path = greta_db_default_path(NULL);
	assert_string_equal(path, "/a/b.db");
	free(path);
	unsetenv("GRETA_DB");
	setenv("XDG_DATA_HOME", "/x", 1);
	path = greta_db_default_path("");
	assert_string_equal(path, "/x/greta/greta.db");
	free(path);
	unsetenv("XDG_DATA_HOME");
	setenv("HOME", "/h", 1);
	path = greta_db_default_path(NULL);
	assert_string_equal(path, "/h/.local/share/greta/greta.db");
	free(path);
}

static void test_db__makes_its_folder_and_identity(void **state)
{
	struct greta_err e = {0};
	struct greta_db *db = greta_db_open_writer("new/deep/y.db", &e), *again;
	char uuid[GRETA_UUID_LEN + 1];

	(void)state;
	assert_non_null(db);
	assert_true(greta_uuid_valid(greta_db_uuid(db)));
	snprintf(uuid, sizeof uuid, "%s", greta_db_uuid(db));
	assert_string_equal(help_str(db, "PRAGMA journal_mode"), "wal");
	assert_int_equal(help_i64(db, "PRAGMA synchronous"), 2);
	assert_int_equal(help_i64(db, "PRAGMA foreign_keys"), 1);
	assert_int_equal(help_i64(db, "PRAGMA application_id"), DB_APPLICATION_ID);
	greta_db_close(db);
	again = greta_db_open_writer("new/deep/y.db", &e);
	assert_string_equal(greta_db_uuid(again), uuid);
	greta_db_close(again);
}

static int64_t n_writes(void)
{
	char text[512] = "";
	FILE *f = fopen("/proc/self/io", "r");
	const char *at;

	assert_non_null(f);
	assert_true(fread(text, 1, sizeof text - 1, f) > 0);
	fclose(f);
	at = strstr(text, "syscw: ");
	assert_non_null(at);
	return strtoll(at + strlen("syscw: "), NULL, 10);
}

/* And another connection finds it all as soon as the commit has returned. */
static void test_db__commits_in_few_writes(void **state)
{
	struct greta_err e = {0};
	struct greta_db *db = greta_db_open_writer("few.db", &e), *reader;
	int64_t before;

	(void)state;
	assert_int_equal(greta_db_exec(db, &e, "CREATE TABLE filler (b BLOB)", ""), 0);
	reader = greta_db_open_reader("few.db", &e);
	before = n_writes();
	assert_int_equal(greta_db_exec(db, &e, "INSERT INTO filler VALUES (zeroblob(1600000))", ""), 0);
	assert_true(n_writes() - before < 80); /* of 400 pages, each with a header */
	assert_int_equal(help_i64(reader, "SELECT sum(length(b)) FROM filler"), 1600000);
	greta_db_close(reader);
	greta_db_close(db);
}

static void copy_file(const char *from, const char *to)
{
	cleanup_buf struct greta_buf all = {0};
	struct greta_err e = {0};

	assert_ok(greta_fs_read(from, 64 << 20, &all, &e));
	assert_ok(greta_fs_write_atomic(to, all.data, all.len, 0600, &e));
}

/* A length that changes is written at each sync. What is beyond the log means nothing, also to who finds it after a crash. */
static void test_db__log_grows_in_large_steps(void **state)
{
	struct greta_err e = {0};
	struct greta_db *db = greta_db_open_writer("steps.db", &e), *copy;
	struct stat st;

	(void)state;
	assert_int_equal(greta_db_exec(db, &e, "CREATE TABLE filler (b BLOB)", ""), 0);
	for (int i = 0; i < 40; i++) {
		assert_int_equal(greta_db_exec(db, &e, "INSERT INTO filler VALUES (zeroblob(100000))", ""), 0);
		assert_int_equal(stat("steps.db-wal", &st), 0);
		assert_int_equal(st.st_size % (1024 * 1024), 0);
	}
	copy_file("steps.db", "copy.db"); /* what a killed writer leaves */
	copy_file("steps.db-wal", "copy.db-wal");
	greta_db_close(db);
	copy = greta_db_open_writer("copy.db", &e);
	assert_int_equal(help_i64(copy, "SELECT sum(length(b)) FROM filler"), 4000000);
	assert_string_equal(help_str(copy, "PRAGMA integrity_check"), "ok");
	greta_db_close(copy);
}

/* The log would grow for ever when whoever brings it into the file is always behind: here somebody always writes. */
static void test_db__log_begins_anew(void **state)
{
	struct greta_err e = {0};
	struct greta_db *db = greta_db_open_writer("log.db", &e), *reader;
	struct stat st;

	(void)state;
	assert_int_equal(greta_db_exec(db, &e, "CREATE TABLE filler (n INTEGER, b BLOB)", ""), 0);
	assert_int_equal(greta_db_exec(db, &e, "INSERT INTO filler VALUES (0, zeroblob(4000000))", ""), 0);
	for (int i = 0; i < 60; i++) /* 1,000 pages each */
		assert_int_equal(greta_db_exec(db, &e, "UPDATE filler SET n = n + 1, b = zeroblob(4000000 + n)", ""), 0);
	assert_int_equal(stat("log.db-wal", &st), 0);
	assert_true(st.st_size < 40000 * 4096);
	reader = greta_db_open_reader("log.db", &e);
	assert_int_equal(help_i64(reader, "SELECT n FROM filler WHERE length(b) = 4000059"), 60);
	greta_db_close(reader);
	greta_db_close(db);
	assert_true(access("log.db-wal", F_OK) != 0);
	db = greta_db_open_writer("log.db", &e);
	assert_int_equal(help_i64(db, "SELECT n FROM filler"), 60);
	assert_string_equal(help_str(db, "PRAGMA integrity_check"), "ok");
	greta_db_close(db);
}

static void test_db__reader_says_what_is_missing(void **state)
{
	struct greta_err e = {0};

	(void)state;
	assert_null(greta_db_open_reader("no.db", &e));
	assert_int_equal(e.code, GRETA_ENOENT);
	assert_non_null(strstr(e.text, "no.db: no database there; `greta-orch submit` makes one"));
	assert_null(greta_db_open_reader("/tmp", &e));
	assert_int_equal(e.code, GRETA_EINVAL);
	assert_ok(greta_fs_write_atomic("empty.db", "", 0, 0600, &e));
	assert_null(greta_db_open_reader("empty.db", &e));
	assert_int_equal(e.code, GRETA_ENOENT);
}

static void test_db__refuses_what_is_not_its_own(void **state)
{
	static const char text[] =
		"This is a text file, and long enough for SQLite to look at its header, which is 100 "
		"bytes in size, so that is what it has to be at least.";
	struct greta_err e = {0};
	sqlite3 *sq;

	(void)state;
	assert_ok(greta_fs_write_atomic("t.db", text, sizeof text, 0600, &e));
	assert_null(greta_db_open_writer("t.db", &e));
	assert_non_null(strstr(e.text, "t.db"));
	assert_null(greta_db_open_reader("t.db", &e));
	assert_int_equal(sqlite3_open("other.db", &sq), SQLITE_OK);
	assert_int_equal(sqlite3_exec(sq, "CREATE TABLE t (a)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sq);
	assert_null(greta_db_open_writer("other.db", &e));
	assert_int_equal(e.code, GRETA_EINVAL);
	assert_non_null(strstr(e.text, "not one of GRETA's"));
	assert_null(greta_db_open_reader("other.db", &e));
	assert_int_equal(e.code, GRETA_EINVAL);
}

static void test_db__refuses_a_newer_one(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};

	assert_ok(db_script(h->db, "PRAGMA user_version = 999", &e));
	assert_null(greta_db_open_writer("x.db", &e));
	assert_int_equal(e.code, GRETA_EVERSION);
	assert_non_null(strstr(e.text, "of version 999"));
	assert_null(greta_db_open_reader("x.db", &e));
	assert_int_equal(e.code, GRETA_EVERSION);
}

/* ---- migrations */

static const char add_color[] = "ALTER TABLE campaign ADD COLUMN color TEXT; UPDATE campaign SET color = 'red'";
static const char orphan_jobs[] = "ALTER TABLE campaign ADD COLUMN color TEXT; DELETE FROM variant";

static int newest_version(void)
{
	return db_migrations[db_n_migrations - 1].version;
}

/* One step beyond the newest version. */
static int migrate_on(struct help *h, const char *sql, struct greta_err *e)
{
	const struct db_migration list[] = {{newest_version(), "not run again", NULL},
					    {newest_version() + 1, sql, NULL}};

	return db_migrate(h->db, list, 2, e);
}

static void test_db__migrates_and_keeps_a_backup(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_db *old;
	char backup[32];

	greta_log_to_fd(-1);
	assert_ok(migrate_on(h, add_color, &e));
	assert_int_equal(help_i64(h->db, "PRAGMA user_version"), newest_version() + 1);
	assert_int_equal(help_i64(h->db, "PRAGMA foreign_keys"), 1);
	assert_string_equal(help_str(h->db, "SELECT color FROM campaign"), "red");
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM cell"), 8);
	snprintf(backup, sizeof backup, "x.db.v%d.bak", newest_version());
	old = greta_db_open_reader(backup, &e);
	assert_non_null(old);
	assert_int_equal(help_i64(old, "SELECT count(*) FROM job"), 8);
	assert_ok(greta_db_check(old, &e));
	greta_db_close(old);
	/* and a reader or writer of today has no business here any more */
	assert_null(greta_db_open_reader("x.db", &e));
	assert_int_equal(e.code, GRETA_EVERSION);
}

static void test_db__a_failed_migration_changes_nothing(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};

	greta_log_to_fd(-1);
	assert_true(migrate_on(h, orphan_jobs, &e) < 0);
	assert_non_null(strstr(e.text, "nothing was changed"));
	assert_int_equal(help_i64(h->db, "PRAGMA user_version"), newest_version());
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM variant"), 2);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM pragma_table_info('campaign') WHERE name = 'color'"), 0);
	assert_ok(greta_db_check(h->db, &e));
	assert_ok(migrate_on(h, add_color, &e)); /* its backup does not stand in the way */
}

#define BEFORE_3 "ALTER TABLE campaign DROP COLUMN design;"

#define BEFORE_5                                                                                                       \
	"DROP TABLE quarantine; ALTER TABLE device ADD COLUMN state TEXT;"                                             \
	"ALTER TABLE device ADD COLUMN state_reason TEXT;"

#define BEFORE_8 "DROP INDEX attempt_result; DROP INDEX campaign_age;"

/* As version 6 and those before had it. */
#define BEFORE_7                                                                                                       \
	"DROP TABLE log_column; DROP TABLE log_group; DROP TABLE log_slice; DROP INDEX log_loose;"                     \
	"CREATE TABLE log_filter (chunk_id INTEGER PRIMARY KEY REFERENCES log_chunk(id), bits BLOB NOT NULL) STRICT;"

static void back_to_version_8(struct help *h)
{
	cleanup_buf struct greta_buf sql = {0};
	struct greta_err e = {0};

	assert_ok(greta_fs_read(GRETA_FIXTURES "/undo_0009.sql", 1 << 16, &sql, &e));
	assert_ok(db_script(h->db, greta_buf_str(&sql), &e));
}

static void test_db__a_database_of_version_1_is_brought_up(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};

	greta_log_to_fd(-1);
	back_to_version_8(h);
	assert_ok(db_script(h->db, BEFORE_8 BEFORE_7 BEFORE_5 BEFORE_3 "DROP VIEW validity; DROP TABLE validity_mark; PRAGMA user_version = 1", &e));
	greta_db_close(h->db);
	assert_null(greta_db_open_reader("x.db", &e));
	assert_int_equal(e.code, GRETA_EVERSION);
	help_open(h, "x.db");
	assert_int_equal(help_i64(h->db, "PRAGMA user_version"), newest_version());
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM cell"), 8);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM validity_mark"), 0);
	assert_int_equal(access("x.db.v1.bak", F_OK), 0);
}

static int count_hit(void *arg, const struct greta_grep_hit *hit, struct greta_err *e)
{
	(void)hit, (void)e;
	++*(int *)arg;
	return 0;
}

/* Logs that were taken in before there was an index of them are found by it. */
static void test_db__the_logs_of_version_6_are_indexed(void **state)
{
	static const char *const texts[] = {"all is well\n", "Memory access fault\nand an end without a newline"};
	struct help *h = *state;
	struct greta_grep_stats stats;
	struct greta_err e = {0};
	int n = 0;

	greta_log_to_fd(-1);
	for (size_t i = 0; i < GRETA_COUNT(texts); i++) {
		int64_t id = help_attempt(h, h->jobs[i]);

		assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", texts[i], NULL, &e));
		help_good(h, id, 1, "a", NULL);
	}
	back_to_version_8(h);
	assert_ok(db_script(h->db, BEFORE_8 BEFORE_7 BEFORE_5 BEFORE_3 "PRAGMA user_version = 2", &e));
	greta_db_close(h->db);
	help_open(h, "x.db");
	assert_int_equal(help_i64(h->db, "SELECT sum(n_chunks) FROM log_column"), 2);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log_column"), 1); /* so both were known to be whole */
	assert_ok(greta_logs_grep(h->db, &(struct greta_grep){.pattern = "access fault"}, count_hit, &n, &stats, &e));
	assert_int_equal(n, 1);
	assert_ok(greta_logs_grep(h->db, &(struct greta_grep){.pattern = "nowhere"}, count_hit, &n, &stats, &e));
	assert_int_equal(stats.n_candidates, 0);
}

/* Attempts alike share one specification, those that are planned from then on too. */
static void test_db__the_specifications_of_version_8_are_shared(void **state)
{
	struct help *h = *state;
	struct greta_spec told = {.campaign = (char *)"c"}, back;
	cleanup_buf struct greta_buf printed = {0};
	cleanup_buf struct greta_buf stored = {0};
	struct greta_err e = {0};
	int64_t id;

	greta_log_to_fd(-1);
	greta_strs_add(&told.argv, "x");
	for (size_t i = 0; i < 3; i++) {
		struct greta_new_attempt a = {.uuid = greta_uuid_next(told.attempt), .job_id = h->jobs[i]};

		told.repeat = told.try_no = 1;
		greta_buf_clear(&printed);
		greta_spec_print(&told, &printed);
		a.spec = greta_buf_str(&printed);
		if (i == 2) {
			back_to_version_8(h);
			greta_db_close(h->db);
			help_open(h, "x.db");
		}
		assert_ok(greta_attempts_plan(h->db, &a, &id, &e));
		assert_ok(help_event(h, id, 1, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", "words\n", NULL, &e));
		help_good(h, id, 1, "a", NULL);
	}
	greta_strs_release(&told.argv);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM spec"), 1);
	assert_int_equal(help_i64(h->db, "SELECT count(DISTINCT spec ->> 'attempt') FROM result WHERE spec ->> 'attempt' = attempt"
					 " AND log_tail = 'words' || char(10)"), 3);
	assert_ok(greta_attempts_spec(h->db, id, &stored, &e));
	assert_ok(greta_spec_parse(stored.data, stored.len, &back, &e));
	assert_string_equal(back.attempt, told.attempt);
	assert_int_equal(back.repeat, 1);
	assert_int_equal(back.try_no, 1);
	greta_spec_release(&back);
}

static void test_db__readers_do_not_migrate(void **state)
{
	struct greta_err e = {0};
	sqlite3 *sq;

	(void)state;
	assert_int_equal(sqlite3_open("x.db", &sq), SQLITE_OK);
	assert_int_equal(sqlite3_exec(sq, "PRAGMA user_version = 0", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sq);
	assert_null(greta_db_open_reader("x.db", &e));
	assert_int_equal(e.code, GRETA_ENOENT);
}

static void test_db__views_are_made_anew_when_their_text_changes(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};

	assert_ok(db_make_views(h->db, "CREATE VIEW only AS SELECT 1 AS one", &e));
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM sqlite_schema WHERE type = 'view'"), 1);
	greta_db_close(h->db);
	help_open(h, "x.db");
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM cell"), 8);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM sqlite_schema WHERE name = 'only'"), 0);
}

/* ---- transactions */

static int set_name(struct greta_db *db, const char *name, struct greta_err *e)
{
	return greta_db_exec(db, e, "UPDATE campaign SET name = ?", "s", name);
}

static void test_db__a_transaction_left_rolls_back(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};

	{
		cleanup_txn struct greta_txn txn = greta_txn_none;

		assert_ok(greta_txn_begin(h->db, &txn, &e));
		assert_ok(set_name(h->db, "other", &e));
	}
	assert_string_equal(help_str(h->db, "SELECT name FROM campaign"), "c");
}

static void test_db__an_inner_one_left_dooms_the_outer(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_txn outer = greta_txn_none;

	assert_ok(greta_txn_begin(h->db, &outer, &e));
	assert_ok(set_name(h->db, "outer", &e));
	{
		cleanup_txn struct greta_txn inner = greta_txn_none;

		assert_ok(greta_txn_begin(h->db, &inner, &e));
		assert_ok(set_name(h->db, "inner", &e));
	}
	assert_fails(greta_txn_commit(&outer, &e), GRETA_EFAIL);
	assert_non_null(strstr(e.text, "a step inside this transaction failed"));
	assert_string_equal(help_str(h->db, "SELECT name FROM campaign"), "c");
	assert_ok(set_name(h->db, "fine again", &e));
	assert_string_equal(help_str(h->db, "SELECT name FROM campaign"), "fine again");
}

static void test_db__commits_must_be_in_order(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_txn outer = greta_txn_none, inner = greta_txn_none;

	assert_ok(greta_txn_begin(h->db, &outer, &e));
	assert_ok(greta_txn_begin(h->db, &inner, &e));
	assert_fails(greta_txn_commit(&outer, &e), GRETA_EINVAL);
	assert_ok(greta_txn_commit(&inner, &e));
	assert_ok(greta_txn_commit(&outer, &e));
}

static void test_db__an_overtaken_controller_writes_no_more(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_txn txn = greta_txn_none;
	struct greta_db *newer;
	int64_t first = 0, second = 0;

	assert_ok(greta_db_raise_fence(h->db, &first, &e));
	assert_ok(set_name(h->db, "mine", &e));
	newer = greta_db_open_writer("x.db", &e);
	assert_ok(greta_db_raise_fence(newer, &second, &e));
	assert_true(second > first);

	assert_fails(set_name(h->db, "still mine", &e), GRETA_EFENCED);
	assert_fails(greta_txn_begin(h->db, &txn, &e), GRETA_EFENCED);
	assert_string_equal(help_str(h->db, "SELECT name FROM campaign"), "mine");
	assert_ok(set_name(newer, "theirs", &e));
	greta_db_close(newer);
}

static void test_db__readers_see_whole_transactions_and_wait_for_nobody(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_txn txn = greta_txn_none;
	struct greta_db *reader = greta_db_open_reader("x.db", &e);

	assert_non_null(reader);
	assert_ok(greta_txn_begin(h->db, &txn, &e));
	assert_ok(set_name(h->db, "half", &e));
	assert_string_equal(help_str(reader, "SELECT name FROM campaign"), "c");
	assert_ok(greta_txn_commit(&txn, &e));
	assert_string_equal(help_str(reader, "SELECT name FROM campaign"), "half");
	assert_fails(set_name(reader, "no", &e), GRETA_EINVAL);
	greta_db_close(reader);
}

/* ---- queries */

static void test_db__binds_and_reads_every_type(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_buf blob = {0};
	struct greta_query *q;
	size_t n;

	greta_buf_add(&blob, "a\0b", 3);
	q = greta_query_open(h->db, &e, "SELECT ? AS i, ? AS o, ?, ?, ?, ?, ?, ?", "iofffssb", (int64_t)7, (int64_t)0,
			     1.5, NAN, -0.0, "text", NULL, &blob);
	assert_non_null(q);
	assert_int_equal(greta_query_step(q, &e), 1);
	assert_int_equal(greta_query_columns(q), 8);
	assert_string_equal(greta_query_name(q, 0), "i");
	assert_int_equal(greta_query_i64(q, 0), 7);
	assert_int_equal(greta_query_type(q, 1), GRETA_VALUE_NULL);
	assert_true(greta_query_f64(q, 2) == 1.5);
	assert_int_equal(greta_query_type(q, 3), GRETA_VALUE_NULL);
	assert_true(isnan(greta_query_f64(q, 3)));
	assert_string_equal(greta_query_str(q, 5), "text");
	assert_null(greta_query_str(q, 6));
	assert_memory_equal(greta_query_blob(q, 7, &n), "a\0b", 3);
	assert_int_equal(n, 3);
	assert_int_equal(greta_query_step(q, &e), 0);
	assert_int_equal(greta_query_step(q, &e), 0); /* an end stays the end */
	greta_query_close(q);
	greta_buf_release(&blob);
}

static void test_db__says_when_values_and_parameters_differ(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};

	assert_null(greta_query_open(h->db, &e, "SELECT ?, ?", "i", (int64_t)1));
	assert_int_equal(e.code, GRETA_EINVAL);
	assert_null(greta_query_open(h->db, &e, "SELECT a FROM nowhere", ""));
	assert_non_null(strstr(e.text, "no such table: nowhere"));
}

static void test_db__the_same_statement_may_be_open_twice(void **state)
{
	static const char sql[] = "SELECT value FROM json_each('[1,2,3]')";
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_query *a = greta_query_open(h->db, &e, sql, "");
	struct greta_query *b = greta_query_open(h->db, &e, sql, "");

	assert_int_equal(greta_query_step(a, &e), 1);
	assert_int_equal(greta_query_step(a, &e), 1);
	assert_int_equal(greta_query_step(b, &e), 1);
	assert_int_equal(greta_query_i64(a, 0), 2);
	assert_int_equal(greta_query_i64(b, 0), 1);
	greta_query_close(b);
	greta_query_close(a);
}

/* Texts made at run time may come to lie where another one lay. */
static void test_db__a_statement_is_told_by_its_text_too(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	char sql[64];

	for (int i = 0; i < 3000; i++) {
		struct greta_query *q;

		snprintf(sql, sizeof sql, "SELECT %d", i % 700);
		q = greta_query_open(h->db, &e, sql, "");
		assert_non_null(q);
		assert_int_equal(greta_query_step(q, &e), 1);
		assert_int_equal(greta_query_i64(q, 0), i % 700);
		greta_query_close(q);
	}
}

static void test_db__more_statements_than_the_cache_holds(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_query *open[700];
	char *texts[700];

	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 700; i++) {
			if (round == 0)
				texts[i] = greta_format("SELECT %d", i);
			open[i] = greta_query_open(h->db, &e, texts[i], "");
			assert_int_equal(greta_query_step(open[i], &e), 1);
			assert_int_equal(greta_query_i64(open[i], 0), i);
			if (round == 1)
				greta_query_close(open[i]);
			else if (i >= 350) /* half of them stay open for a while */
				greta_query_close(open[i]);
			if (round == 0 && i == 699)
				for (int k = 0; k < 350; k++)
					greta_query_close(open[k]);
		}
	for (int i = 0; i < 700; i++)
		free(texts[i]);
}

static void test_db__users_may_only_read(void **state)
{
	static const char *const refused[] = {
		"DELETE FROM campaign",
		"UPDATE campaign SET name = 'x'",
		"PRAGMA user_version = 7",
		"PRAGMA query_only = 0",
		"ATTACH 'y.db' AS y",
		"CREATE TABLE t (a)",
		"CREATE TEMP TABLE t (a)",
		"BEGIN",
		"VACUUM INTO 'y.db'",
		"SELECT 1; SELECT 2",
		"SELECT 1; DROP TABLE job",
		"",
		"  -- nothing",
		"SELEC 1",
		"SELECT nocolumn FROM job",
		"WITH x AS (SELECT 1) DELETE FROM job",
		"EXPLAIN DELETE FROM job",
	};
	static const char *const allowed[] = {
		"SELECT 1",
		"SELECT 1;",
		"SELECT 1 ; -- done\n",
		"VALUES (1), (2)",
		"EXPLAIN QUERY PLAN SELECT * FROM job",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3) SELECT * FROM n",
		"SELECT * FROM result",
		"SELECT * FROM telemetry",
		"SELECT * FROM log",
		"SELECT json_extract('{}', '$.a')",
	};
	struct greta_err e = {0};
	struct greta_db *db = greta_db_open_reader("x.db", &e);

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(refused); i++) {
		if (greta_query_user(db, refused[i], &e))
			fail_msg("allowed: %s", refused[i]);
		assert_int_equal(e.code, GRETA_EINVAL);
	}
	for (size_t i = 0; i < GRETA_COUNT(allowed); i++) {
		struct greta_query *q = greta_query_user(db, allowed[i], &e);

		if (!q || greta_query_step(q, &e) < 0)
			fail_msg("refused: %s: %s", allowed[i], e.text);
		greta_query_close(q);
	}
	assert_int_equal(access("y.db", F_OK), -1);
	greta_db_close(db);
}

/* ---- bad luck */

/* Writes events until it is killed; says after each commit how far it came. */
static void write_events(int say)
{
	struct help h = {0};
	struct greta_err e = {0};

	help_open(&h, "x.db");
	h.seq = help_i64(h.db, "SELECT committed_seq FROM attempt WHERE id = 1");
	for (;;) {
		struct greta_txn txn = greta_txn_none;

		if (greta_txn_begin(h.db, &txn, &e))
			_exit(1);
		for (int i = 0; i < 20; i++)
			if (help_event(&h, 1, 0, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", "0123456789\n", NULL, &e))
				_exit(2);
		if (greta_txn_commit(&txn, &e) || write(say, &h.seq, sizeof h.seq) != sizeof h.seq)
			_exit(3);
	}
}

static int64_t kill_writer_after(int n_commits)
{
	int64_t seq = 0, last = 0;
	int pipes[2], status;
	pid_t pid;

	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (pid == 0)
		write_events(pipes[1]);
	close(pipes[1]);
	for (int i = 0; i < n_commits; i++)
		if (read(pipes[0], &seq, sizeof seq) == sizeof seq)
			last = seq;
	usleep((useconds_t)(rand() % 3000));
	kill(pid, SIGKILL);
	while (read(pipes[0], &seq, sizeof seq) == sizeof seq)
		last = seq;
	close(pipes[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status))
		fail_msg("the writer ended by itself: %d", WEXITSTATUS(status));
	return last;
}

/* What a commit returned from is there, whole transactions only, and nothing is damaged. */
static void test_db__survives_kill_9_at_any_time(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};

	srand(7);
	help_attempt(h, h->jobs[0]);
	greta_db_close(h->db);
	for (int round = 0; round < 12; round++) {
		int64_t said = kill_writer_after(1 + round % 5), found;

		help_open(h, "x.db");
		found = help_i64(h->db, "SELECT committed_seq FROM attempt");
		assert_true(found >= said);
		assert_int_equal(found % 20, 0);
		assert_int_equal(help_i64(h->db, "SELECT sum(raw_bytes) FROM log_chunk"), found * 11);
		assert_ok(greta_db_check(h->db, &e));
		if (round < 11)
			greta_db_close(h->db);
	}
}

static void test_db__readers_read_while_a_writer_writes(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_db *reader;
	int64_t before = 0;
	pid_t pid;
	int status;

	help_attempt(h, h->jobs[0]);
	greta_db_close(h->db);
	pid = fork();
	if (pid == 0)
		write_events(open("/dev/null", O_WRONLY));
	reader = greta_db_open_reader("x.db", &e);
	for (int i = 0; i < 300; i++) {
		int64_t now = help_i64(reader, "SELECT committed_seq FROM attempt");

		assert_int_equal(now % 20, 0);
		assert_true(now >= before);
		before = now;
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	greta_db_close(reader);
	help_open(h, "x.db");
}

/* One event of a group finds no room: none of the group is kept, and what comes after it in the group says so too. */
static void full_in_a_group(struct help *h, int64_t id, int64_t committed, const char *filler, bool at_commit)
{
	struct greta_err e = {0};
	struct greta_txn txn = greta_txn_none;
	int n_failed = 0;

	assert_ok(greta_txn_begin(h->db, &txn, &e));
	for (int i = 1; i < 500 && n_failed < 3; i++) {
		if (!help_event(h, id, committed + i - n_failed, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", filler, NULL,
				&e)) {
			assert_int_equal(n_failed, 0);
			continue;
		}
		assert_int_equal(e.code, GRETA_ENOSPC);
		n_failed++;
	}
	assert_int_equal(n_failed, at_commit ? 0 : 3);
	assert_fails(greta_txn_commit(&txn, &e), GRETA_ENOSPC);
	assert_int_equal(help_i64(h->db, "SELECT committed_seq FROM attempt"), committed);
}

static bool ends_in_zeros(const char *path)
{
	cleanup_buf struct greta_buf all = {0};
	struct greta_err e = {0};
	size_t n = 4096;

	assert_ok(greta_fs_read(path, 64 << 20, &all, &e));
	assert_true(all.len > n);
	while (n && !all.data[all.len - n])
		n--;
	return n == 0;
}

/* Needs to mount; skips where it may not. */
static void test_db__a_full_disk_loses_nothing_and_passes(void **state)
{
	struct greta_err e = {0};
	struct help h = {0};
	int64_t committed = 0, id;
	char filler[8192];
	int fd, n_failed = 0;

	(void)state;
	assert_int_equal(mkdir("disk", 0700), 0);
	if (mount("tmpfs", "disk", "tmpfs", 0, "size=2m")) {
		print_message("may not mount a tmpfs here\n");
		skip();
	}
	help_open(&h, "disk/x.db");
	help_campaign(&h, "c");
	id = help_attempt(&h, h.jobs[0]);
	memset(filler, 'x', sizeof filler - 1);
	filler[sizeof filler - 1] = '\0';
	for (int i = 0; i < 2000 && n_failed < 3; i++) {
		if (help_event(&h, id, committed + 1, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", filler, NULL, &e)) {
			assert_int_equal(e.code, GRETA_ENOSPC);
			assert_non_null(strstr(e.text, "make room"));
			n_failed++;
		} else {
			committed++;
		}
	}
	assert_int_equal(n_failed, 3);
	assert_false(ends_in_zeros("disk/x.db-wal")); /* the last room went to what counts */
	assert_int_equal(help_i64(h.db, "SELECT committed_seq FROM attempt"), committed);
	assert_ok(greta_db_check(h.db, &e));
	full_in_a_group(&h, id, committed, filler, true);
	assert_ok(db_script(h.db, "PRAGMA cache_size = 10", &e)); /* pages go to the disk before the commit */
	full_in_a_group(&h, id, committed, filler, false);
	/* room again, in the same connection */
	assert_int_equal(mount("tmpfs", "disk", "tmpfs", MS_REMOUNT, "size=8m"), 0);
	assert_ok(help_event(&h, id, committed + 1, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", "y\n", NULL, &e));
	greta_db_close(h.db);
	fd = open("disk", O_RDONLY);
	close(fd);
	umount2("disk", MNT_DETACH);
}

static void test_db__a_damaged_file_is_said_to_be(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	char junk[4096];
	struct stat st;
	int fd;

	for (int i = 0; i < 8; i++)
		help_attempt(h, h->jobs[i]);
	greta_db_close(h->db);
	memset(junk, 0x5a, sizeof junk);
	fd = open("x.db", O_RDWR);
	assert_int_equal(fstat(fd, &st), 0);
	for (off_t at = 8 * 4096; at < st.st_size; at += 4096)
		assert_int_equal(pwrite(fd, junk, sizeof junk, at), sizeof junk);
	close(fd);
	h->db = greta_db_open_writer("x.db", &e);
	if (h->db)
		assert_true(greta_db_check(h->db, &e) < 0);
	assert_non_null(strstr(e.text, "x.db"));
	assert_non_null(strstr(e.text, "damaged"));
}

static void test_db__a_cut_file_is_said_to_be(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};

	greta_db_close(h->db);
	assert_int_equal(truncate("x.db", 5 * 4096 + 77), 0);
	h->db = greta_db_open_writer("x.db", &e);
	if (h->db)
		assert_true(greta_db_check(h->db, &e) < 0);
	assert_non_null(strstr(e.text, "damaged"));
}

static void test_db__a_read_only_file_is_said_to_be(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};

	if (geteuid() == 0) {
		print_message("root writes everywhere\n");
		skip();
	}
	greta_db_close(h->db);
	assert_int_equal(chmod("x.db", 0400), 0);
	h->db = greta_db_open_writer("x.db", &e);
	assert_null(h->db);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
	const struct CMUnitTest tests[] = {
		T(test_db__default_path),
		T(test_db__makes_its_folder_and_identity),
		T(test_db__commits_in_few_writes),
		T(test_db__log_grows_in_large_steps),
		T(test_db__log_begins_anew),
		T(test_db__reader_says_what_is_missing),
		T(test_db__refuses_what_is_not_its_own),
		T(test_db__refuses_a_newer_one),
		T(test_db__migrates_and_keeps_a_backup),
		T(test_db__a_failed_migration_changes_nothing),
		T(test_db__a_database_of_version_1_is_brought_up),
		T(test_db__the_logs_of_version_6_are_indexed),
		T(test_db__the_specifications_of_version_8_are_shared),
		T(test_db__readers_do_not_migrate),
		T(test_db__views_are_made_anew_when_their_text_changes),
		T(test_db__a_transaction_left_rolls_back),
		T(test_db__an_inner_one_left_dooms_the_outer),
		T(test_db__commits_must_be_in_order),
		T(test_db__an_overtaken_controller_writes_no_more),
		T(test_db__readers_see_whole_transactions_and_wait_for_nobody),
		T(test_db__binds_and_reads_every_type),
		T(test_db__says_when_values_and_parameters_differ),
		T(test_db__the_same_statement_may_be_open_twice),
		T(test_db__a_statement_is_told_by_its_text_too),
		T(test_db__more_statements_than_the_cache_holds),
		T(test_db__users_may_only_read),
		T(test_db__survives_kill_9_at_any_time),
		T(test_db__readers_read_while_a_writer_writes),
		T(test_db__a_full_disk_loses_nothing_and_passes),
		T(test_db__a_damaged_file_is_said_to_be),
		T(test_db__a_cut_file_is_said_to_be),
		T(test_db__a_read_only_file_is_said_to_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
