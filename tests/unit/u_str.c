#include "base/str.h"
#include "tests/unit/unit.h"
#include <locale.h>
#include <math.h>

static void test_str__i64_takes_whole_decimal_numbers_only(void **state)
{
	(void)state;
	int64_t v = 42;
	static const char *const bad[] = {"",
					  " 1",
					  "1 ",
					  "+1",
					  "0x10",
					  "1e3",
					  "1.0",
					  "--1",
					  "-",
					  "1-",
					  "9223372036854775808",
					  "-9223372036854775809",
					  "1\n",
					  "abc"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(greta_str_i64(bad[i], &v), -1);
	assert_int_equal(greta_str_i64(NULL, &v), -1);
	assert_int_equal(v, 42);
	assert_int_equal(greta_str_i64("-9223372036854775808", &v), 0);
	assert_true(v == INT64_MIN);
	assert_int_equal(greta_str_i64("0032", &v), 0);
	assert_int_equal(v, 32);
}

static void test_str__f64_takes_finite_numbers_only(void **state)
{
	(void)state;
	double v = 42;
	static const char *const bad[] = {"",    " 1", "1 ", "inf", "nan", "0x1p3", "1e999",
					  "1,5", "+1", ".",  "e5",  "1e",  "--1"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(greta_str_f64(bad[i], &v), -1);
	assert_true(v == 42);
	assert_int_equal(greta_str_f64("-2.5e-3", &v), 0);
	assert_true(v == -0.0025);
	assert_int_equal(greta_str_f64("1e-400", &v), 0); /* too small to hold is 0, not an error */
	assert_true(v == 0);
}

static void test_str__copy_cuts(void **state)
{
	(void)state;
	char s[4] = "zzz";
	greta_str_copy(s, sizeof s, "abcdef");
	assert_string_equal(s, "abc");
	greta_str_copy(s, 0, "x");
	assert_string_equal(s, "abc");
}

static void test_str__list_serves_as_argv(void **state)
{
	(void)state;
	struct greta_strs v = {0};
	for (int i = 0; i < 40; i++) {
		greta_strs_addf(&v, "%d", i);
		assert_null(v.items[v.n]);
	}
	assert_int_equal(v.n, 40);
	assert_string_equal(v.items[39], "39");
	greta_strs_release(&v);
	assert_null(v.items);
}

static void test_str__sizes_read_well(void **state)
{
	(void)state;
	static const struct {
		double bytes;
		const char *text;
	} cases[] = {{0, "0 B"},          {999, "999 B"},      {1000, "1.0 kB"},  {13.5e9, "13.5 GB"},
		     {999.6e3, "1.0 MB"}, {99.96e6, "100 MB"}, {512e6, "512 MB"}, {-2e3, "-2.0 kB"},
		     {3e21, "3000 EB"},   {NAN, "?"}};
	char out[32];
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_string_equal(greta_str_bytes(out, sizeof out, cases[i].bytes), cases[i].text);
}

static void test_str__times_read_well(void **state)
{
	(void)state;
	static const struct {
		double s;
		const char *text;
	} cases[] = {{0, "0 s"},
		     {3e-9, "0.0 us"},
		     {12.34e-6, "12.3 us"},
		     {0.9994e-3, "999 us"},
		     {0.9996e-3, "1.0 ms"},
		     {0.25, "250 ms"},
		     {0.9996, "1.0 s"},
		     {22.7681, "22.8 s"},
		     {119.94, "119.9 s"},
		     {119.96, "2 min 00 s"},
		     {981, "16 min 21 s"},
		     {3599.6, "1 h 00 min"},
		     {3870, "1 h 05 min"},
		     {47 * 3600 + 3599, "2 d 00 h"},
		     {2 * 86400 + 3 * 3600, "2 d 03 h"},
		     {-1.5, "-1.5 s"},
		     {1e300, "1.16e+295 d"},
		     {INFINITY, "?"}};
	char out[32];
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_string_equal(greta_str_seconds(out, sizeof out, cases[i].s), cases[i].text);
}

static void test_str__lists_are_searched(void **state)
{
	(void)state;
	static const char *const words[] = {"a", "bc"};
	cleanup_strs struct greta_strs list = {0};
	assert_true(greta_str_in("bc", words, 2));
	assert_false(greta_str_in("bc", words, 1));
	assert_false(greta_str_in("b", words, 2));
	assert_false(greta_strs_has(&list, ""));
	greta_strs_add(&list, "x");
	assert_true(greta_strs_has(&list, "x"));
	assert_false(greta_strs_has(&list, NULL));
}

static void test_str__distance_counts_edits(void **state)
{
	(void)state;
	assert_int_equal(greta_str_distance("", ""), 0);
	assert_int_equal(greta_str_distance("", "abc"), 3);
	assert_int_equal(greta_str_distance("kitten", "sitting"), 3);
	assert_int_equal(greta_str_distance("sitting", "kitten"), 3);
	assert_int_equal(greta_str_distance("contxt", "context"), 1);
}

static void test_str__plain_text_ends_where_json_escapes(void **state)
{
	(void)state;
	assert_int_equal(greta_str_plain("", 0), 0);
	assert_int_equal(greta_str_plain("abc", 2), 2);
	for (int c = 0; c < 256; c++) {
		char text[] = {' ', (char)c, '~'};
		bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
		assert_int_equal(greta_str_plain(text, sizeof text), plain ? 3 : 1);
		for (size_t at = 0; at < 20; at++) { /* eight are looked at together */
			char longer[20];
			memset(longer, at % 2 ? ' ' : 0x7f, sizeof longer);
			longer[at] = (char)c;
			assert_int_equal(greta_str_plain(longer, sizeof longer), plain ? sizeof longer : at);
		}
	}
}

static void test_str__characters_of_utf8(void **state)
{
	(void)state;
	assert_int_equal(greta_str_utf8_len("a", 1), 1);
	assert_int_equal(greta_str_utf8_len("\xc3\xa4", 2), 2);
	assert_int_equal(greta_str_utf8_len("\xe2\x82\xac", 3), 3);
	assert_int_equal(greta_str_utf8_len("\xf4\x8f\xbf\xbf", 4), 4);
	assert_int_equal(greta_str_utf8_len("\xe2\x82\xac", 2), 0);     /* cut */
	assert_int_equal(greta_str_utf8_len("\xed\xa0\x80", 3), 0);     /* surrogate */
	assert_int_equal(greta_str_utf8_len("\xe0\x9f\xbf", 3), 0);     /* overlong */
	assert_int_equal(greta_str_utf8_len("\xf4\x90\x80\x80", 4), 0); /* above U+10FFFF */
}

static void test_str__starts_and_ends(void **state)
{
	(void)state;
	assert_true(greta_str_starts("--name", "--"));
	assert_false(greta_str_starts("-", "--"));
	assert_true(greta_str_ends("a.gguf", ".gguf"));
	assert_false(greta_str_ends("f", ".gguf"));
	assert_true(greta_str_eq(NULL, NULL));
	assert_false(greta_str_eq(NULL, ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_str__i64_takes_whole_decimal_numbers_only),
		cmocka_unit_test(test_str__f64_takes_finite_numbers_only),
		cmocka_unit_test(test_str__copy_cuts),
		cmocka_unit_test(test_str__list_serves_as_argv),
		cmocka_unit_test(test_str__sizes_read_well),
		cmocka_unit_test(test_str__times_read_well),
		cmocka_unit_test(test_str__lists_are_searched),
		cmocka_unit_test(test_str__distance_counts_edits),
		cmocka_unit_test(test_str__plain_text_ends_where_json_escapes),
		cmocka_unit_test(test_str__characters_of_utf8),
		cmocka_unit_test(test_str__starts_and_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
