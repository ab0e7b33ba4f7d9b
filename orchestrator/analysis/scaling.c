#include "orchestrator/analysis/scaling.h"
#include "base/mem.h"
#include "base/str.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* A prefill is at most quadratic in the context. A step this far above is worth a remark, and less is noise. */
#define WORSE_THAN_QUADRATIC 2.2

static const struct table_column columns[] = {
	{"variant", "variant", TABLE_TEXT, 0},
	{"context", "context", TABLE_INT, 0},
	{"n", "n", TABLE_INT, 0},
	{"prefill_s", "prefill s", TABLE_SIGNIF, 5},
	{"prefill_low_s", "from", TABLE_SIGNIF, 5},
	{"prefill_high_s", "to", TABLE_SIGNIF, 5},
	{"tokens_per_s", "tokens/s", TABLE_FIXED, 1},
	{"ratio", "ratio", TABLE_RATIO, 1},
	{"expected_ratio", "n^2 gives", TABLE_RATIO, 1},
	{"exponent", "exponent", TABLE_FIXED, 2},
	{"linear_percent", "lin %", TABLE_FIXED, 0},
	{"quadratic_percent", "quad %", TABLE_FIXED, 0},
	{"tflops", "TFLOP/s", TABLE_SIGNIF, 3},      /* left out where no engine counts its operations, */
	{"limit_percent", "of limit %", TABLE_FIXED, 1}, /* and this where no device's limit is known */
};

#define N_ALWAYS (GRETA_COUNT(columns) - 2)

/* ---- making */

static bool wanted(const struct cell *c, const char *variant)
{
	return !variant || greta_str_eq(variant, c->variant);
}

typedef void fit_how(const struct fit_cell *cells, size_t n_cells, struct fit *out);

static void fit_line(const struct scaling_line *line, size_t n, fit_how *how, struct fit *out)
{
	struct fit_cell *cells = greta_alloc((n + 1) * sizeof *cells);
	for (size_t i = 0; i < n; i++)
		cells[i] = (struct fit_cell){(double)line->cells[i]->context, &line->cells[i]->runs};
	how(cells, n, out);
	free(cells);
}

/* Its intervals cost much more than the curve, and are made only where the curve alone speaks for a break. */
static void fit_before(const struct scaling_line *line, size_t i, struct fit *out)
{
	const struct cell *here = line->cells[i];
	fit_line(line, i, fit_curve, out);
	if (!fit_exists(out) || here->prefill.median <= fit_at(out->coef, (double)here->context) * (1 + SCALING_BREAK_LEAST))
		return;
	fit_release(out);
	fit_line(line, i, fit_make, out);
}

static bool breaks_at(struct scaling_line *line, const struct fit *before, size_t i)
{
	const struct cell *here = line->cells[i];
	double t = here->prefill.median;
	struct fit_value v = fit_predict(before, (double)here->context);
	bool certain = t > v.high && t > v.t * (1 + SCALING_BREAK_LEAST);
	bool suspected = isnan(v.high) && t > v.t * (1 + SCALING_BREAK_SUSPECTED);
	if (!certain && !suspected)
		return false;
	line->predicted = v;
	line->suspected = suspected || here->prefill.n < 2;
	return true;
}

/* Fits what lies before the first break: the fit of a broken curve would describe neither part. */
static void judge_line(struct scaling_line *line)
{
	for (size_t i = FIT_MIN_CONTEXTS; i < line->n && !line->broke; i++) {
		struct fit before;
		fit_before(line, i, &before);
		if (fit_exists(&before) && breaks_at(line, &before, i))
			line->broke = i;
		fit_release(&before);
	}
	fit_line(line, line->broke ? line->broke : line->n, fit_make, &line->fit);
}

