#include "orchestrator/analysis/compare.h"
#include "base/mem.h"
#include "base/str.h"
#include "orchestrator/analysis/twosample.h"
#include <gsl/gsl_cdf.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MORE_RUNS_MAX 10000
#define POWER 0.95

const char *compare_verdict_name(enum compare_verdict v)
{
	static const char *const names[] = {
#define X(id, name) [COMPARE_##id] = name,
		COMPARE_VERDICTS(X)
#undef X
	};
	return names[v];
}

struct compare_cell *compare_cell(struct compare *c, const char *variant, int64_t context)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->items[i].context == context && greta_str_eq(c->items[i].variant, variant))
			return &c->items[i];
	struct compare_cell *cell = GRETA_PUSH(c->items, c->n, c->cap);
	*cell = (struct compare_cell){.variant = greta_strdup(variant), .context = context};
	return cell;
}

void compare_release(struct compare *c)
{
	for (size_t i = 0; i < c->n; i++) {
		free(c->items[i].variant);
		stats_release(&c->items[i].a);
		stats_release(&c->items[i].b);
		stats_release(&c->items[i].before);
	}
	free(c->items);
	*c = (struct compare){0};
}

/* ---- judging */

static bool tests_ranks(const struct compare_cell *c)
{
	return c->a.n >= COMPARE_RANK_RUNS && c->b.n >= COMPARE_RANK_RUNS;
}

/* Twice the spread of history's medians. It is taken from one campaign to the next (von Neumann and others, The mean square
 * successive difference, Ann. Math. Statist. 12, 1941), so that a shift in the middle is one step among many and no noise;
 * by the median, since the step itself may be large. 1.4826 times that is a normal distribution's standard deviation. */
static double noise_floor(const struct compare_cell *c)
{
	struct stats_sample steps = {0};
	for (size_t i = 1; i < c->before.n; i++)
		stats_add(&steps, fabs(log(c->before.x[i] / c->before.x[i - 1])));
	double step = c->before.n >= COMPARE_FLOOR_CAMPAIGNS ? stats_median(&steps).median : 0;
	stats_release(&steps);
	return 2 * 1.4826 * step / M_SQRT2;
}

/* So that a difference of the threshold (where there is but one run: that which it suspects) would show with POWER, by
 * normal theory (Lachin, Introduction to sample size determination and power analysis for clinical trials, Controlled
 * Clinical Trials 2, 1981): on the side that has fewer, if the other has enough, else on both. */
static int64_t more_runs(const struct compare_cell *c, double var)
{
	double few = (double)(c->a.n < c->b.n ? c->a.n : c->b.n), many = (double)(c->a.n < c->b.n ? c->b.n : c->a.n);
	double size = log1p(c->threshold);
	if (few == 1)
		size = fmax(size, fabs(log(c->ratio)));
	double z = gsl_cdf_ugaussian_Qinv(COMPARE_RATE / 2) + gsl_cdf_ugaussian_Pinv(POWER);
	double target = pow(size / z, 2) / var; /* 1 / n_a + 1 / n_b */
	double need = ceil(1 / many < target / 2 ? 1 / (target - 1 / many) : 2 / target);
	need = fmax(need, COMPARE_RANK_RUNS);
	return need < MORE_RUNS_MAX && few > 0 ? (int64_t)fmax(need - few, 1) : 0;
}

static void measure(struct compare_cell *c, struct twosample_prior prior, double threshold)
{
	struct stats_median a = stats_median(&c->a), b = stats_median(&c->b);
	struct twosample_variance noise = twosample_moderate(twosample_variance(&c->a, &c->b), prior);
	struct twosample_t t = twosample_t(&c->a, &c->b, noise, COMPARE_LEVEL);
	c->median_a = a.median;
	c->median_b = b.median;
	c->ratio = b.median / a.median;
	c->low = exp(t.difference - t.half);
	c->high = exp(t.difference + t.half);
	c->p = c->a.n > 1 && c->b.n > 1 ? t.p : NAN; /* one run proves nothing, and is not tested */
	c->p_rank = twosample_mann_whitney(&c->a, &c->b);
	c->threshold = fmax(threshold, noise_floor(c));
	if (tests_ranks(c)) {
		struct twosample_ratio r = twosample_hodges_lehmann(&c->a, &c->b, COMPARE_LEVEL);
		c->low = r.low;
		c->high = r.high;
	}
	c->more_runs = more_runs(c, noise.var);
}

static bool is_significant(const struct compare_cell *c)
{
	return c->q <= COMPARE_RATE && (!tests_ranks(c) || c->p_rank <= 0.05);
}

