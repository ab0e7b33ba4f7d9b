#include "base/mem.h"
#include "schemas/json.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct greta_json *parse(const char *text)
{
	struct greta_err e = {0};
	struct greta_json *j = greta_json_parse("t.json", text, strlen(text), &e);

	if (!j)
		fail_msg("%s", e.text);
	return j;
}

static void refused(const char *text, size_t n, const char *expected)
{
	struct greta_err e = {0};
	struct greta_json *j = greta_json_parse("t.json", text, n, &e);

	assert_null(j);
	assert_int_equal(e.code, GRETA_EINVAL);
	if (!strstr(e.text, expected))
		fail_msg("%s\nexpected: %s", e.text, expected);
}

static void test_json__reads_all_types(void **state)
{
	struct greta_json *j =
		parse("{\"a\":null,\"b\":true,\"c\":-2.5e1,\"d\":\"x\\u00e4\\ud83d\\ude00\\n\",\"e\":[1,2],\"f\":{}}");
	const struct greta_json_val *root = greta_json_root(j);
	const char *s;
	double d;
	bool b;

	(void)state;
	assert_int_equal(greta_json_size(root), 6);
	assert_int_equal(greta_json_type(greta_json_get(root, "a")), GRETA_JSON_NULL);
	assert_int_equal(greta_json_bool(greta_json_get(root, "b"), &b), 0);
	assert_true(b);
	assert_int_equal(greta_json_f64(greta_json_get(root, "c"), &d), 0);
	assert_true(d == -25);
	assert_int_equal(greta_json_str(greta_json_get(root, "d"), &s), 0);
	assert_string_equal(s, "x\xc3\xa4\xf0\x9f\x98\x80\n");
	assert_int_equal(greta_json_size(greta_json_get(root, "e")), 2);
	assert_int_equal(greta_json_size(greta_json_get(root, "f")), 0);
	assert_null(greta_json_first(greta_json_get(root, "f")));
	assert_null(greta_json_get(root, "g"));
	assert_int_equal(greta_json_str(NULL, &s), -1);
	assert_int_equal(greta_json_str(greta_json_get(root, "b"), &s), -1);
	greta_json_destroy(j);
}

static void test_json__keeps_members_in_order(void **state)
{
	struct greta_json *j = parse("{\"z\":{\"q\":[[],{\"w\":1}]},\"a\":[{}],\"m\":3}");
	const struct greta_json_val *v = greta_json_first(greta_json_root(j));

	(void)state;
	assert_string_equal(greta_json_key(v), "z");
	v = greta_json_next(v);
	assert_string_equal(greta_json_key(v), "a");
	assert_null(greta_json_key(greta_json_first(v)));
	v = greta_json_next(v);
	assert_string_equal(greta_json_key(v), "m");
	assert_null(greta_json_next(v));
	greta_json_destroy(j);
}

static void test_json__keeps_int64(void **state)
{
	struct greta_json *j =
		parse("[9223372036854775807,-9223372036854775808,9007199254740993,9223372036854775808,1e3,2.0,"
		      "2.5,1e300,-0]");
	static const int64_t expected[] = {INT64_MAX, INT64_MIN, 9007199254740993, -7, 1000, 2, -7, -7, 0};
	const struct greta_json_val *v = greta_json_first(greta_json_root(j));

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(expected); i++, v = greta_json_next(v)) {
		int64_t n = -7;

		assert_int_equal(greta_json_i64(v, &n), expected[i] == -7 ? -1 : 0);
		assert_true(n == expected[i]);
	}
	greta_json_destroy(j);
}

static void test_json__reads_numbers_as_strtod_does(void **state)
{
	static const char *const texts[] = {"0", "-0", "7", "-7", "999999999999999", "-999999999999999", "9999999999999999",
					    "9007199254740993", "18446744073709551616", "0.1", "-0.0", "1e15", "5e-324",
					    "123456789012345.5", "1.2345678901234", "-0.0000000000001", "0.000000000000001",
					    "0.30000000000000004", "1.7976931348623157e308", "1E+2", "0e-5"};
	cleanup_buf struct greta_buf list = {0};
	const struct greta_json_val *v;
	struct greta_json *j;

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(texts); i++)
		greta_buf_addf(&list, "%c%s", i ? ',' : '[', texts[i]);
	greta_buf_adds(&list, "]");
	j = parse(list.data);
	v = greta_json_first(greta_json_root(j));
	for (size_t i = 0; i < GRETA_COUNT(texts); i++, v = greta_json_next(v)) {
		double d = NAN, expected = strtod(texts[i], NULL);

		assert_int_equal(greta_json_f64(v, &d), 0);
		assert_memory_equal(&d, &expected, sizeof d); /* the sign of zero, too */
	}
	greta_json_destroy(j);
}