void scaling_make(const struct cells *c, const char *variant, struct scaling *out)
{
	*out = (struct scaling){.cells = c, .variant = variant};
	for (size_t i = 0; i < c->n; i++) {
		const struct cell *cell = &c->items[i];
		struct scaling_line *line = out->n ? &out->lines[out->n - 1] : NULL;
		if (!wanted(cell, variant))
			continue;
		if (!line || !greta_str_eq(line->variant, cell->variant)) {
			line = GRETA_PUSH(out->lines, out->n, out->cap);
			line->variant = cell->variant;
		}
		if (cell->prefill.median > 0)
			*GRETA_PUSH(line->cells, line->n, line->cap) = cell;
	}
	for (size_t i = 0; i < out->n; i++)
		judge_line(&out->lines[i]);
}

void scaling_release(struct scaling *s)
{
	for (size_t i = 0; i < s->n; i++) {
		fit_release(&s->lines[i].fit);
		free(s->lines[i].cells);
	}
	free(s->lines);
	*s = (struct scaling){0};
}

/* ---- rows */

static double exponent_at(const struct cells *c, size_t i)
{
	const struct cell *before = cells_previous(c, i), *here = &c->items[i];
	if (!before)
		return NAN;
	return stats_exponent((double)before->context, before->prefill.median, (double)here->context,
			      here->prefill.median);
}

static const struct scaling_line *line_of(const struct scaling *s, const char *variant)
{
	for (size_t i = 0; i < s->n; i++)
		if (greta_str_eq(s->lines[i].variant, variant))
			return &s->lines[i];
	return NULL;
}

static double percent(const struct scaling_line *line, int term, const struct cell *cell)
{
	return line && fit_exists(&line->fit) ? 100 * fit_share(&line->fit, term, (double)cell->context) : NAN;
}

static void add_row(struct table *t, const struct scaling *s, size_t i, size_t n_columns)
{
	const struct cell *here = &s->cells->items[i], *first = cells_first(s->cells, i);
	const struct scaling_line *line = line_of(s, here->variant);
	double growth = first ? (double)here->context / (double)first->context : NAN;
	double exponent = exponent_at(s->cells, i);
	table_row(t);
	table_str(t, here->variant);
	table_int(t, here->context);
	table_int(t, (int64_t)here->prefill.n);
	table_num(t, here->prefill.median);
	table_num(t, here->prefill.low);
	table_num(t, here->prefill.high);
	table_num(t, (double)here->context / here->prefill.median);
	table_num(t, first ? here->prefill.median / first->prefill.median : NAN);
	table_num(t, here->prefill.n ? growth * growth : NAN);
	table_num(t, exponent);
	if (exponent > WORSE_THAN_QUADRATIC)
		table_style(t, TERM_WARN);
	table_num(t, percent(line, 1, here));
	table_num(t, percent(line, 2, here));
	if (n_columns > N_ALWAYS)
		table_num(t, here->flops / here->prefill.median / 1e12);
	if (n_columns > N_ALWAYS + 1)
		table_num(t, 100 * here->limit_share);
}

static size_t columns_known(const struct scaling *s)
{
	size_t n = N_ALWAYS;
	for (size_t i = 0; i < s->cells->n; i++) {
		const struct cell *c = &s->cells->items[i];
		if (!wanted(c, s->variant) || isnan(c->flops))
			continue;
		if (!isnan(c->limit_share))
			return N_ALWAYS + 2;
		n = N_ALWAYS + 1;
	}
	return n;
}

struct table *scaling_table(const struct scaling *s)
{
	size_t n = columns_known(s);
	struct table *t = table_create(columns, n);
	for (size_t i = 0; i < s->cells->n; i++)
		if (wanted(&s->cells->items[i], s->variant))
			add_row(t, s, i, n);
	return t;
}