static enum compare_verdict judge(const struct compare_cell *c)
{
	double off = fabs(log(c->ratio)), practical = log1p(c->threshold);
	bool slower = c->ratio > 1;
	if (c->a.n == 0 || c->b.n == 0)
		return COMPARE_MISSING;
	if (c->a.n == 1 || c->b.n == 1) {
		if (off <= practical)
			return COMPARE_CANT_TELL;
		return slower ? COMPARE_SUSPECTED_SLOWER : COMPARE_SUSPECTED_FASTER;
	}
	if (is_significant(c) && off > practical)
		return slower ? COMPARE_SLOWER : COMPARE_FASTER;
	if (is_significant(c) || (log(c->low) > -practical && log(c->high) < practical))
		return COMPARE_SAME;
	return COMPARE_CANT_TELL;
}

static int by_name(const void *x, const void *y)
{
	const struct compare_cell *a = x, *b = y;
	int order = strcmp(a->variant, b->variant);
	return order ? order : (a->context > b->context) - (a->context < b->context);
}

void compare_judge(struct compare *c, double threshold)
{
	if (c->n)
		qsort(c->items, c->n, sizeof *c->items, by_name);
	struct twosample_variance *noise = greta_alloc((c->n + 1) * sizeof *noise);
	double *q = greta_alloc((c->n + 1) * sizeof *q);
	for (size_t i = 0; i < c->n; i++)
		noise[i] = twosample_variance(&c->items[i].a, &c->items[i].b);
	struct twosample_prior prior = twosample_prior(noise, c->n);
	for (size_t i = 0; i < c->n; i++) {
		measure(&c->items[i], prior, threshold);
		q[i] = c->items[i].p;
	}
	twosample_adjust(q, c->n);
	for (size_t i = 0; i < c->n; i++) {
		struct compare_cell *cell = &c->items[i];
		cell->q = q[i];
		cell->verdict = judge(cell);
		if (cell->verdict != COMPARE_CANT_TELL && cell->verdict != COMPARE_SUSPECTED_FASTER &&
		    cell->verdict != COMPARE_SUSPECTED_SLOWER)
			cell->more_runs = 0;
	}
	free(noise);
	free(q);
}

/* ---- pairing */

static const char *only_variant(const struct history *h)
{
	for (size_t i = 1; i < h->n; i++)
		if (!greta_str_eq(h->items[i].kind->variant, h->items[0].kind->variant))
			return NULL;
	return h->n ? h->items[0].kind->variant : NULL;
}

/* Medians of history, campaign by campaign, of each cell, by runs that compare with `like`. Runs come campaign by campaign. */
static void add_past(struct compare *out, const struct history *past, const struct history_kind *like, const char *variant,
		     const char *label)
{
	for (size_t c = 0; c < out->n; c++) {
		struct compare_cell *cell = &out->items[c];
		if (label && !greta_str_eq(cell->variant, label))
			continue;
		const char *name = variant ? variant : cell->variant;
		for (size_t i = 0, k; i < past->n; i = k) {
			struct stats_sample runs = {0};
			for (k = i; k < past->n && past->items[k].kind->campaign_id == past->items[i].kind->campaign_id; k++)
				if (past->items[k].context == cell->context && greta_str_eq(past->items[k].kind->variant, name) &&
				    history_comparable(past->items[k].kind, like))
					stats_add(&runs, past->items[k].prefill_s);
			stats_add(&cell->before, stats_median(&runs).median);
			stats_release(&runs);
		}
	}
}

static int not_comparable(const struct history_kind *a, const struct history_kind *b, struct greta_err *e)
{
	return greta_err_set(e, GRETA_EINVAL,
			     "these can't be compared: %s %s (mode %s, device %s, dtype %s, model %s) and %s %s (mode %s, device %s,"
			     " dtype %s, model %s)",
			     a->campaign, a->variant, a->mode, a->device_type ? a->device_type : "?", a->dtype ? a->dtype : "?",
			     a->model ? a->model : "?", b->campaign, b->variant, b->mode, b->device_type ? b->device_type : "?",
			     b->dtype ? b->dtype : "?", b->model ? b->model : "?");
}

int compare_pair(const struct history *a, const struct history *b, const struct history *past, struct compare *out,
		 struct greta_err *e)
{
	const char *one_a = only_variant(a), *one_b = only_variant(b);
	bool by_context = one_a && one_b;
	char *label = by_context && !greta_str_eq(one_a, one_b) ? greta_format("%s -> %s", one_a, one_b) : NULL;
	for (size_t i = 0; i < a->n; i++)
		stats_add(&compare_cell(out, label ? label : a->items[i].kind->variant, a->items[i].context)->a,
			  a->items[i].prefill_s);
	for (size_t i = 0; i < b->n; i++)
		stats_add(&compare_cell(out, label ? label : b->items[i].kind->variant, b->items[i].context)->b,
			  b->items[i].prefill_s);
	if (past && a->n)
		add_past(out, past, a->items[0].kind, label ? one_a : NULL, label);
	free(label);
	for (size_t i = 0; i < a->n && b->n; i++)
		if (!history_comparable(a->items[i].kind, b->items[0].kind))
			return not_comparable(a->items[i].kind, b->items[0].kind, e);
	for (size_t i = 0; i < b->n && a->n; i++)
		if (!history_comparable(a->items[0].kind, b->items[i].kind))
			return not_comparable(a->items[0].kind, b->items[i].kind, e);
	return 0;
}

