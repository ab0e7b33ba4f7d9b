#include "base/opt.h"
#include "tests/unit/unit.h"
#include <string.h>

struct values {
	const char *output, *order;
	struct greta_strs nodes;
	int64_t max_tokens;
	double ratio, timeout_s;
	bool color, wait;
};

static const struct greta_opt table[] = {
	{"output", 'o', GRETA_OPT_STR, offsetof(struct values, output), "FILE", "Write to FILE."},
	{"order", 0, GRETA_OPT_STR, offsetof(struct values, order), "random|blocked|listed",
	 "The order of the cells; random blocks unless told otherwise, so that drift of the machine hits all alike."},
	{"node", 'n', GRETA_OPT_STRS, offsetof(struct values, nodes), "NAME", "Use node NAME."},
	{"max-tokens", 0, GRETA_OPT_I64, offsetof(struct values, max_tokens), "N", "Decode N tokens."},
	{"ratio", 0, GRETA_OPT_F64, offsetof(struct values, ratio), "X", "Report changes above X."},
	{"timeout", 't', GRETA_OPT_SECONDS, offsetof(struct values, timeout_s), "TIME", "Give up after TIME."},
	{"color", 0, GRETA_OPT_FLAG, offsetof(struct values, color), NULL, "Use colours."},
	{"wait", 'w', GRETA_OPT_FLAG, offsetof(struct values, wait), NULL, "Wait for the end."},
	{0},
};

static const struct greta_opts opts = {
	.program = "greta-x run",
	.operands = "FILE [NAME...]",
	.min_operands = 1,
	.max_operands = 3,
	.summary = "Runs FILE.",
	.details = "Examples:\n  greta-x run c.json",
	.opts = table,
};

#define MAX_WORDS 16

struct parsed {
	struct values v;
	struct greta_strs operands;
	struct greta_err e;
	int result;
	char *argv[MAX_WORDS + 2];
	char line[512];
};

static void release(struct parsed *p)
{
	greta_strs_release(&p->v.nodes);
	greta_strs_release(&p->operands);
}

/* Parses the words of `line`, which single blanks separate ("" is possible). */
static void parse(struct parsed *p, const struct greta_opts *o, const char *line, bool stop)
{
	int argc = 1;
	*p = (struct parsed){.v = {.timeout_s = -1}};
	greta_str_copy(p->line, sizeof p->line, line);
	p->argv[0] = (char *)"x";
	for (char *rest = p->line, *word; *line && (word = strsep(&rest, " "));)
		p->argv[argc++] = word;
	p->result = greta_opt_parse(o, argc, p->argv, &p->v, &p->operands, stop, &p->e);
}

static void test_opt__every_type_both_spellings(void **state)
{
	(void)state;
	struct parsed p;
	parse(&p, &opts, "--output=a -n g1 --node g2 --max-tokens -3 f --ratio=1.1 -t 1.5h --color -w x", false);
	assert_int_equal(p.result, 0);
	assert_string_equal(p.v.output, "a");
	assert_int_equal(p.v.nodes.n, 2);
	assert_string_equal(p.v.nodes.items[1], "g2");
	assert_int_equal(p.v.max_tokens, -3);
	assert_true(p.v.ratio == 1.1 && p.v.timeout_s == 5400);
	assert_true(p.v.color && p.v.wait);
	assert_int_equal(p.operands.n, 2);
	assert_string_equal(p.operands.items[1], "x");
	release(&p);
	parse(&p, &opts, "--color --no-color --output= f --order=random --order blocked -", false);
	assert_int_equal(p.result, 0);
	assert_false(p.v.color);
	assert_string_equal(p.v.output, "");
	assert_string_equal(p.v.order, "blocked");
	assert_string_equal(p.operands.items[1], "-");
	release(&p);
}

static void test_opt__seconds(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		double s;
	} cases[] = {{"-t 90 f", 90},      {"-t 90s f", 90},     {"-t 15m f", 900}, {"-t 2h f", 7200},
		     {"-t 1.5h f", 5400},  {"-t 250ms f", 0.25}, {"-t 0 f", 0},     {"-t 1d f", 86400},
		     {"-t -1 f", -1},      {"-t 5x f", -1},      {"-t s f", -1},    {"-t= f", -1},
		     {"--timeout= f", -1}, {"-t 1h30m f", -1},   {"-t 1_s f", -1}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct parsed p;
		parse(&p, &opts, cases[i].line, false);
		assert_int_equal(p.result, cases[i].s < 0 ? -1 : 0);
		assert_true(p.v.timeout_s == cases[i].s);
		release(&p);
	}
}

