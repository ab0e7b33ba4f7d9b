#include "orchestrator/analysis/changes.h"
#include "base/mem.h"
#include "orchestrator/analysis/stats.h"
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SEED 2014

struct split {
	size_t at;
	double q;
};

struct series {
	const double *x;        /* logarithms */
	size_t n;
	size_t *order;          /* a permutation of 0 .. n-1 */
	double *sums;           /* (n+1)^2: sums[i][k] of |x - y| over the first i and the first k of order */
};

static double block(const struct series *s, size_t from_i, size_t to_i, size_t from_k, size_t to_k)
{
	size_t w = s->n + 1;
	return s->sums[to_i * w + to_k] - s->sums[from_i * w + to_k] - s->sums[to_i * w + from_k] +
	       s->sums[from_i * w + from_k];
}

static void fill_sums(struct series *s)
{
	size_t w = s->n + 1;
	for (size_t i = 1; i <= s->n; i++) {
		double row = 0;
		for (size_t k = 1; k <= s->n; k++) {
			row += fabs(s->x[s->order[i - 1]] - s->x[s->order[k - 1]]);
			s->sums[i * w + k] = s->sums[(i - 1) * w + k] + row;
		}
	}
}

/* Scaled energy distance between [from, at) and [at, to). Within-segment means are over pairs of distinct points. */
static double distance(const struct series *s, size_t from, size_t at, size_t to)
{
	double m = (double)(at - from), n = (double)(to - at);
	double between = 2 * block(s, from, at, at, to) / (m * n);
	double left = block(s, from, at, from, at) / (m * (m - 1)), right = block(s, at, to, at, to) / (n * (n - 1));
	return m * n / (m + n) * (between - left - right);
}

/* The best split of any segment; bounds are the segments' ends, from 0 to n. */
static struct split best_split(const struct series *s, const size_t *bounds, size_t n_bounds)
{
	struct split best = {0, 0};
	for (size_t b = 0; b + 1 < n_bounds; b++)
		for (size_t at = bounds[b] + CHANGES_MIN_SEGMENT; at + CHANGES_MIN_SEGMENT <= bounds[b + 1]; at++) {
			double q = distance(s, bounds[b], at, bounds[b + 1]);
			if (q > best.q)
				best = (struct split){at, q};
		}
	return best;
}

/* The p value, or 1 as soon as it can't become significant any more. */
static double p_of(struct series *s, const size_t *bounds, size_t n_bounds, double q, gsl_rng *rng)
{
	size_t as_far = 0, too_many = (size_t)(CHANGES_LEVEL * (CHANGES_PERMUTATIONS + 1));
	for (int r = 0; r < CHANGES_PERMUTATIONS && as_far < too_many; r++) {
		for (size_t b = 0; b + 1 < n_bounds; b++)
			gsl_ran_shuffle(rng, s->order + bounds[b], bounds[b + 1] - bounds[b], sizeof *s->order);
		fill_sums(s);
		as_far += best_split(s, bounds, n_bounds).q >= q - 1e-12;
	}
	for (size_t i = 0; i < s->n; i++)
		s->order[i] = i;
	fill_sums(s);
	return as_far < too_many ? (double)(as_far + 1) / (CHANGES_PERMUTATIONS + 1) : 1;
}

static void insert_bound(size_t *bounds, size_t *n, size_t at)
{
	size_t i = *n;
	for (; i > 0 && bounds[i - 1] > at; i--)
		bounds[i] = bounds[i - 1];
	bounds[i] = at;
	++*n;
}

static double median_of(const double *x, size_t from, size_t to)
{
	struct stats_sample s = {0};
	for (size_t i = from; i < to; i++)
		stats_add(&s, x[i]);
	double m = stats_median(&s).median;
	stats_release(&s);
	return m;
}

static int by_place(const void *a, const void *b)
{
	const struct change *x = a, *y = b;
	return (x->at > y->at) - (x->at < y->at);
}

static void find(struct series *s, size_t *bounds, size_t *n_bounds, struct changes *out)
{
	gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
	gsl_rng_set(rng, SEED);
	for (;;) {
		struct split best = best_split(s, bounds, *n_bounds);
		double p = best.at ? p_of(s, bounds, *n_bounds, best.q, rng) : 1;
		if (p > CHANGES_LEVEL)
			break;
		insert_bound(bounds, n_bounds, best.at);
		*GRETA_PUSH(out->items, out->n, out->cap) = (struct change){best.at, p, NAN};
	}
	gsl_rng_free(rng);
}

void changes_find(const double *x, size_t n, struct changes *out)
{
	size_t skip = n > CHANGES_MAX_POINTS ? n - CHANGES_MAX_POINTS : 0;
	*out = (struct changes){0};
	n -= skip;
	if (n < 2 * CHANGES_MIN_SEGMENT)
		return;
	double *logs = greta_alloc(n * sizeof *logs);
	struct series s = {.x = logs, .n = n, .order = greta_alloc(n * sizeof *s.order),
			   .sums = greta_alloc((n + 1) * (n + 1) * sizeof *s.sums)};
	size_t *bounds = greta_alloc((n + 2) * sizeof *bounds), n_bounds = 2;
	bounds[1] = n;
	for (size_t i = 0; i < n; i++) {
		logs[i] = log(x[skip + i]);
		s.order[i] = i;
	}
	fill_sums(&s);
	find(&s, bounds, &n_bounds, out);
	if (out->n)
		qsort(out->items, out->n, sizeof *out->items, by_place);
	for (size_t i = 0; i < out->n; i++) { /* bounds[i + 1] is items[i].at */
		out->items[i].ratio = exp(median_of(logs, bounds[i + 1], bounds[i + 2]) - median_of(logs, bounds[i], bounds[i + 1]));
		out->items[i].at += skip;
	}
	free(logs);
	free(s.order);
	free(s.sums);
	free(bounds);
}

void changes_release(struct changes *c)
{
	free(c->items);
	*c = (struct changes){0};
}
