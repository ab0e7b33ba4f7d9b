#include "orchestrator/scaling.h"
#include "base/str.h"
#include <inttypes.h>
#include <math.h>

/* A prefill is at most quadratic in the context. A step this far above is worth a remark, and less is noise. */
#define WORSE_THAN_QUADRATIC 2.2

static const struct table_column columns[] = {
	{"variant", "variant", TABLE_TEXT, 0},
	{"context", "context", TABLE_INT, 0},
	{"n", "n", TABLE_INT, 0},
	{"prefill_s", "prefill s", TABLE_SIGNIF, 5},
	{"tokens_per_s", "tokens/s", TABLE_FIXED, 1},
	{"ratio", "ratio", TABLE_RATIO, 1},
	{"expected_ratio", "n^2 gives", TABLE_RATIO, 1},
	{"exponent", "exponent", TABLE_FIXED, 2},
};

static bool wanted(const struct cell *c, const char *variant)
{
	return !variant || greta_str_eq(variant, c->variant);
}

static double exponent_at(const struct cells *c, size_t i)
{
	const struct cell *before = cells_previous(c, i), *here = &c->items[i];
	if (!before)
		return NAN;
	return stats_exponent((double)before->context, before->prefill.median, (double)here->context,
			      here->prefill.median);
}

static void add_row(struct table *t, const struct cells *c, size_t i)
{
	const struct cell *here = &c->items[i], *first = cells_first(c, i);
	double growth = first ? (double)here->context / (double)first->context : NAN;
	double exponent = exponent_at(c, i);
	table_row(t);
	table_str(t, here->variant);
	table_int(t, here->context);
	table_int(t, (int64_t)here->prefill.n);
	table_num(t, here->prefill.median);
	table_num(t, (double)here->context / here->prefill.median);
	table_num(t, first ? here->prefill.median / first->prefill.median : NAN);
	table_num(t, here->prefill.n ? growth * growth : NAN);
	table_num(t, exponent);
	if (exponent > WORSE_THAN_QUADRATIC)
		table_style(t, TERM_WARN);
}

struct table *scaling_table(const struct cells *c, const char *variant)
{
	struct table *t = table_create(columns, sizeof columns / sizeof *columns);
	for (size_t i = 0; i < c->n; i++)
		if (wanted(&c->items[i], variant))
			add_row(t, c, i);
	return t;
}

static void remark_step(const struct cells *c, size_t i, struct greta_buf *out)
{
	const struct cell *before = cells_previous(c, i), *here = &c->items[i];
	double step = (double)here->context / (double)before->context;
	greta_buf_addf(out,
		       "%s: from %" PRId64 " to %" PRId64 " the time grows %.1fx where n^2 gives %.1fx (exponent %.2f)\n",
		       here->variant, before->context, here->context, here->prefill.median / before->prefill.median,
		       step * step, exponent_at(c, i));
}

void scaling_remarks(const struct cells *c, const char *variant, struct greta_buf *out)
{
	size_t n_single = 0, n_cells = 0;
	for (size_t i = 0; i < c->n; i++) {
		if (!wanted(&c->items[i], variant) || !c->items[i].prefill.n)
			continue;
		n_cells++;
		n_single += c->items[i].prefill.n == 1;
		if (exponent_at(c, i) > WORSE_THAN_QUADRATIC)
			remark_step(c, i, out);
	}
	if (n_single)
		greta_buf_addf(out,
			       "%zu of %zu cells rest on one run: it has no spread, and proves neither a difference nor a regression\n",
			       n_single, n_cells);
}