static const struct table_column fit_columns[] = {
	{"variant", "fit of", TABLE_TEXT, 0},
	{"contexts", "contexts", TABLE_TEXT, 0},
	{"constant_s", "a: fixed s", TABLE_SIGNIF, 3},
	{"constant_low_s", "from", TABLE_SIGNIF, 3},
	{"constant_high_s", "to", TABLE_SIGNIF, 3},
	{"linear_us", "b: us/token", TABLE_SIGNIF, 4},
	{"linear_low_us", "from", TABLE_SIGNIF, 4},
	{"linear_high_us", "to", TABLE_SIGNIF, 4},
	{"quadratic_ns", "c: ns/token^2", TABLE_SIGNIF, 4},
	{"quadratic_low_ns", "from", TABLE_SIGNIF, 4},
	{"quadratic_high_ns", "to", TABLE_SIGNIF, 4},
	{"misfit_percent", "off %", TABLE_FIXED, 1},
};

static void add_fit(struct table *t, const struct scaling_line *line)
{
	static const double unit[FIT_TERMS] = {1, 1e6, 1e9};
	char contexts[64];
	size_t last = (line->broke ? line->broke : line->n) - 1;
	snprintf(contexts, sizeof contexts, "%" PRId64 "..%" PRId64, line->cells[0]->context, line->cells[last]->context);
	table_row(t);
	table_str(t, line->variant);
	table_str(t, contexts);
	for (int term = 0; term < FIT_TERMS; term++) {
		table_num(t, unit[term] * line->fit.coef[term]);
		table_num(t, unit[term] * line->fit.low[term]);
		table_num(t, unit[term] * line->fit.high[term]);
	}
	table_num(t, 100 * line->fit.misfit);
}

struct table *scaling_fits(const struct scaling *s)
{
	struct table *t = table_create(fit_columns, GRETA_COUNT(fit_columns));
	for (size_t i = 0; i < s->n; i++)
		if (fit_exists(&s->lines[i].fit))
			add_fit(t, &s->lines[i]);
	return t;
}

static const struct table_column predict_columns[] = {
	{"variant", "predicted for", TABLE_TEXT, 0},
	{"context", "context", TABLE_INT, 0},
	{"prefill_s", "prefill s", TABLE_SIGNIF, 5},
	{"prefill_low_s", "from", TABLE_SIGNIF, 5},
	{"prefill_high_s", "to", TABLE_SIGNIF, 5},
	{"tokens_per_s", "tokens/s", TABLE_FIXED, 1},
	{"note", "note", TABLE_TEXT, 0},
};

static const char *predict_note(const struct scaling_line *line, int64_t context)
{
	if (line->broke && context >= line->cells[line->broke]->context)
		return "beyond the break: it will take longer";
	if (context > line->cells[line->n - 1]->context || context < line->cells[0]->context)
		return "outside the contexts measured";
	return NULL;
}

struct table *scaling_predictions(const struct scaling *s, const int64_t *contexts, size_t n)
{
	struct table *t = table_create(predict_columns, GRETA_COUNT(predict_columns));
	for (size_t i = 0; i < s->n; i++) {
		const struct scaling_line *line = &s->lines[i];
		for (size_t k = 0; fit_exists(&line->fit) && k < n; k++) {
			struct fit_value v = fit_predict(&line->fit, (double)contexts[k]);
			table_row(t);
			table_str(t, line->variant);
			table_int(t, contexts[k]);
			table_num(t, v.t);
			table_num(t, v.low);
			table_num(t, v.high);
			table_num(t, (double)contexts[k] / v.t);
			table_str(t, predict_note(line, contexts[k]));
		}
	}
	return t;
}

/* ---- remarks */

static void remark_step(const struct cells *c, size_t i, struct greta_buf *out)
{
	const struct cell *before = cells_previous(c, i), *here = &c->items[i];
	double step = (double)here->context / (double)before->context;
	greta_buf_addf(out,
		       "%s: from %" PRId64 " to %" PRId64 " the time grows %.1fx where n^2 gives %.1fx (exponent %.2f)\n",
		       here->variant, before->context, here->context, here->prefill.median / before->prefill.median,
		       step * step, exponent_at(c, i));
}

