#include "tests/unit/db_help.h"

#include "db/log_internal.h"
#include "db/trigrams.h"

/* ---- runs */

static void test_runs__read_back(void **state)
{
	struct runs r = {0}, same = {0}, rest = {0};
	struct greta_buf text = {0};

	(void)state;
	runs_add(&r, GRETA_STREAM_OUT, 100);
	runs_add(&r, GRETA_STREAM_OUT, 20);
	runs_add(&r, GRETA_STREAM_ERR, 33);
	runs_add(&r, GRETA_STREAM_ERR, 0);
	runs_add(&r, GRETA_STREAM_OUT, 5);
	runs_print(&r, &text);
	assert_string_equal(greta_buf_str(&text), "out 120 err 33 out 5");
	assert_int_equal(runs_parse("out 120 err 33 out 5", 158, &same), 0);
	assert_int_equal(same.n, 3);
	assert_int_equal(runs_at(&same, 119), GRETA_STREAM_OUT);
	assert_int_equal(runs_at(&same, 120), GRETA_STREAM_ERR);
	assert_int_equal(runs_at(&same, 153), GRETA_STREAM_OUT);
	runs_cut(&same, 130, &rest);
	assert_int_equal(same.items[1].n, 10);
	assert_int_equal(rest.items[0].n, 23);
	assert_int_equal(rest.items[0].stream, GRETA_STREAM_ERR);
	runs_release(&r);
	runs_release(&same);
	runs_release(&rest);
	greta_buf_release(&text);
}

static void test_runs__refuses_what_does_not_add_up(void **state)
{
	static const char *const bad[] = {"",
					  "out 5",
					  "out 11",
					  "both",
					  "out 5 err",
					  "out 5 err -5",
					  "out5err5",
					  "outerr",
					  "out 99999999999999999999999",
					  "out 5  err 5",
					  "out 5 err 5 out"};
	struct runs r = {0};

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(bad); i++) {
		if (!runs_parse(bad[i], 10, &r))
			fail_msg("taken: \"%s\"", bad[i]);
		runs_release(&r);
	}
	assert_int_equal(runs_parse("err", 10, &r), 0);
	assert_int_equal(r.items[0].n, 10);
	runs_release(&r);
}

/* ---- trigrams */

static void random_line(struct greta_buf *out, unsigned *seed)
{
	for (int i = 0; i < 8; i++) {
		*seed = *seed * 1103515245 + 12345;
		greta_buf_addf(out, "w%x ", (*seed >> 16) % 5000);
	}
	greta_buf_addc(out, '\n');
}

static bool may_have(const unsigned char *set, const char *needle, size_t n)
{
	uint16_t numbers[64];
	size_t found = trigrams_of(needle, n, numbers, GRETA_COUNT(numbers));

	for (size_t i = 0; i < found; i++)
		if (!(set[numbers[i] / 8] & 1u << (numbers[i] % 8)))
			return false;
	return true;
}

static void test_trigrams__never_miss_and_seldom_err(void **state)
{
	unsigned char set[TRIGRAMS_BYTES] = {0};
	struct greta_buf text = {0};
	unsigned seed = 1;
	int n_vain = 0;

	(void)state;
	while (text.len < 200000)
		random_line(&text, &seed);
	trigrams_add(set, text.data, text.len);
	for (size_t at = 0; at + 12 < text.len; at += 97)
		for (size_t n = 0; n <= 12; n++)
			assert_true(may_have(set, text.data + at, n));
	for (int i = 0; i < 1000; i++) {
		char needle[16];

		snprintf(needle, sizeof needle, "Q%dzx%d", i, i * 7);
		n_vain += may_have(set, needle, strlen(needle));
	}
	assert_true(n_vain < 20);
	greta_buf_release(&text);
}

