#include "tests/unit/db_help.h"

#include "db/internal.h"
#include "db/log_index.h"
#include "db/logs.h"

#define N_CHUNKS 1100 /* two groups, and some columns that wait */
#define CHUNK_BYTES 200000

static int64_t id_of(int i)
{
	return 3 * (int64_t)i + 5;
}

static void word_of(char out[16], int i)
{
	snprintf(out, 16, "needle%03d", i % 90);
}

/* Chunks that only the index knows, a column each, with a word that every ninetieth has. */
static void fill(struct help *h, int n)
{
	struct greta_buf text = {0};
	struct greta_err e = {0};
	struct greta_txn txn = greta_txn_none;

	assert_ok(greta_txn_begin(h->db, &txn, &e));
	memset(greta_buf_reserve(&text, CHUNK_BYTES), ' ', CHUNK_BYTES);
	text.len = CHUNK_BYTES;
	for (int i = 0; i < n; i++) {
		char word[16];

		word_of(word, i);
		memcpy(text.data, word, strlen(word));
		/* of every hundredth nothing is known */
		assert_ok(log_index_add(h->db, id_of(i), i % 100 == 99 ? NULL : text.data, text.len, &e));
	}
	assert_ok(greta_txn_commit(&txn, &e));
	greta_buf_release(&text);
}

static void find(struct help *h, const char *needle, struct log_spans *out)
{
	struct greta_err e = {0};

	log_spans_release(out);
	assert_ok(log_index_find(h->db, needle, strlen(needle), out, &e));
}

static void test_log_index__turns_columns_into_groups(void **state)
{
	struct help *h = *state;
	struct log_spans s = {0};

	fill(h, N_CHUNKS);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log_group"), 2);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log_slice"), 2 * 1024);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log_column"), N_CHUNKS - 2 * LOG_COLUMNS);
	for (int w = 0; w < 90; w++) {
		char word[16];

		word_of(word, w);
		find(h, word, &s);
		assert_int_equal(s.n_chunks, N_CHUNKS);
		assert_int_equal(s.raw_bytes, (int64_t)N_CHUNKS * CHUNK_BYTES);
		for (int i = 0; i < N_CHUNKS; i++) {
			if (log_spans_have(&s, id_of(i)) != (i % 90 == w || i % 100 == 99))
				fail_msg("%s, chunk %d", word, i);
			assert_false(log_spans_have(&s, id_of(i) + 1));
		}
	}
	log_spans_release(&s);
}

static void test_log_index__short_and_unknown_needles(void **state)
{
	struct help *h = *state;
	struct log_spans s = {0};

	fill(h, 600);
	find(h, "xy", &s);
	for (int i = 0; i < 600; i++)
		assert_true(log_spans_have(&s, id_of(i)));
	find(h, "NEEDLE", &s); /* case is not looked at */
	assert_true(log_spans_have(&s, id_of(400)));
	find(h, "nothing like it", &s);
	assert_int_equal(s.n, 600 / 100);
	log_spans_release(&s);
}

/* Nothing of these chunks is in log_chunk, so all of it is of no use. */
static void test_log_index__forgets_what_was_pruned(void **state)
{
	struct help *h = *state;
	struct log_spans s = {0};
	struct greta_err e = {0};

	fill(h, N_CHUNKS);
	assert_ok(db_script(h->db, "INSERT INTO attempt (id, uuid, job_id, try_no, state, fence) VALUES (1, 'u', 1, 1, 'ended', 0);"
				   "INSERT INTO log_chunk (id, attempt_id, offset, raw_bytes, zstd) VALUES (5, 1, 0, 1, x'00')", &e));
	assert_ok(log_index_prune(h->db, &e));
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log_column"), 0);
	assert_int_equal(help_i64(h->db, "SELECT id FROM log_group"), 1);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log_slice"), 1024);
	find(h, "needle000", &s);
	assert_true(log_spans_have(&s, 5));
	log_spans_release(&s);
}

static void test_log_index__small_chunks_share_a_column(void **state)
{
	struct help *h = *state;
	struct log_spans s = {0};
	struct greta_err e = {0};

	for (int i = 0; i < 50; i++) {
		int64_t id = help_attempt(h, h->jobs[i % 8]);

		assert_ok(greta_logs_add(h->db, id, GRETA_STREAM_OUT, i == 20 ? "a word\n" : "another\n", 7 + (i != 20), &e));
		assert_ok(greta_logs_seal(h->db, id, &e));
	}
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log_column"), 1);
	find(h, "a word", &s);
	assert_int_equal(s.n, 1);
	find(h, "the word", &s);
	assert_int_equal(s.n, 0);
	log_spans_release(&s);
}

static void test_log_index__damage_is_said(void **state)
{
	struct help *h = *state;
	struct log_spans s = {0};
	struct greta_err e = {0};

	fill(h, 500);
	assert_ok(db_script(h->db, "UPDATE log_slice SET bits = x'00'", &e));
	assert_int_equal(log_index_find(h->db, "needle", 6, &s, &e), -1);
	assert_non_null(strstr(e.text, "the index of logs is damaged"));
	log_spans_release(&s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
	const struct CMUnitTest tests[] = {
		T(test_log_index__turns_columns_into_groups),
		T(test_log_index__short_and_unknown_needles),
		T(test_log_index__forgets_what_was_pruned),
		T(test_log_index__small_chunks_share_a_column),
		T(test_log_index__damage_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
