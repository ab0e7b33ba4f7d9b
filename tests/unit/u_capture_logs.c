#include "tests/unit/unit.h"

#include "agent/logs.h"
#include "base/buf.h"
#include <string.h>

struct sink {
	struct greta_buf bytes[LOGS_STREAMS];
	int64_t next[LOGS_STREAMS];  /* offset expected */
	int64_t gaps[LOGS_STREAMS];
	size_t largest;
};

static void on_chunk(void *arg, enum logs_stream stream, int64_t offset, const char *bytes, size_t n)
{
	struct sink *s = arg;
	assert_int_equal(offset, s->next[stream]);
	assert_true(n > 0 && n <= LOGS_CHUNK);
	s->next[stream] += (int64_t)n;
	greta_buf_add(&s->bytes[stream], bytes, n);
}

static void on_gap(void *arg, enum logs_stream stream, int64_t offset, int64_t dropped)
{
	struct sink *s = arg;
	assert_int_equal(offset, s->next[stream]);
	s->next[stream] += dropped;
	s->gaps[stream] += dropped;
}

static void begin(struct logs *l, struct sink *s, int64_t limit)
{
	*s = (struct sink){0};
	logs_init(l, limit, (struct logs_sink){on_chunk, on_gap, s});
}

static void end(struct logs *l, struct sink *s)
{
	for (int i = 0; i < LOGS_STREAMS; i++)
		greta_buf_release(&s->bytes[i]);
	logs_release(l);
}

/* The bytes of a long stream, so that any part of it can be recognised. */
static char at(int64_t k)
{
	return (char)('a' + (k * 7 + k / 26) % 26);
}

static void take(struct logs *l, enum logs_stream stream, int64_t from, size_t n)
{
	char *bytes = malloc(n);
	for (size_t i = 0; i < n; i++)
		bytes[i] = at(from + (int64_t)i);
	logs_take(l, stream, bytes, n);
	free(bytes);
}

static void test_logs__little_is_kept_whole(void **state)
{
	struct logs l;
	struct sink s;
	(void)state;
	begin(&l, &s, 1 << 20);
	logs_take(&l, LOGS_OUT, "hello\n", 6);
	assert_true(logs_waiting(&l));
	logs_flush(&l);
	assert_false(logs_waiting(&l));
	logs_take(&l, LOGS_ERR, "oops\n", 5);
	logs_take(&l, LOGS_OUT, "again\n", 6);
	logs_end(&l);
	assert_string_equal(s.bytes[LOGS_OUT].data, "hello\nagain\n");
	assert_string_equal(s.bytes[LOGS_ERR].data, "oops\n");
	assert_int_equal(logs_total(&l), 17);
	assert_int_equal(logs_dropped(&l), 0);
	end(&l, &s);
}

static void test_logs__head_and_tail_of_any_length(void **state)
{
	const int64_t part = 5000; /* limit / 4, of head and of tail */
	static const int64_t totals[] = {1, 4999, 5000, 5001, 9999, 10000, 10001, 15000, 123457};
	static const size_t pieces[] = {1, 7, 4096, 70000};
	(void)state;
	for (size_t i = 0; i < sizeof totals / sizeof *totals; i++) {
		for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
			struct logs l;
			struct sink s;
			begin(&l, &s, part * 4);
			for (int64_t done = 0; done < totals[i]; done += (int64_t)pieces[k])
				take(&l, LOGS_OUT, done,
				     (int64_t)pieces[k] < totals[i] - done ? pieces[k] : (size_t)(totals[i] - done));
			logs_end(&l);
			assert_int_equal(s.next[LOGS_OUT], totals[i]);
			assert_int_equal(s.gaps[LOGS_OUT], totals[i] > 2 * part ? totals[i] - 2 * part : 0);
			assert_int_equal(logs_dropped(&l), s.gaps[LOGS_OUT]);
			const struct greta_buf *got = &s.bytes[LOGS_OUT];
			for (size_t b = 0; b < got->len; b++) {
				bool head = (int64_t)b < part;
				int64_t offset = head ? (int64_t)b : totals[i] - (int64_t)(got->len - b);
				assert_int_equal(got->data[b], at(offset));
			}
			end(&l, &s);
		}
	}
}

static void test_logs__the_last_line(void **state)
{
	struct logs l;
	struct sink s;
	char line[64];
	(void)state;
	begin(&l, &s, 1 << 20);
	logs_last_line(&l, line, sizeof line);
	assert_string_equal(line, "");
	logs_take(&l, LOGS_OUT, "one\ntwo\n\n  \n", 12);
	logs_last_line(&l, line, sizeof line);
	assert_string_equal(line, "two");
	logs_take(&l, LOGS_ERR, "err\033[0mor", 9);
	logs_last_line(&l, line, sizeof line);
	assert_string_equal(line, "err [0mor");
	end(&l, &s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logs__little_is_kept_whole),
		cmocka_unit_test(test_logs__head_and_tail_of_any_length),
		cmocka_unit_test(test_logs__the_last_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