static void test_trigrams__case_does_not_matter(void **state)
{
	unsigned char set[TRIGRAMS_BYTES] = {0};
	uint16_t numbers[8];

	(void)state;
	assert_true(trigrams_add(set, "Hello World", 11));
	assert_int_equal(trigrams_count(set), 9);
	assert_false(trigrams_add(set, "hello", 5));
	assert_true(may_have(set, "hello", 5));
	assert_true(may_have(set, "WORLD", 5));
	assert_false(may_have(set, "xyzzy", 5));
	assert_true(may_have(set, "xy", 2));
	trigrams_add(set, "", 0);
	trigrams_add(set, "ab", 2);
	assert_int_equal(trigrams_count(set), 9);
	assert_int_equal(trigrams_of("aaaaaa", 6, numbers, GRETA_COUNT(numbers)), 1); /* each once */
	assert_int_equal(trigrams_of("0123456789abcdef", 16, numbers, GRETA_COUNT(numbers)), GRETA_COUNT(numbers));
}

/* ---- writing and reading */

struct got {
	struct greta_buf text, streams;
	int64_t dropped;
	int stop_after;
};

static int take(void *arg, const struct greta_log_piece *p, struct greta_err *e)
{
	struct got *g = arg;

	(void)e;
	if (!p->bytes) {
		g->dropped += p->dropped;
		greta_buf_addf(&g->text, "[%d]", (int)p->dropped);
	} else {
		greta_buf_add(&g->text, p->bytes, p->n);
		for (size_t i = 0; i < p->n; i++)
			greta_buf_addc(&g->streams, p->stream == GRETA_STREAM_ERR ? 'e' : 'o');
	}
	return --g->stop_after == 0;
}

static void got_clear(struct got *g)
{
	greta_buf_release(&g->text);
	greta_buf_release(&g->streams);
	*g = (struct got){0};
}

static void say(struct help *h, int64_t id, const char *stream, const char *text)
{
	struct greta_err e = {0};
	char detail[64];

	snprintf(detail, sizeof detail, "{\"stream\":\"%s\",\"offset\":0}", stream);
	assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG, detail, text, NULL, &e));
}

static void read_all(struct help *h, int64_t id, enum greta_stream stream, struct got *g)
{
	struct greta_err e = {0};

	got_clear(g);
	assert_ok(greta_logs_read(h->db, id, stream, 0, NULL, take, g, &e));
	greta_buf_str(&g->text);
}

static void test_logs__the_same_before_and_after_sealing(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct got g = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	say(h, id, "out", "one\ntw");
	say(h, id, "err", "warning\n");
	say(h, id, "out", "o\n");
	assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG_GAP, "{\"stream\":\"out\",\"dropped\":1000}", NULL, NULL, &e));
	say(h, id, "out", "end");
	say(h, id, "out", "");
	for (int sealed = 0; sealed < 2; sealed++) {
		read_all(h, id, GRETA_STREAM_ALL, &g);
		assert_string_equal(g.text.data, "one\ntwwarning\no\n[1000]end");
		assert_string_equal(greta_buf_str(&g.streams), "ooooooeeeeeeeeooooo");
		read_all(h, id, GRETA_STREAM_ERR, &g);
		assert_string_equal(g.text.data, "warning\n[1000]");
		read_all(h, id, GRETA_STREAM_OUT, &g);
		assert_string_equal(g.text.data, "one\ntwo\n[1000]end");
		assert_int_equal(help_i64(h->db, "SELECT log_bytes FROM attempt"), 1019);
		assert_int_equal(help_i64(h->db, "SELECT log_dropped FROM attempt"), 1000);
		assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log_chunk WHERE zstd IS NOT NULL"),
				 sealed ? 2 : 0);
		if (!sealed)
			help_good(h, id, 1, "a", NULL);
	}
	assert_string_equal(help_str(h->db, "SELECT log_tail FROM result"), "one\ntwwarning\no\nend");
	assert_string_equal(help_str(h->db, "SELECT group_concat(text, '|') FROM (SELECT * FROM log ORDER BY offset)"),
			    "one\ntwwarning\no\n|end");
	got_clear(&g);
}

