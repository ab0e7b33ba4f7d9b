/* buf, and mem under it. */
#include "base/buf.h"
#include "base/mem.h"
#include "tests/unit/unit.h"
#include <string.h>

static void test_buf__zero_is_a_valid_empty_one(void **state)
{
	(void)state;
	struct greta_buf b = {0};
	assert_string_equal(greta_buf_str(&b), "");
	greta_buf_consume(&b, 3);
	greta_buf_clear(&b);
	greta_buf_add(&b, NULL, 0);
	assert_int_equal(b.len, 0);
	greta_buf_release(&b);
	char *s = greta_buf_steal(&b);
	assert_string_equal(s, "");
	free(s);
}

static void test_buf__grows_and_stays_terminated(void **state)
{
	(void)state;
	cleanup_buf struct greta_buf b = {0};
	for (int i = 0; i < 5000; i++) {
		if (i % 3 == 0)
			greta_buf_addf(&b, "%d", i % 10);
		else
			greta_buf_addc(&b, (char)('0' + i % 10));
		assert_int_equal(b.data[b.len], '\0');
	}
	assert_int_equal(b.len, 5000);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(b.data[i], '0' + i % 10);
}

static void test_buf__writes_whole_numbers(void **state)
{
	(void)state;
	cleanup_buf struct greta_buf b = {0};
	const int64_t numbers[] = {0, 7, -1, 10, 1234567890, INT64_MAX, INT64_MIN};
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
		greta_buf_addi(&b, numbers[i]);
		greta_buf_addc(&b, ' ');
	}
	assert_string_equal(b.data, "0 7 -1 10 1234567890 9223372036854775807 -9223372036854775808 ");
}

static void test_buf__consume_drops_from_the_front(void **state)
{
	(void)state;
	cleanup_buf struct greta_buf b = {0};
	greta_buf_adds(&b, "one two");
	greta_buf_consume(&b, 4);
	assert_string_equal(b.data, "two");
	greta_buf_consume(&b, 100);
	assert_int_equal(b.len, 0);
	assert_string_equal(b.data, "");
}

static void test_buf__reserved_room_is_terminated_when_read(void **state)
{
	(void)state;
	cleanup_buf struct greta_buf b = {0};
	char *room = greta_buf_reserve(&b, 10);
	memcpy(room, "abcdefghij", 10);
	b.len += 3;
	assert_string_equal(greta_buf_str(&b), "abc");
	char *s = greta_buf_steal(&b);
	assert_string_equal(s, "abc");
	free(s);
	assert_null(b.data);
}

static void test_mem__sizes_from_input_are_refused(void **state)
{
	(void)state;
	assert_null(greta_try_alloc(SIZE_MAX / 2, 3));
	assert_null(greta_try_alloc(SIZE_MAX, 1));
	unsigned char *p = greta_try_alloc(100, 3);
	for (int i = 0; i < 300; i++)
		assert_int_equal(p[i], 0);
	free(p);
	p = greta_try_alloc(0, 8);
	assert_non_null(p);
	free(p);
}

static void test_mem__push_gives_zeroed_elements(void **state)
{
	(void)state;
	struct {
		int id;
		char pad[20];
	} *items = NULL;
	size_t n = 0, cap = 0;
	for (int i = 0; i < 100; i++) {
		assert_int_equal(GRETA_PUSH(items, n, cap)->id, 0);
		memset(items[n - 1].pad, 0xff, sizeof items[n - 1].pad);
		items[n - 1].id = i + 1;
	}
	assert_int_equal(n, 100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(items[i].id, i + 1);
	free(items);
}

static void test_mem__strndup_stops_at_the_end(void **state)
{
	(void)state;
	assert_null(greta_strdup(NULL));
	char *s = greta_strndup("abc", 100);
	assert_string_equal(s, "abc");
	free(s);
	s = greta_strndup("abc", 2);
	assert_string_equal(s, "ab");
	free(s);
}

static void test_buf__words_of_a_shell(void **state)
{
	(void)state;
	cleanup_buf struct greta_buf b = {0};
	greta_buf_add_word(&b, "it's $HOME `x` \\");
	assert_string_equal(greta_buf_str(&b), "'it'\\''s $HOME `x` \\'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buf__zero_is_a_valid_empty_one),
		cmocka_unit_test(test_buf__grows_and_stays_terminated),
		cmocka_unit_test(test_buf__writes_whole_numbers),
		cmocka_unit_test(test_buf__consume_drops_from_the_front),
		cmocka_unit_test(test_buf__reserved_room_is_terminated_when_read),
		cmocka_unit_test(test_buf__words_of_a_shell),
		cmocka_unit_test(test_mem__sizes_from_input_are_refused),
		cmocka_unit_test(test_mem__push_gives_zeroed_elements),
		cmocka_unit_test(test_mem__strndup_stops_at_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