static void test_opt__errors_name_the_option_and_the_way_out(void **state)
{
	(void)state;
	static const struct {
		const char *line, *text;
	} cases[] = {
		{"--ordr random f", "unknown option --ordr; did you mean --order?"},
		{"--out=a f", "unknown option --out=a; did you mean --output?"},
		{"--zebra f", "unknown option --zebra; \"greta-x run --help\" lists the options"},
		{"-x f", "unknown option -x; \"greta-x run --help\" lists the options"},
		{"-wn f", "unknown option -wn; \"greta-x run --help\" lists the options"},
		{"--no-output f", "unknown option --no-output; \"greta-x run --help\" lists the options"},
		{"--order best f", "--order can't be \"best\"; it takes random, blocked or listed"},
		{"--order rand f", "--order can't be \"rand\"; it takes random, blocked or listed"},
		{"--order=random|blocked f", "--order can't be \"random|blocked\"; it takes random, blocked or listed"},
		{"--max-tokens 1e3 f", "--max-tokens can't be \"1e3\"; it takes a whole number"},
		{"--ratio inf f", "--ratio can't be \"inf\"; it takes a number"},
		{"-t soon f", "--timeout can't be \"soon\"; it takes a time such as 90, 90s, 15m or 1.5h"},
		{"--color=yes f", "--color takes no value; use --color or --no-color"},
		{"f --output", "--output needs a value: --output FILE"},
		{"-o", "--output needs a value: --output FILE"},
		{"--output --color f", "--output needs a value: --output FILE (if \"--color\" is meant to be it, write "
				       "--output=--color)"},
		{"", "too few operands; usage: greta-x run FILE [NAME...]"},
		{"a b c d", "too many operands, from \"d\" on; usage: greta-x run FILE [NAME...]"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct parsed p;
		parse(&p, &opts, cases[i].line, false);
		assert_int_equal(p.result, -1);
		assert_int_equal(p.e.code, GRETA_EINVAL);
		assert_string_equal(p.e.text, cases[i].text);
		release(&p);
	}
}

static void test_opt__help_is_asked_not_printed(void **state)
{
	(void)state;
	static const char *const lines[] = {"--help", "-h", "--color -h --nonsense", "f --help"};
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		struct parsed p;
		parse(&p, &opts, lines[i], false);
		assert_int_equal(p.result, 1);
		release(&p);
	}
	struct parsed p;
	parse(&p, &opts, "-- --help", false);
	assert_int_equal(p.result, 0);
	assert_string_equal(p.operands.items[0], "--help");
	release(&p);
}

static void test_opt__stops_at_the_first_operand(void **state)
{
	(void)state;
	struct greta_opts many = opts;
	many.max_operands = -1;
	struct parsed p;
	parse(&p, &many, "-w submit --color -- x", true);
	assert_int_equal(p.result, 0);
	assert_true(p.v.wait);
	assert_false(p.v.color);
	assert_int_equal(p.operands.n, 4);
	assert_string_equal(p.operands.items[1], "--color");
	assert_string_equal(p.operands.items[2], "--");
	release(&p);
	parse(&p, &many, "-w -- -w cmd --color", true);
	assert_int_equal(p.operands.n, 3);
	assert_string_equal(p.operands.items[0], "-w");
	release(&p);
}

static void test_opt__no_operands_wanted(void **state)
{
	(void)state;
	static const struct greta_opt none[] = {{0}};
	const struct greta_opts o = {.program = "greta-x list", .operands = "", .summary = "Lists.", .opts = none};
	struct parsed p;
	parse(&p, &o, "x", false);
	assert_string_equal(p.e.text, "greta-x list takes no operand, but was given \"x\"");
	release(&p);
	cleanup_buf struct greta_buf help = {0};
	greta_opt_help(&o, &help);
	assert_string_equal(help.data, "Usage: greta-x list\n\nLists.\n\nOptions:\n  -h, --help  Show this help.\n");
}

static void test_opt__help_fits_80_columns(void **state)
{
	(void)state;
	cleanup_buf struct greta_buf help = {0};
	greta_opt_help(&opts, &help);
	assert_string_equal(help.data, "Usage: greta-x run [OPTION...] FILE [NAME...]\n"
				       "\n"
				       "Runs FILE.\n"
				       "\n"
				       "Options:\n"
				       "  -o, --output FILE   Write to FILE.\n"
				       "      --order random|blocked|listed\n"
				       "                      The order of the cells; random blocks unless told\n"
				       "                      otherwise, so that drift of the machine hits all alike.\n"
				       "  -n, --node NAME     Use node NAME.\n"
				       "      --max-tokens N  Decode N tokens.\n"
				       "      --ratio X       Report changes above X.\n"
				       "  -t, --timeout TIME  Give up after TIME.\n"
				       "      --color         Use colours.\n"
				       "  -w, --wait          Wait for the end.\n"
				       "  -h, --help          Show this help.\n"
				       "\n"
				       "Examples:\n"
				       "  greta-x run c.json\n");
}

/* Whatever the words: an answer, with a text if it is an error, and memory that the sanitizer is content with. */
static void test_opt__random_command_lines(void **state)
{
	(void)state;
	static const char *const words[] = {"--",
					    "-",
					    "--output",
					    "--order=",
					    "random",
					    "-n",
					    "-t",
					    "1.5h",
					    "--no-",
					    "-w",
					    "--max-tokens",
					    "9",
					    "--no-wait",
					    "=",
					    "--=",
					    "---",
					    "\xff\xfe",
					    "-o",
					    "--wait=1",
					    "--ratio",
					    "f",
					    "-\xc3\xa4",
					    "--outputoutputoutputoutputoutput"};
	uint64_t seed = 88172645463325252u;
	for (int round = 0; round < 5000; round++) {
		char line[512] = "f";
		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		for (uint64_t left = seed; left > 100 && strlen(line) < 400; left /= 23) {
			size_t n = strlen(line);
			snprintf(line + n, sizeof line - n, " %s", words[left % 23]);
		}
		struct parsed p;
		if (strlen(line) > 200)
			continue;
		parse(&p, &opts, line, round % 2);
		assert_true(p.result >= -1 && p.result <= 1);
		assert_int_equal(p.result == -1, p.e.text[0] != '\0');
		release(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opt__every_type_both_spellings),
		cmocka_unit_test(test_opt__seconds),
		cmocka_unit_test(test_opt__errors_name_the_option_and_the_way_out),
		cmocka_unit_test(test_opt__help_is_asked_not_printed),
		cmocka_unit_test(test_opt__stops_at_the_first_operand),
		cmocka_unit_test(test_opt__no_operands_wanted),
		cmocka_unit_test(test_opt__help_fits_80_columns),
		cmocka_unit_test(test_opt__random_command_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