static void remark_break(const struct scaling_line *line, struct greta_buf *out)
{
	const struct cell *here = line->cells[line->broke], *before = line->cells[line->broke - 1];
	double unit = before->prefill.median;
	greta_buf_addf(out, "%s: %s at %" PRId64 ": %.1fx of %" PRId64 " where %.1fx was predicted", line->variant,
		       line->suspected ? "a break is suspected" : "the curve breaks", here->context,
		       here->prefill.median / unit, before->context, line->predicted.t / unit);
	if (!isnan(line->predicted.low))
		greta_buf_addf(out, " (%.1fx to %.1fx)", line->predicted.low / unit, line->predicted.high / unit);
	if (here->prefill.n < 2)
		greta_buf_adds(out, ", by one run");
	greta_buf_adds(out, "; its fit ends before\n");
}

/* Both fits hold from the larger of their first contexts to the smaller of their last. */
static void remark_crossover(const struct scaling_line *x, const struct scaling_line *y, struct greta_buf *out)
{
	size_t last_x = (x->broke ? x->broke : x->n) - 1, last_y = (y->broke ? y->broke : y->n) - 1;
	double from = fmax((double)x->cells[0]->context, (double)y->cells[0]->context);
	double to = fmin((double)x->cells[last_x]->context, (double)y->cells[last_y]->context);
	struct fit_crossing c;
	if (from >= to || !fit_crossover(&x->fit, &y->fit, from, to, &c))
		return;
	greta_buf_addf(out, "%s beats %s from n = %.0f on", x->variant, y->variant, c.n);
	if (c.certain)
		greta_buf_addf(out, " (%.0f to %.0f)", c.low, c.high);
	else
		greta_buf_adds(out, ", by the fits; whether they cross at all is not certain");
	greta_buf_addc(out, '\n');
}

static void remark_crossovers(const struct scaling *s, struct greta_buf *out)
{
	for (size_t i = 0; i < s->n; i++)
		for (size_t k = 0; k < s->n; k++)
			if (i != k && fit_exists(&s->lines[i].fit) && fit_exists(&s->lines[k].fit))
				remark_crossover(&s->lines[i], &s->lines[k], out);
}

static void remark_fits(const struct scaling *s, struct greta_buf *out)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct scaling_line *line = &s->lines[i];
		if (line->broke)
			remark_break(line, out);
		else if (!fit_exists(&line->fit) && line->n > 0)
			greta_buf_addf(out, "%s: no fit: it has %zu context%s with a result, and a fit needs %d\n",
				       line->variant, line->n, line->n == 1 ? "" : "s", FIT_MIN_CONTEXTS);
		else if (!line->fit.has_interval && fit_exists(&line->fit))
			greta_buf_addf(out, "%s: the fit goes through all its points, so nothing says how certain it is\n",
				       line->variant);
	}
}

void scaling_remarks(const struct scaling *s, struct greta_buf *out)
{
	const struct cells *c = s->cells;
	size_t n_single = 0, n_cells = 0;
	for (size_t i = 0; i < c->n; i++) {
		if (!wanted(&c->items[i], s->variant) || !c->items[i].prefill.n)
			continue;
		n_cells++;
		n_single += c->items[i].prefill.n == 1;
		if (exponent_at(c, i) > WORSE_THAN_QUADRATIC)
			remark_step(c, i, out);
	}
	remark_fits(s, out);
	remark_crossovers(s, out);
	if (n_single)
		greta_buf_addf(out,
			       "%zu of %zu cells rest on one run: it has no spread, and proves neither a difference nor a regression\n",
			       n_single, n_cells);
	validity_tally_text(&c->marked, c->with_marked, out);
	if (n_cells == 0)
		greta_buf_adds(out, "no run of these has a counted result, so nothing can be said about scaling\n");
}