static void test_json__decodes_strings(void **state)
{
	struct greta_json *j = parse("{\"\":\"\",\"k\\n\\u00e9\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\","
				     "\"u\":\"\\u0041\\u07ff\\u0800\\uFFFF\",\"p\":\"\\ud800\\udc00\\udbff\\udfff\","
				     "\"raw\":\"a\x7f\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z\"}");
	static const char *const expected[][2] = {
		{"", ""},
		{"k\n\xc3\xa9", "\"\\/\b\f\n\r\t"},
		{"u", "A\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"},
		{"p", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
		{"raw", "a\x7f\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z"},
	};
	const struct greta_json_val *v = greta_json_first(greta_json_root(j));

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(expected); i++, v = greta_json_next(v)) {
		const char *s = NULL;

		assert_string_equal(greta_json_key(v), expected[i][0]);
		assert_int_equal(greta_json_str(v, &s), 0);
		assert_string_equal(s, expected[i][1]);
		assert_ptr_equal(greta_json_get(greta_json_root(j), expected[i][0]), v);
	}
	greta_json_destroy(j);
}

static void test_json__allows_comments_and_bom(void **state)
{
	struct greta_json *j =
		parse("\xef\xbb\xbf// head\n{ /* a { */ \"a\": /**/ \"// no comment /* */\" // tail\n} /* \n */ //");
	const char *s;

	(void)state;
	assert_int_equal(greta_json_str(greta_json_get(greta_json_root(j), "a"), &s), 0);
	assert_string_equal(s, "// no comment /* */");
	greta_json_destroy(j);
}

static void test_json__says_where(void **state)
{
	struct greta_json *j = parse("{\n  \"\xc3\xa4\": 1, \"b\": [\n\t{\"odd key\": 5}, 7]\n}");
	const struct greta_json_val *b = greta_json_get(greta_json_root(j), "b");
	const struct greta_json_val *odd = greta_json_get(greta_json_first(b), "odd key");
	cleanup_buf struct greta_buf path = {0};
	int line, column;

	(void)state;
	greta_json_where(j, b, &line, &column);
	assert_int_equal(line, 2);
	assert_int_equal(column, 16); /* characters, not bytes */
	greta_json_where_key(j, odd, &line, &column);
	assert_int_equal(line, 3);
	assert_int_equal(column, 3);
	greta_json_path(j, odd, &path);
	assert_string_equal(path.data, "b[0][\"odd key\"]");
	greta_buf_clear(&path);
	greta_json_path(j, greta_json_next(greta_json_first(b)), &path);
	assert_string_equal(path.data, "b[1]");
	greta_buf_clear(&path);
	greta_json_path(j, greta_json_root(j), &path);
	assert_string_equal(greta_buf_str(&path), "");
	greta_json_destroy(j);
}

static void test_json__prints_compact(void **state)
{
	struct greta_json *j =
		parse("{ \"a b\" : [ 1.50 , 9007199254740993 , \"\\\" x \\\\\" ] , /* c */ \"n\" :\n\tnull, \"\" : \" \" }");
	cleanup_buf struct greta_buf out = {0};

	(void)state;
	greta_json_print(greta_json_root(j), &out);
	assert_string_equal(out.data, "{\"a b\":[1.50,9007199254740993,\"\\\" x \\\\\"],\"n\":null,\"\":\" \"}");
	greta_json_destroy(j);
}