static void test_logs__a_follower_goes_on_where_it_was(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct got g = {0};
	int64_t id = help_attempt(h, h->jobs[0]), at = 0;

	assert_ok(greta_logs_read(h->db, id, GRETA_STREAM_ALL, at, &at, take, &g, &e));
	assert_int_equal(at, 0);
	say(h, id, "out", "one\n");
	assert_ok(greta_logs_read(h->db, id, GRETA_STREAM_ALL, at, &at, take, &g, &e));
	say(h, id, "out", "two\nthr");
	assert_ok(greta_logs_read(h->db, id, GRETA_STREAM_ALL, at, &at, take, &g, &e));
	assert_int_equal(at, 11);
	say(h, id, "err", "ee\n");
	help_good(h, id, 1, "a", NULL); /* sealed under its feet */
	assert_ok(greta_logs_read(h->db, id, GRETA_STREAM_ALL, at, &at, take, &g, &e));
	assert_ok(greta_logs_read(h->db, id, GRETA_STREAM_ALL, at, &at, take, &g, &e));
	assert_int_equal(at, 14);
	assert_string_equal(greta_buf_str(&g.text), "one\ntwo\nthree\n");
	got_clear(&g);
	/* from the middle of a chunk; and stopping */
	assert_ok(greta_logs_read(h->db, id, GRETA_STREAM_ALL, 9, NULL, take, &g, &e));
	assert_string_equal(greta_buf_str(&g.text), "hree\n");
	got_clear(&g);
	g.stop_after = 1;
	assert_ok(greta_logs_read(h->db, id, GRETA_STREAM_ALL, 0, NULL, take, &g, &e));
	assert_string_equal(greta_buf_str(&g.text), "one\ntwo\nthr");
	got_clear(&g);
}

static int64_t tail_of(struct help *h, int64_t id, enum greta_stream stream, int64_t lines)
{
	struct greta_err e = {0};
	int64_t offset = -1;

	assert_ok(greta_logs_tail_offset(h->db, id, stream, lines, &offset, &e));
	return offset;
}

static void test_logs__the_last_lines(void **state)
{
	struct help *h = *state;
	int64_t id = help_attempt(h, h->jobs[0]);

	assert_int_equal(tail_of(h, id, GRETA_STREAM_ALL, 3), 0);
	say(h, id, "out", "one\ntwo\n");
	say(h, id, "err", "warning\n");
	say(h, id, "out", "three\nfo");
	say(h, id, "out", "ur");
	for (int sealed = 0; sealed < 2; sealed++) {
		assert_int_equal(tail_of(h, id, GRETA_STREAM_ALL, 0), 26);
		assert_int_equal(tail_of(h, id, GRETA_STREAM_ALL, 1), 22);
		assert_int_equal(tail_of(h, id, GRETA_STREAM_ALL, 2), 16);
		assert_int_equal(tail_of(h, id, GRETA_STREAM_ALL, 3), 8);
		assert_int_equal(tail_of(h, id, GRETA_STREAM_ALL, 99), 0);
		assert_int_equal(tail_of(h, id, GRETA_STREAM_ERR, 5), 8);
		if (!sealed)
			help_good(h, id, 1, "a", NULL);
	}
}

