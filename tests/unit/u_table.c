#include "tests/unit/unit.h"

#include "orchestrator/print/table.h"
#include <math.h>
#include <string.h>

static const struct table_column columns[] = {
	{"name", "name", TABLE_TEXT, 0},
	{"prefill_s", "prefill s", TABLE_SIGNIF, 4},
	{"n", "n", TABLE_INT, 0},
	{"why", "why", TABLE_TEXT, 0},
};

static struct table *sample(void)
{
	struct table *t = table_create(columns, 4);
	table_row(t);
	table_str(t, "baseline");
	table_num(t, 22.76812345);
	table_int(t, 3);
	table_none(t);
	table_row(t);
	table_str(t, "v\xC3\xA9");
	table_num(t, NAN);
	table_int(t, 0);
	table_str(t, "a \"b\", c|d");
	return t;
}

static void test_table__text_is_aligned(void **state)
{
	(void)state;
	struct table *t = sample();
	struct term term = {.fd = -1, .width = 80};
	struct greta_buf out = {0};
	table_print(t, &term, &out);
	assert_string_equal(out.data, "name      prefill s  n  why\n"
				      "baseline      22.77  3  -\n"
				      "v\xC3\xA9                -  0  a \"b\", c|d\n");
	greta_buf_release(&out);
	table_destroy(t);
}

static void test_table__csv_quotes_and_keeps_numbers_whole(void **state)
{
	(void)state;
	struct table *t = sample();
	struct greta_buf out = {0};
	table_print_csv(t, &out);
	assert_string_equal(out.data, "name,prefill_s,n,why\r\nbaseline,22.76812345,3,\r\n"
				      "v\xC3\xA9,,0,\"a \"\"b\"\", c|d\"\r\n");
	greta_buf_release(&out);
	table_destroy(t);
}

static void test_table__markdown_escapes_bars(void **state)
{
	(void)state;
	struct table *t = sample();
	struct greta_buf out = {0};
	table_print_markdown(t, &out);
	assert_non_null(strstr(out.data, "|---|---:|---:|---|\n"));
	assert_non_null(strstr(out.data, "c\\|d"));
	greta_buf_release(&out);
	table_destroy(t);
}

static void test_table__json(void **state)
{
	(void)state;
	struct table *t = sample();
	struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);
	table_write_json(t, &w, NULL);
	assert_string_equal(out.data, "[{\"name\":\"baseline\",\"prefill_s\":22.76812345,\"n\":3,\"why\":null},"
				      "{\"name\":\"v\xC3\xA9\",\"prefill_s\":null,\"n\":0,\"why\":\"a \\\"b\\\", c|d\"}]");
	greta_buf_release(&out);
	table_destroy(t);
}

static void test_table__last_text_gives_way_on_a_terminal(void **state)
{
	(void)state;
	struct table *t = table_create(columns, 4);
	table_row(t);
	table_str(t, "baseline");
	table_num(t, 1);
	table_int(t, 1);
	table_str(t, "a very long sentence that a narrow terminal has no room for");
	struct term term = {.fd = -1, .tty = true, .width = 40};
	struct greta_buf out = {0};
	table_print(t, &term, &out);
	for (const char *line = out.data; *line; line = strchr(line, '\n') + 1) {
		char one[256];
		snprintf(one, sizeof one, "%.*s", (int)strcspn(line, "\n"), line);
		assert_true(term_columns(one) <= 40);
	}
	greta_buf_release(&out);
	table_destroy(t);
}

static void test_table__significant_digits(void **state)
{
	(void)state;
	static const struct table_column one[] = {{"x", "x", TABLE_SIGNIF, 4}};
	static const struct {
		double value;
		const char *text;
	} cases[] = {{469749, "469749"}, {1234, "1234"}, {12.5, "12.50"}, {0.0227681, "0.02277"}, {0, "0.000"}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct table *t = table_create(one, 1);
		struct greta_buf out = {0};
		struct term term = {.fd = -1, .width = 80};
		table_row(t);
		table_num(t, cases[i].value);
		table_print(t, &term, &out);
		char *second = strchr(out.data, '\n') + 1;
		second[strcspn(second, "\n")] = 0;
		assert_string_equal(second, cases[i].text);
		greta_buf_release(&out);
		table_destroy(t);
	}
}

static void test_term__columns_of_utf8_and_escapes(void **state)
{
	(void)state;
	assert_int_equal(term_columns("abc"), 3);
	assert_int_equal(term_columns("\xE2\x96\x88\xE2\x96\x88"), 2);
	assert_int_equal(term_columns("\033[31mred\033[0m"), 3);
	assert_int_equal(term_columns("\xFF\xFE"), 2); /* malformed: a column a byte, no reading past the end */
	assert_int_equal(term_fit("\033[31mred\033[0m", 2), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table__text_is_aligned),
		cmocka_unit_test(test_table__csv_quotes_and_keeps_numbers_whole),
		cmocka_unit_test(test_table__markdown_escapes_bars),
		cmocka_unit_test(test_table__json),
		cmocka_unit_test(test_table__last_text_gives_way_on_a_terminal),
		cmocka_unit_test(test_table__significant_digits),
		cmocka_unit_test(test_term__columns_of_utf8_and_escapes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
