#include "tests/unit/db_help.h"

#include "db/logs.h"

struct hits {
	struct greta_buf text; /* "attempt:offset:line|" each */
	int n, stop_after;
};

static int take(void *arg, const struct greta_grep_hit *hit, struct greta_err *e)
{
	struct hits *h = arg;

	(void)e;
	greta_buf_addf(&h->text, "%d:%d:%s:%.*s|", (int)hit->attempt_id, (int)hit->offset,
		       hit->stream == GRETA_STREAM_ERR ? "e" : "o", (int)hit->n, hit->line);
	return ++h->n == h->stop_after;
}

static const char *grep(struct help *h, struct hits *hits, struct greta_grep g, struct greta_grep_stats *stats)
{
	struct greta_err e = {0};

	greta_buf_clear(&hits->text);
	hits->n = 0;
	assert_ok(greta_logs_grep(h->db, &g, take, hits, stats, &e));
	return greta_buf_str(&hits->text);
}

static int64_t attempt_with(struct help *h, int64_t job, const char *text)
{
	struct greta_err e = {0};
	int64_t id = help_attempt(h, job);

	assert_ok(greta_logs_add(h->db, id, GRETA_STREAM_OUT, text, strlen(text), &e));
	return id;
}

static void test_log_grep__finds_lines_loose_and_sealed(void **state)
{
	struct help *h = *state;
	struct hits hits = {0};
	struct greta_err e = {0};
	int64_t a = attempt_with(h, h->jobs[0], "first line\nHIP error 700\nlast HIP error");
	int64_t b = attempt_with(h, h->jobs[1], "all is well\n");

	for (int sealed = 0; sealed < 2; sealed++) {
		assert_string_equal(grep(h, &hits, (struct greta_grep){.pattern = "HIP error"}, NULL),
				    "1:11:o:HIP error 700|1:25:o:last HIP error|");
		assert_string_equal(grep(h, &hits, (struct greta_grep){.pattern = "hip ERROR 7"}, NULL), "");
		assert_string_equal(
			grep(h, &hits, (struct greta_grep){.pattern = "hip ERROR 7", .ignore_case = true}, NULL),
			"1:11:o:HIP error 700|");
		assert_string_equal(grep(h, &hits, (struct greta_grep){.pattern = "l"}, NULL),
				    "1:0:o:first line|1:25:o:last HIP error|2:0:o:all is well|");
		assert_string_equal(grep(h, &hits, (struct greta_grep){.pattern = "well", .attempt_id = a}, NULL), "");
		assert_ok(greta_logs_seal(h->db, a, &e));
		assert_ok(greta_logs_seal(h->db, b, &e));
	}
	greta_buf_release(&hits.text);
}

static void test_log_grep__expressions(void **state)
{
	static const struct {
		const char *pattern, *found;
	} cases[] = {
		{"^two$", "1:4:o:two|"},
		{"t[wh]", "1:4:o:two|1:8:o:three 33|"},
		{"thr?e+ [0-9]{2}", "1:8:o:three 33|"},
		{"^$", "1:17:o:|"},
		{"three|one", "1:0:o:one|1:8:o:three 33|"},
		{"xthree?", ""},
		{"nex*", "1:0:o:one|"},
		{"[[:alpha:]]+ 33", "1:8:o:three 33|"},
		{"[]x[]*three", "1:8:o:three 33|"},
		{"(on|tw)e?o?", "1:0:o:one|1:4:o:two|"},
		{"th(r)e{2} 3{2}", "1:8:o:three 33|"},
		{"thre{0}e", "1:8:o:three 33|"},
		{"thx{0}ree", "1:8:o:three 33|"},
		{"t\\w+ 3\\>", ""},
		{"three\\ 33", "1:8:o:three 33|"},
		{"(\\)|[)]|t)wo", "1:4:o:two|"},
		{"e .3", "1:8:o:three 33|"},
	};
	struct help *h = *state;
	struct hits hits = {0};
	struct greta_err e = {0};
	struct greta_grep g = {.pattern = "(", .regex = true};
	int64_t a = attempt_with(h, h->jobs[0], "one\ntwo\nthree 33\n\n");

	assert_ok(greta_logs_seal(h->db, a, &e));
	for (size_t i = 0; i < GRETA_COUNT(cases); i++) {
		g.pattern = cases[i].pattern;
		if (strcmp(grep(h, &hits, g, NULL), cases[i].found) != 0)
			fail_msg("%s: %s", cases[i].pattern, hits.text.data);
	}
	g.pattern = "THREE .";
	g.ignore_case = true;
	assert_string_equal(grep(h, &hits, g, NULL), "1:8:o:three 33|");
	g.pattern = "(";
	assert_fails(greta_logs_grep(h->db, &g, take, &hits, NULL, &e), GRETA_EINVAL);
	assert_non_null(strstr(e.text, "pattern \"(\""));
	g.pattern = "";
	assert_fails(greta_logs_grep(h->db, &g, take, &hits, NULL, &e), GRETA_EINVAL);
	greta_buf_release(&hits.text);
}

