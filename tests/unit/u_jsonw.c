#include "base/jsonw.h"
#include "base/str.h"
#include "tests/unit/unit.h"
#include <float.h>
#include <locale.h>
#include <math.h>
#include <string.h>

static void test_jsonw__nests_and_separates(void **state)
{
	(void)state;
	cleanup_buf struct greta_buf b = {0};
	struct greta_jsonw w = greta_jsonw(&b);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "a", "x");
	greta_jsonw_array(&w, "list");
	greta_jsonw_i64(&w, NULL, INT64_MIN);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_end_object(&w);
	greta_jsonw_array(&w, NULL);
	greta_jsonw_end_array(&w);
	greta_jsonw_null(&w, NULL);
	greta_jsonw_end_array(&w);
	greta_jsonw_bool(&w, "yes", true);
	greta_jsonw_raw(&w, "raw", "{\"k\":[1,2]}");
	greta_jsonw_str(&w, "none", NULL);
	greta_jsonw_end_object(&w);
	assert_string_equal(b.data, "{\"a\":\"x\",\"list\":[-9223372036854775808,{},[],null],\"yes\":true,"
				    "\"raw\":{\"k\":[1,2]},\"none\":null}");
}

static void test_jsonw__writes_lists(void **state)
{
	(void)state;
	cleanup_buf struct greta_buf b = {0};
	cleanup_strs struct greta_strs list = {0};
	struct greta_jsonw w = greta_jsonw(&b);
	greta_strs_add(&list, "a");
	greta_strs_add(&list, "b\n");
	greta_jsonw_object(&w, NULL);
	greta_jsonw_strs(&w, "list", &list);
	greta_jsonw_lines(&w, "lines", "one\n\nthree");
	greta_jsonw_lines(&w, "none", "");
	greta_jsonw_end_object(&w);
	assert_string_equal(b.data, "{\"list\":[\"a\",\"b\\n\"],\"lines\":[\"one\",\"\",\"three\"],\"none\":[]}");
}

static void assert_written(const char *text, size_t n, const char *json)
{
	cleanup_buf struct greta_buf b = {0};
	struct greta_jsonw w = greta_jsonw(&b);
	greta_jsonw_strn(&w, NULL, text, n);
	assert_string_equal(b.data, json);
}

static void test_jsonw__escapes(void **state)
{
	(void)state;
	assert_written("a\"b\\c/", 6, "\"a\\\"b\\\\c/\"");
	assert_written("\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\"");
	assert_written("\0\x1f", 2, "\"\\u0000\\u001f\"");
	assert_written("", 0, "\"\"");
	cleanup_buf struct greta_buf b = {0};
	struct greta_jsonw w = greta_jsonw(&b);
	greta_jsonw_null(&w, "k\n\"");
	assert_string_equal(b.data, "\"k\\n\\\"\":null");
}

#define BAD "\xef\xbf\xbd"