/* ---- showing */

static const struct table_column columns[] = {
	{"variant", "variant", TABLE_TEXT, 0},    {"context", "context", TABLE_INT, 0},
	{"n_a", "n A", TABLE_INT, 0},             {"n_b", "n B", TABLE_INT, 0},
	{"a_s", "A s", TABLE_SIGNIF, 5},          {"b_s", "B s", TABLE_SIGNIF, 5},
	{"ratio", "B/A", TABLE_FIXED, 3},         {"ratio_low", "from", TABLE_FIXED, 3},
	{"ratio_high", "to", TABLE_FIXED, 3},     {"q", "q", TABLE_SIGNIF, 2},
	{"threshold_percent", "limit %", TABLE_FIXED, 1}, {"verdict", "verdict", TABLE_TEXT, 0},
	{"more_runs", "more runs", TABLE_INT, 0},
};

static enum term_style style_of(enum compare_verdict v)
{
	static const enum term_style styles[COMPARE_VERDICT_COUNT] = {
		[COMPARE_MISSING] = TERM_DIM,
		[COMPARE_FASTER] = TERM_GOOD,
		[COMPARE_SLOWER] = TERM_BAD,
		[COMPARE_CANT_TELL] = TERM_DIM,
		[COMPARE_SUSPECTED_SLOWER] = TERM_WARN,
	};
	return styles[v];
}

struct table *compare_table(const struct compare *c)
{
	struct table *t = table_create(columns, GRETA_COUNT(columns));
	for (size_t i = 0; i < c->n; i++) {
		const struct compare_cell *cell = &c->items[i];
		table_row(t);
		table_str(t, cell->variant);
		table_int(t, cell->context);
		table_int(t, (int64_t)cell->a.n);
		table_int(t, (int64_t)cell->b.n);
		table_num(t, cell->median_a);
		table_num(t, cell->median_b);
		table_num(t, cell->ratio);
		table_num(t, cell->low);
		table_num(t, cell->high);
		table_num(t, cell->q);
		table_num(t, 100 * cell->threshold);
		table_str(t, compare_verdict_name(cell->verdict));
		table_style(t, style_of(cell->verdict));
		if (cell->more_runs)
			table_int(t, cell->more_runs);
	}
	return t;
}

static void say_cell(const struct compare_cell *c, struct greta_buf *out)
{
	greta_buf_addf(out, "%s at %" PRId64 ": %s, %.4g s to %.4g s, %.3gx", c->variant, c->context,
		       compare_verdict_name(c->verdict), c->median_a, c->median_b, c->ratio);
	if (!isnan(c->low))
		greta_buf_addf(out, " (%.3g to %.3g)", c->low, c->high);
	if (c->verdict == COMPARE_SUSPECTED_SLOWER || c->verdict == COMPARE_SUSPECTED_FASTER)
		greta_buf_addf(out, "; one run on a side proves nothing");
	if (c->more_runs)
		greta_buf_addf(out, "; %" PRId64 " more run%s would tell", c->more_runs, c->more_runs == 1 ? "" : "s");
	greta_buf_addc(out, '\n');
}

void compare_words(const struct compare *c, struct greta_buf *out)
{
	size_t count[COMPARE_VERDICT_COUNT] = {0};
	for (size_t i = 0; i < c->n; i++)
		count[c->items[i].verdict]++;
	greta_buf_addf(out, "%zu cell%s:", c->n, c->n == 1 ? "" : "s");
	for (int v = 0, first = 1; v < COMPARE_VERDICT_COUNT; v++)
		if (count[v]) {
			greta_buf_addf(out, "%s %zu %s", first ? "" : ",", count[v], compare_verdict_name(v));
			first = 0;
		}
	greta_buf_addc(out, '\n');
	if (c->n && count[COMPARE_MISSING] == c->n)
		greta_buf_adds(out, "no cell has a run on both sides, so nothing is compared\n");
	for (size_t i = 0; i < c->n; i++) {
		enum compare_verdict v = c->items[i].verdict;
		if (v == COMPARE_SLOWER || v == COMPARE_FASTER || v == COMPARE_SUSPECTED_SLOWER || v == COMPARE_SUSPECTED_FASTER)
			say_cell(&c->items[i], out);
	}
}