static void test_json__refuses_with_place_and_reason(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"", "t.json: is empty"},
		{" // only a comment", "is empty"},
		{"{\"a\":1,}", "t.json:1:8: expected another key (a trailing comma is not allowed)"},
		{"[1,\n2,]", "t.json:2:3: expected a value here (a trailing comma is not allowed)"},
		{"{\"a\":1 \"b\":2}", "t.json:1:8: expected , or } here"},
		{"[1 2]", "t.json:1:4: expected , or ] here"},
		{"{a:1}", "expected a key in double quotes"},
		{"{'a':1}", "expected a key in double quotes"},
		{"['a']", "strings are written in double quotes"},
		{"{\"a\" 1}", "expected : after the key"},
		{"{\"a\":}", "expected a value here"},
		{"{\"a\":NaN}", "JSON has no NaN and no infinity"},
		{"[-Infinity]", "not a number as JSON writes it"},
		{"[Infinity]", "JSON has no NaN and no infinity"},
		{"[01]", "not a number"},
		{"[1.]", "not a number"},
		{"[.5]", "expected a value"},
		{"[+1]", "expected a value"},
		{"[1e]", "not a number"},
		{"[-]", "not a number"},
		{"[0x10]", "not a number"},
		{"[1e999]", "beyond the range of a double"},
		{"[1111111111222222222233333333334444444444555555555566666666667]", "more than 60 characters"},
		{"\"abc", "t.json:1:1: this string is not closed"},
		{"\"ab\nc\"", "t.json:1:1: this string is not closed on its line"},
		{"\"a\tb\"", "control character"},
		{"\"\\x\"", "no such escape"},
		{"\"\\u12g4\"", "four hex digits"},
		{"\"\\u0000\"", "\\u0000 is not allowed"},
		{"\"\\ud800\"", "half of a surrogate pair"},
		{"\"\\udc00\\ud800\"", "half of a surrogate pair"},
		{"\"\xff\"", "not valid UTF-8"},
		{"\"\xc0\x80\"", "not valid UTF-8"},
		{"\"\xed\xa0\x80\"", "not valid UTF-8"},
		{"tru", "expected a value"},
		{"nulls", "expected a value"},
		{"{} {}", "more text behind the end"},
		{"{", "expected a key"},
		{"[", "expected a value"},
		{"[1", "expected , or ] here, where the text ends"},
		{"{} /* x", "this comment never ends"},
		{"{\"a\":1,\n\"b\":2,\"a\":3}", "t.json:2:7: the key \"a\" again; it stands at 1:2 already"},
		{"{\"a\":1,\"\\u0061\":3}", "the key \"a\" again"},
	};

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(cases); i++)
		refused(cases[i].text, strlen(cases[i].text), cases[i].expected);
	refused("{}\0", 3, "more text behind");
	refused("[\0]", 3, "expected a value");
}

/* What a person forgets most is told together, and what stands behind it is read; anything worse still ends reading. */
static void test_json__reads_past_slips(void **state)
{
	static const char text[] = "{\"a\": [1, 2,], \"b\": 3\n \"a\": [4 5],}";
	struct greta_problems slips = {0};
	struct greta_err e = {0};
	struct greta_json *j = greta_json_parse_past("t.json", text, strlen(text), &slips, &e);
	cleanup_buf struct greta_buf printed = {0};

	(void)state;
	assert_non_null(j);
	assert_int_equal(greta_json_size(greta_json_root(j)), 3);
	greta_problems_print(&slips, "t.json", &printed);
	assert_string_equal(greta_buf_str(&printed), "t.json:1:13: expected a value here (a trailing comma is not allowed)\n"
						     "t.json:2:2: expected , or } here\n"
						     "t.json:2:10: expected , or ] here\n"
						     "t.json:2:13: expected another key (a trailing comma is not allowed)\n"
						     "t.json:2:2: the key \"a\" again; it stands at 1:2 already\n");
	greta_json_destroy(j);
	assert_null(greta_json_parse_past("t.json", "[1 2, x]", 8, &slips, &e));
	assert_string_equal(e.text, "t.json:1:7: expected a value: a string, a number, true, false, null, [ or {");
	assert_null(greta_json_parse_past("t.json", "[1\n2]", 5, &slips, &e)); /* lines are counted by newlines */
	greta_problems_release(&slips);
}

static void test_json__bounds_nesting(void **state)
{
	char text[300];

	(void)state;
	memset(text, '[', 64);
	memset(text + 64, ']', 64);
	text[128] = '\0';
	greta_json_destroy(parse(text));
	memset(text, '[', 200);
	refused(text, 200, "nested more than 64 deep");
}

/* A frame's worth of members must not cost quadratic time: here, some 5000 keys and their lookup of duplicates. */
static void test_json__many_members(void **state)
{
	cleanup_buf struct greta_buf text = {0};
	struct greta_json *j;

	(void)state;
	for (int i = 0; i < 5000; i++)
		greta_buf_addf(&text, "%s\"k%d\":%d", i ? "," : "{", i, i);
	greta_buf_adds(&text, "}");
	j = parse(text.data);
	assert_int_equal(greta_json_size(greta_json_root(j)), 5000);
	greta_json_destroy(j);
	text.len--;
	greta_buf_adds(&text, ",\"k77\":1}");
	refused(text.data, text.len, "the key \"k77\" again");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json__reads_all_types),
		cmocka_unit_test(test_json__keeps_members_in_order),
		cmocka_unit_test(test_json__keeps_int64),
		cmocka_unit_test(test_json__reads_numbers_as_strtod_does),
		cmocka_unit_test(test_json__decodes_strings),
		cmocka_unit_test(test_json__allows_comments_and_bom),
		cmocka_unit_test(test_json__says_where),
		cmocka_unit_test(test_json__prints_compact),
		cmocka_unit_test(test_json__refuses_with_place_and_reason),
		cmocka_unit_test(test_json__reads_past_slips),
		cmocka_unit_test(test_json__bounds_nesting),
		cmocka_unit_test(test_json__many_members),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
