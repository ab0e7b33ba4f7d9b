#include "base/opt.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELP_COLUMNS 80
#define HELP_HEAD_MAX 30 /* a longer "--name ARG" has its help on the next line */

struct parse {
	const struct greta_opts *o;
	char **argv;
	int argc, at; /* argv[at] is the next to look at */
	void *values;
	struct greta_err *e;
};

static bool is_choice(const struct greta_opt *opt)
{
	return opt->arg && strchr(opt->arg, '|');
}

/* values: SECONDS takes 90, 90s, 15m, 2h, 1.5h */

static int parse_seconds(const char *text, double *out)
{
	static const struct {
		const char *suffix;
		double s;
	} units[] = {{"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"", 1}};
	char number[40];
	for (size_t i = 0; i < GRETA_COUNT(units); i++) {
		if (!greta_str_ends(text, units[i].suffix))
			continue;
		size_t n = strlen(text) - strlen(units[i].suffix);
		if (n >= sizeof number)
			return -1;
		greta_str_copy(number, n + 1, text);
		double v;
		if (greta_str_f64(number, &v) != 0 || v < 0)
			return -1;
		*out = v * units[i].s;
		return 0;
	}
	return -1;
}

static const char *wanted(enum greta_opt_type type)
{
	switch (type) {
	case GRETA_OPT_I64:
		return "a whole number";
	case GRETA_OPT_F64:
		return "a number";
	case GRETA_OPT_SECONDS:
		return "a time such as 90, 90s, 15m or 1.5h";
	default:
		return "something else";
	}
}

static bool in_choices(const char *choices, const char *value)
{
	size_t n = strlen(value);
	for (const char *at = choices;; at++) {
		size_t len = strcspn(at, "|");
		if (len == n && memcmp(at, value, n) == 0)
			return true;
		at += len;
		if (!*at)
			return false;
	}
}

static int bad_choice(const struct greta_opt *opt, const char *value, struct greta_err *e)
{
	cleanup_buf struct greta_buf list = {0};
	for (const char *at = opt->arg; *at; at++) {
		if (*at == '|')
			greta_buf_adds(&list, strchr(at + 1, '|') ? ", " : " or ");
		else
			greta_buf_addc(&list, *at);
	}
	return greta_err_set(e, GRETA_EINVAL, "--%s can't be \"%s\"; it takes %s", opt->name, value, list.data);
}

static int store(const struct parse *p, const struct greta_opt *opt, const char *value)
{
	char *at = (char *)p->values + opt->offset;
	int bad = 0;
	if (is_choice(opt) && !in_choices(opt->arg, value))
		return bad_choice(opt, value, p->e);
	switch (opt->type) {
	case GRETA_OPT_FLAG:
		break;
	case GRETA_OPT_STR:
		memcpy(at, &value, sizeof value);
		break;
	case GRETA_OPT_STRS:
		greta_strs_add((struct greta_strs *)at, value);
		break;
	case GRETA_OPT_I64:
		bad = greta_str_i64(value, (int64_t *)at);
		break;
	case GRETA_OPT_F64:
		bad = greta_str_f64(value, (double *)at);
		break;
	case GRETA_OPT_SECONDS:
		bad = parse_seconds(value, (double *)at);
		break;
	}
	if (bad)
		return greta_err_set(p->e, GRETA_EINVAL, "--%s can't be \"%s\"; it takes %s", opt->name, value,
				     wanted(opt->type));
	return 0;
}

/* options */

static const struct greta_opt *find_letter(const struct greta_opts *o, char letter)
{
	for (const struct greta_opt *opt = o->opts; opt && opt->name; opt++)
		if (opt->letter == letter)
			return opt;
	return NULL;
}

/* *no: it was a flag's --no-NAME. */
static const struct greta_opt *find_name(const struct greta_opts *o, const char *name, size_t n, bool *no)
{
	*no = false;
	for (const struct greta_opt *opt = o->opts; opt && opt->name; opt++)
		if (strlen(opt->name) == n && memcmp(opt->name, name, n) == 0)
			return opt;
	if (n <= 3 || memcmp(name, "no-", 3) != 0)
		return NULL;
	const struct greta_opt *opt = find_name(o, name + 3, n - 3, no);
	*no = true;
	return opt && opt->type == GRETA_OPT_FLAG ? opt : NULL;
}

static int unknown_option(const struct parse *p, const char *word)
{
	char name[64];
	const char *best = NULL;
	int best_distance = 0;
	greta_str_copy(name, sizeof name, word + strspn(word, "-"));
	name[strcspn(name, "=")] = '\0';
	for (const struct greta_opt *opt = p->o->opts; opt && opt->name; opt++) {
		int d = greta_str_distance(name, opt->name);
		if (greta_str_starts(opt->name, name) && strlen(name) >= 2)
			d = 1; /* somebody abbreviated */
		if (!best || d < best_distance) {
			best = opt->name;
			best_distance = d;
		}
	}
	if (best && word[1] == '-' && best_distance <= 1 + (int)strlen(best) / 4)
		return greta_err_set(p->e, GRETA_EINVAL, "unknown option %s; did you mean --%s?", word, best);
	return greta_err_set(p->e, GRETA_EINVAL, "unknown option %s; \"%s --help\" lists the options", word,
			     p->o->program);
}

/* `inline_value` is what followed "=", or NULL: then the next word is the value. */
static int take(struct parse *p, const struct greta_opt *opt, bool no, const char *inline_value)
{
	if (opt->type == GRETA_OPT_FLAG) {
		bool on = !no;
		if (inline_value)
			return greta_err_set(p->e, GRETA_EINVAL, "--%s takes no value; use --%s or --no-%s", opt->name,
					     opt->name, opt->name);
		memcpy((char *)p->values + opt->offset, &on, sizeof on);
		return 0;
	}
	if (inline_value)
		return store(p, opt, inline_value);
	const char *value = p->at < p->argc ? p->argv[p->at] : NULL;
	if (!value)
		return greta_err_set(p->e, GRETA_EINVAL, "--%s needs a value: --%s %s", opt->name, opt->name, opt->arg);
	if (greta_str_starts(value, "--"))
		return greta_err_set(p->e, GRETA_EINVAL,
				     "--%s needs a value: --%s %s (if \"%s\" is meant to be it, write --%s=%s)",
				     opt->name, opt->name, opt->arg, value, opt->name, value);
	p->at++;
	return store(p, opt, value);
}

static int take_long(struct parse *p, const char *word)
{
	bool no;
	const char *equals = strchr(word, '=');
	size_t n = equals ? (size_t)(equals - word) : strlen(word);
	const struct greta_opt *opt = find_name(p->o, word + 2, n - 2, &no);
	if (opt)
		return take(p, opt, no, equals ? equals + 1 : NULL);
	return strcmp(word, "--help") == 0 ? 1 : unknown_option(p, word);
}

static int take_letter(struct parse *p, const char *word)
{
	const struct greta_opt *opt = word[2] ? NULL : find_letter(p->o, word[1]);
	if (opt)
		return take(p, opt, false, NULL);
	return strcmp(word, "-h") == 0 ? 1 : unknown_option(p, word);
}

static int check_operands(const struct parse *p, const struct greta_strs *operands)
{
	const struct greta_opts *o = p->o;
	if (operands->n < (size_t)o->min_operands)
		return greta_err_set(p->e, GRETA_EINVAL, "too few operands; usage: %s %s", o->program, o->operands);
	if (o->max_operands == 0 && operands->n > 0)
		return greta_err_set(p->e, GRETA_EINVAL, "%s takes no operand, but was given \"%s\"", o->program,
				     operands->items[0]);
	if (o->max_operands >= 0 && operands->n > (size_t)o->max_operands)
		return greta_err_set(p->e, GRETA_EINVAL, "too many operands, from \"%s\" on; usage: %s %s",
				     operands->items[o->max_operands], o->program, o->operands);
	return 0;
}

int greta_opt_parse(const struct greta_opts *o, int argc, char **argv, void *values, struct greta_strs *operands,
		    bool stop_at_operand, struct greta_err *e)
{
	struct parse p = {.o = o, .argv = argv, .argc = argc, .at = 1, .values = values, .e = e};
	bool options = true;
	while (p.at < argc) {
		const char *word = argv[p.at++];
		int got = 0;
		if (!options || word[0] != '-' || !word[1]) {
			greta_strs_add(operands, word);
			options = options && !stop_at_operand;
		} else if (strcmp(word, "--") == 0) {
			options = false;
		} else {
			got = word[1] == '-' ? take_long(&p, word) : take_letter(&p, word);
		}
		if (got != 0)
			return got;
	}
	return check_operands(&p, operands);
}

/* help */

static size_t columns_of(const char *s, size_t n)
{
	size_t columns = 0;
	for (size_t i = 0; i < n; i++)
		columns += ((unsigned char)s[i] & 0xc0) != 0x80;
	return columns;
}

static void pad(struct greta_buf *out, size_t from, size_t to)
{
	for (; from < to; from++)
		greta_buf_addc(out, ' ');
}

/* Words of `text` up to the right margin; further lines are indented as the first, which begins at `indent`. */
static void wrap(struct greta_buf *out, const char *text, size_t indent)
{
	size_t column = indent;
	while (*text) {
		size_t n = strcspn(text, " ");
		size_t width = columns_of(text, n);
		if (column > indent && column + 1 + width > HELP_COLUMNS) {
			greta_buf_addc(out, '\n');
			pad(out, 0, indent);
			column = indent;
		} else if (column > indent) {
			greta_buf_addc(out, ' ');
			column++;
		}
		greta_buf_add(out, text, n);
		column += width;
		text += n + strspn(text + n, " ");
	}
	greta_buf_addc(out, '\n');
}

/* "  -n, --max-tokens N", the caller owns it. */
static char *head_of(const struct greta_opt *opt)
{
	struct greta_buf head = {0};
	if (opt->letter)
		greta_buf_addf(&head, "  -%c, --%s", opt->letter, opt->name);
	else
		greta_buf_addf(&head, "      --%s", opt->name);
	if (opt->type != GRETA_OPT_FLAG)
		greta_buf_addf(&head, " %s", opt->arg);
	return greta_buf_steal(&head);
}

static void add_option(struct greta_buf *out, const struct greta_opt *opt, size_t indent)
{
	char *head = head_of(opt);
	size_t width = columns_of(head, strlen(head));
	greta_buf_adds(out, head);
	free(head);
	if (width + 2 > indent) {
		greta_buf_addc(out, '\n');
		width = 0;
	}
	pad(out, width, indent);
	wrap(out, opt->help, indent);
}

static size_t help_indent(const struct greta_opts *o)
{
	size_t widest = sizeof "  -h, --help" - 1;
	for (const struct greta_opt *opt = o->opts; opt && opt->name; opt++) {
		char *head = head_of(opt);
		size_t width = columns_of(head, strlen(head));
		free(head);
		if (width > widest && width <= HELP_HEAD_MAX)
			widest = width;
	}
	return widest + 2;
}

void greta_opt_help(const struct greta_opts *o, struct greta_buf *out)
{
	struct greta_opt help = {.name = "help", .letter = find_letter(o, 'h') ? 0 : 'h', .help = "Show this help."};
	size_t indent = help_indent(o);
	bool own_help = false;
	greta_buf_addf(out, "Usage: %s%s%s%s\n", o->program, o->opts && o->opts->name ? " [OPTION...]" : "",
		       o->operands && *o->operands ? " " : "", o->operands ? o->operands : "");
	greta_buf_addc(out, '\n');
	wrap(out, o->summary, 0);
	greta_buf_adds(out, "\nOptions:\n");
	for (const struct greta_opt *opt = o->opts; opt && opt->name; opt++) {
		add_option(out, opt, indent);
		own_help |= strcmp(opt->name, "help") == 0;
	}
	if (!own_help)
		add_option(out, &help, indent);
	if (o->details) {
		greta_buf_addf(out, "\n%s", o->details);
		if (!greta_str_ends(o->details, "\n"))
			greta_buf_addc(out, '\n');
	}
}