/* Much output becomes few chunks while it still comes, cut at line ends. */
static void test_logs__sealed_on_the_way(void **state)
{
	struct help *h = *state;
	struct greta_buf line = {0}, all = {0};
	struct greta_txn txn = greta_txn_none;
	struct greta_err e = {0};
	struct got g = {0};
	unsigned seed = 3;
	int64_t id = help_attempt(h, h->jobs[0]);

	assert_ok(greta_txn_begin(h->db, &txn, &e));
	while (all.len < 1000000) {
		greta_buf_clear(&line);
		random_line(&line, &seed);
		greta_buf_str(&line);
		say(h, id, "out", line.data);
		greta_buf_add(&all, line.data, line.len);
	}
	assert_ok(greta_txn_commit(&txn, &e));
	assert_true(help_i64(h->db, "SELECT count(*) FROM log_chunk WHERE zstd IS NOT NULL") == 3);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log_chunk c WHERE zstd IS NOT NULL AND NOT EXISTS"
					 " (SELECT 1 FROM log_column WHERE c.id BETWEEN first_chunk AND last_chunk)"),
			 0);
	read_all(h, id, GRETA_STREAM_ALL, &g);
	assert_int_equal(g.text.len, all.len);
	assert_memory_equal(g.text.data, all.data, all.len);
	help_good(h, id, 1, "a", NULL);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log_chunk WHERE zstd IS NULL"), 0);
	read_all(h, id, GRETA_STREAM_ALL, &g);
	assert_memory_equal(g.text.data, all.data, all.len);
	got_clear(&g);
	greta_buf_release(&line);
	greta_buf_release(&all);
}

static void test_logs__imports_add_whole_files(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_buf all = {0};
	struct got g = {0};
	unsigned seed = 5;
	int64_t id = help_attempt(h, h->jobs[0]);

	while (all.len < 700000)
		random_line(&all, &seed);
	assert_ok(greta_logs_add(h->db, id, GRETA_STREAM_OUT, all.data, all.len, &e));
	assert_ok(greta_logs_add(h->db, id, GRETA_STREAM_ERR, "last\0word\n", 10, &e));
	assert_ok(greta_logs_seal(h->db, id, &e));
	assert_ok(greta_logs_seal(h->db, id, &e)); /* nothing left to do */
	read_all(h, id, GRETA_STREAM_OUT, &g);
	assert_int_equal(g.text.len, all.len);
	assert_memory_equal(g.text.data, all.data, all.len);
	assert_int_equal(help_i64(h->db, "SELECT length(log_tail) > 4000 FROM result"), 1); /* no NUL in it */
	got_clear(&g);
	greta_buf_release(&all);
}

static void test_logs__the_tail_starts_at_a_character(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_buf all = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	for (int i = 0; i < 3000; i++)
		greta_buf_adds(&all, "\xc3\xa4"); /* 4096 is even, so shift by one */
	greta_buf_addc(&all, '\n');
	assert_ok(greta_logs_add(h->db, id, GRETA_STREAM_OUT, all.data, all.len, &e));
	assert_ok(greta_logs_seal(h->db, id, &e));
	assert_int_equal(help_i64(h->db, "SELECT unicode(log_tail) FROM result"), 0xe4);
	greta_buf_release(&all);
}

static void test_logs__damage_is_said(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct got g = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	say(h, id, "out", "text\n");
	help_good(h, id, 1, "a", NULL);
	assert_ok(greta_db_exec(h->db, &e, "UPDATE log_chunk SET raw_bytes = 9999999999", ""));
	assert_true(greta_logs_read(h->db, id, GRETA_STREAM_ALL, 0, NULL, take, &g, &e) < 0);
	assert_non_null(strstr(e.text, "damaged"));
	assert_ok(greta_db_exec(h->db, &e, "UPDATE log_chunk SET raw_bytes = 5, zstd = x'28b52ffd0305'", ""));
	assert_true(greta_logs_read(h->db, id, GRETA_STREAM_ALL, 0, NULL, take, &g, &e) < 0);
	got_clear(&g);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs__read_back),
		cmocka_unit_test(test_runs__refuses_what_does_not_add_up),
		cmocka_unit_test(test_trigrams__never_miss_and_seldom_err),
		cmocka_unit_test(test_trigrams__case_does_not_matter),
		T(test_logs__the_same_before_and_after_sealing),
		T(test_logs__a_follower_goes_on_where_it_was),
		T(test_logs__the_last_lines),
		T(test_logs__sealed_on_the_way),
		T(test_logs__imports_add_whole_files),
		T(test_logs__the_tail_starts_at_a_character),
		T(test_logs__damage_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