static void test_log_grep__lines_over_the_edges_of_events(void **state)
{
	struct help *h = *state;
	struct hits hits = {0};
	struct greta_err e = {0};
	int64_t id = help_attempt(h, h->jobs[0]);
	static const char *const pieces[] = {"a nee", "dle he", "re\nand a", " needle\nnot", "hing\nnee"};

	for (size_t i = 0; i < GRETA_COUNT(pieces); i++)
		assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", pieces[i], NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG_GAP, "{\"dropped\":10}", NULL, NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG, "{\"stream\":\"err\"}", "dle and needle\n", NULL, &e));
	for (int sealed = 0; sealed < 2; sealed++) {
		assert_string_equal(grep(h, &hits, (struct greta_grep){.pattern = "needle"}, NULL),
				    "1:0:o:a needle here|1:14:o:and a needle|1:48:e:dle and needle|");
		assert_string_equal(
			grep(h, &hits, (struct greta_grep){.pattern = "needle", .stream = GRETA_STREAM_ERR}, NULL),
			"1:48:e:dle and needle|");
		if (!sealed)
			help_good(h, id, 1, "a", NULL);
	}
	greta_buf_release(&hits.text);
}

static void test_log_grep__streams_apart(void **state)
{
	struct help *h = *state;
	struct hits hits = {0};
	struct greta_err e = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", "out nee", NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG, "{\"stream\":\"err\"}", "err needle\n", NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", "dle\n", NULL, &e));
	for (int sealed = 0; sealed < 2; sealed++) {
		assert_string_equal(
			grep(h, &hits, (struct greta_grep){.pattern = "needle", .stream = GRETA_STREAM_OUT}, NULL),
			"1:0:o:out needle|");
		assert_non_null(strstr(
			grep(h, &hits, (struct greta_grep){.pattern = "needle", .stream = GRETA_STREAM_ERR}, NULL),
			"err needle|"));
		if (!sealed)
			help_good(h, id, 1, "a", NULL);
	}
	greta_buf_release(&hits.text);
}

static void test_log_grep__by_campaign_and_counted(void **state)
{
	struct help *h = *state, second = **(struct help **)state;
	struct hits hits = {0};
	int64_t a = attempt_with(h, h->jobs[0], "needle\n"), b = attempt_with(h, h->jobs[0], "needle\n");

	help_campaign(&second, "d");
	attempt_with(&second, second.jobs[0], "needle\n");
	h->seq = 0;
	help_good(h, b, 1, "a", NULL);
	(void)a;
	assert_int_equal(strlen(grep(h, &hits, (struct greta_grep){.pattern = "needle"}, NULL)),
			 3 * strlen("1:0:o:needle|"));
	assert_string_equal(
		grep(h, &hits, (struct greta_grep){.pattern = "needle", .campaign_id = second.campaign_id}, NULL),
		"3:0:o:needle|");
	assert_string_equal(grep(h, &hits, (struct greta_grep){.pattern = "needle", .counted_only = true}, NULL),
			    "2:0:o:needle|");
	assert_string_equal(
		grep(h, &hits,
		     (struct greta_grep){.pattern = "needle", .counted_only = true, .campaign_id = h->campaign_id},
		     NULL),
		"2:0:o:needle|");
	hits.stop_after = 1;
	assert_string_equal(grep(h, &hits, (struct greta_grep){.pattern = "needle"}, NULL), "1:0:o:needle|");
	greta_buf_release(&hits.text);
}

/* Most chunks need not be unpacked to know that a rare word is not in them. */
static void test_log_grep__skips_what_can_not_match(void **state)
{
	struct help *h = *state;
	struct hits hits = {0};
	struct greta_grep_stats stats;
	struct greta_err e = {0};
	struct greta_buf text = {0};
	unsigned seed = 9;

	for (int i = 0; i < 8; i++) {
		int64_t id = help_attempt(h, h->jobs[i]);

		greta_buf_clear(&text);
		while (text.len < 200000) {
			seed = seed * 1103515245 + 12345;
			greta_buf_addf(&text, "step %u took %u us\n", seed >> 20, (seed >> 8) % 1000);
		}
		if (i == 5)
			greta_buf_adds(&text, "Memory access fault by GPU node-2\n");
		assert_ok(greta_logs_add(h->db, id, GRETA_STREAM_OUT, text.data, text.len, &e));
		assert_ok(greta_logs_seal(h->db, id, &e));
	}
	grep(h, &hits, (struct greta_grep){.pattern = "Memory access fault"}, &stats);
	assert_int_equal(hits.n, 1);
	assert_int_equal(stats.n_hits, 1);
	assert_int_equal(stats.n_chunks, 8);
	assert_int_equal(stats.n_candidates, 1);
	assert_int_equal(stats.n_chunks_read, 1);
	assert_true(stats.bytes > 8 * 200000);
	grep(h, &hits, (struct greta_grep){.pattern = "access .ault", .regex = true}, &stats);
	assert_int_equal(hits.n, 1);
	assert_int_equal(stats.n_chunks_read, 1);
	grep(h, &hits, (struct greta_grep){.pattern = "Memory access fault", .campaign_id = h->campaign_id}, &stats);
	assert_int_equal(hits.n, 1);
	assert_int_equal(stats.n_chunks, 8);
	assert_int_equal(stats.n_chunks_read, 1);
	assert_true(stats.bytes > 8 * 200000);
	greta_buf_release(&text);
	greta_buf_release(&hits.text);
}

/* Some hundred attempts, one of them long, one that still runs: cut into jobs, done by several threads. */
static void test_log_grep__a_reader_finds_the_same_in_the_same_order(void **state)
{
	static const char *const patterns[] = {"line 7", "needle", "of attempt 1", "line.*[2-9] x*$"};
	struct help *h = *state, reader = *h;
	struct hits one = {0}, other = {0};
	struct greta_err e = {0};
	struct greta_buf text = {0};
	char filler[501] = {0};

	memset(filler, 'x', 500);
	for (int i = 0; i < 150; i++) {
		int64_t id = help_attempt(h, h->jobs[i % 8]);

		greta_buf_clear(&text);
		for (int k = 0; k < (i == 70 ? 20000 : 20); k++)
			greta_buf_addf(&text, "%s line %d of attempt %d %.*s%s", k % 11 ? "a" : "needle", k, i,
				       i == 70 ? 500 : 0, filler, k % 5 ? "\n" : "");
		assert_ok(greta_logs_add(h->db, id, GRETA_STREAM_OUT, text.data, text.len, &e));
		if (i != 100)
			assert_ok(greta_logs_seal(h->db, id, &e));
	}
	reader.db = greta_db_open_reader("x.db", &e);
	assert_non_null(reader.db);
	for (size_t i = 0; i < GRETA_COUNT(patterns); i++) {
		struct greta_grep g = {.pattern = patterns[i], .regex = i == 3};

		grep(h, &one, g, NULL);
		grep(&reader, &other, g, NULL);
		assert_true(one.n > 100);
		assert_int_equal(one.n, other.n);
		assert_string_equal(greta_buf_str(&one.text), greta_buf_str(&other.text));
	}
	other.stop_after = 5; /* and it stops when it is told to */
	grep(&reader, &other, (struct greta_grep){.pattern = "line"}, NULL);
	assert_int_equal(other.n, 5);
	greta_db_close(reader.db);
	greta_buf_release(&text);
	greta_buf_release(&one.text);
	greta_buf_release(&other.text);
}

/* An engine that prints without end on one line. */
static void test_log_grep__a_line_without_end(void **state)
{
	struct help *h = *state;
	struct hits hits = {0};
	struct greta_err e = {0};
	struct greta_buf text = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	while (text.len < 300000)
		greta_buf_adds(&text, "0123456789");
	greta_buf_adds(&text, "needle");
	while (text.len < 700000)
		greta_buf_adds(&text, "0123456789");
	greta_buf_adds(&text, "\nshort needle\n");
	assert_ok(greta_logs_add(h->db, id, GRETA_STREAM_OUT, text.data, text.len, &e));
	assert_ok(greta_logs_seal(h->db, id, &e));
	grep(h, &hits, (struct greta_grep){.pattern = "needle"}, NULL);
	assert_int_equal(hits.n, 2);
	assert_non_null(strstr(greta_buf_str(&hits.text), "short needle|"));
	greta_buf_release(&text);
	greta_buf_release(&hits.text);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
	const struct CMUnitTest tests[] = {
		T(test_log_grep__finds_lines_loose_and_sealed),
		T(test_log_grep__expressions),
		T(test_log_grep__lines_over_the_edges_of_events),
		T(test_log_grep__streams_apart),
		T(test_log_grep__by_campaign_and_counted),
		T(test_log_grep__skips_what_can_not_match),
		T(test_log_grep__a_reader_finds_the_same_in_the_same_order),
		T(test_log_grep__a_line_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