static void test_jsonw__only_valid_utf8_leaves(void **state)
{
	(void)state;
	assert_written("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
	assert_written("a\xff"
		       "b",
		       3, "\"a" BAD "b\"");
	assert_written("\xc0\xaf", 2, "\"" BAD BAD "\"");                 /* overlong */
	assert_written("\xe0\x80\x80", 3, "\"" BAD BAD BAD "\"");         /* overlong */
	assert_written("\xed\xa0\x80", 3, "\"" BAD BAD BAD "\"");         /* surrogate */
	assert_written("\xf4\x90\x80\x80", 4, "\"" BAD BAD BAD BAD "\""); /* above U+10FFFF */
	assert_written("\xe2\x82\xac", 2, "\"" BAD BAD "\"");             /* cut */
	assert_written("\xe2\x82\"", 3, "\"" BAD BAD "\\\"\"");
}

static void assert_number(double v, const char *json)
{
	cleanup_buf struct greta_buf b = {0};
	struct greta_jsonw w = greta_jsonw(&b);
	greta_jsonw_f64(&w, NULL, v);
	assert_string_equal(b.data, json);
}

static void test_jsonw__numbers_are_short_and_read_back_equal(void **state)
{
	(void)state;
	assert_number(0.1, "0.1");
	assert_number(22.7681, "22.7681");
	assert_number(5, "5");
	assert_number(0, "0");
	assert_number(-0.0, "-0");
	assert_number(-42, "-42");
	assert_number(999999999999999, "999999999999999");
	assert_number(-999999999999999, "-999999999999999");
	assert_number(1e15, "1e+15");
	assert_number(1234567890123456, "1234567890123456");
	assert_number(9007199254740992, "9007199254740992");
	assert_number(999999999999999.5, "999999999999999.5");
	assert_number(1.0 / 3, "0.3333333333333333");
	assert_number(0.1 + 0.2, "0.30000000000000004");
	assert_number(DBL_MAX, "1.7976931348623157e+308");
	assert_number(NAN, "null");
	assert_number(-INFINITY, "null");
}

static void test_jsonw__numbers_ignore_the_locale(void **state)
{
	(void)state;
	double v;
	const char *comma = NULL, *const tries[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "pt_BR.UTF-8"};
	for (size_t i = 0; !comma && i < sizeof tries / sizeof tries[0]; i++)
		comma = setlocale(LC_ALL, tries[i]);
	if (!comma) {
		print_message("skipped: no locale with a decimal comma is installed\n");
		skip();
	}
	assert_number(1.5, "1.5");
	assert_int_equal(greta_str_f64("1.5", &v), 0);
	setlocale(LC_ALL, "C");
}

/* A string that is JSON: quoted, no raw control character, escapes whole, UTF-8 as mbrtowc in C.UTF-8 takes it. */
static void assert_is_json_string(const struct greta_buf *b)
{
	assert_true(b->len >= 2 && b->data[0] == '"' && b->data[b->len - 1] == '"');
	for (size_t i = 1; i < b->len - 1; i++) {
		assert_true((unsigned char)b->data[i] >= 0x20 && b->data[i] != '"');
		if (b->data[i] != '\\')
			continue;
		assert_true(strchr("\"\\bfnrtu", b->data[++i]) != NULL && i < b->len - 1);
		if (b->data[i] == 'u')
			i += 4;
	}
	if (setlocale(LC_CTYPE, "C.UTF-8"))
		assert_true(mbstowcs(NULL, b->data, 0) != (size_t)-1);
	setlocale(LC_CTYPE, "C");
}

static void test_jsonw__random_input_gives_json(void **state)
{
	(void)state;
	uint64_t seed = 88172645463325252u;
	for (int round = 0; round < 3000; round++) {
		char text[40];
		double v, back;
		for (size_t i = 0; i < sizeof text; i++) {
			seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
			text[i] = round % 2 ? (char)seed : "\"\\\n\xe2\x82\xac\xf0\x9f\x98\x80\x80\xed\xa0x"[seed % 14];
		}
		cleanup_buf struct greta_buf b = {0};
		struct greta_jsonw w = greta_jsonw(&b);
		greta_jsonw_strn(&w, NULL, text, seed % sizeof text);
		assert_is_json_string(&b);
		memcpy(&v, &seed, sizeof v);
		if (!isfinite(v))
			continue;
		greta_buf_clear(&b);
		w = greta_jsonw(&b);
		greta_jsonw_f64(&w, NULL, v);
		assert_int_equal(greta_str_f64(b.data, &back), 0);
		assert_memory_equal(&back, &v, sizeof v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_jsonw__nests_and_separates),
		cmocka_unit_test(test_jsonw__writes_lists),
		cmocka_unit_test(test_jsonw__escapes),
		cmocka_unit_test(test_jsonw__only_valid_utf8_leaves),
		cmocka_unit_test(test_jsonw__numbers_are_short_and_read_back_equal),
		cmocka_unit_test(test_jsonw__numbers_ignore_the_locale),
		cmocka_unit_test(test_jsonw__random_input_gives_json),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
