/* bench_detect: how often are planted shifts found, and how often is one reported that is not there?
 *
 *	bench_detect [CAMPAIGNS]
 *
 * A campaign is two sets of 12 cells (2 variants, 6 contexts), so many runs each, with normal noise. `found` is the share
 * of cells with a planted shift that are judged slower; `false, cells` is the share of cells without one that are judged
 * slower or faster; `false, campaigns` is the share of campaigns where some such cell is. Where every second cell is
 * shifted, false discoveries are harder to hold. Then one run in twenty takes 20 % longer. The last table is of histories:
 * a cell's medians in 20 campaigns, shifted from the 11th on; `found` is the share where a change point stands there, give or
 * take one campaign, and `false` that of histories where one stands elsewhere. */
#include "base/mem.h"
#include "orchestrator/analysis/changes.h"
#include "orchestrator/analysis/compare.h"
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <stdio.h>
#include <stdlib.h>

#define N_CELLS 12
#define N_HISTORY 20
#define SHIFTS_AT (N_HISTORY / 2)

static const double noises[] = {0.005, 0.01, 0.03}, shifts[] = {0, 0.02, 0.05, 0.10};

struct setup {
	int n_runs;
	double noise, shift;
	bool half, tail;
};

struct rates { /* -1: there is no such cell */
	double found, false_cells, false_campaigns;
};

static double draw(gsl_rng *rng, const struct setup *s, double at)
{
	double slow = s->tail && gsl_rng_uniform(rng) < 0.05 ? 1.2 : 1;
	return at * slow * (1 + gsl_ran_gaussian(rng, s->noise));
}

static bool shifted(const struct setup *s, size_t i)
{
	return s->shift > 0 && (!s->half || i % 2 == 0);
}

static void make(gsl_rng *rng, const struct setup *s, struct compare *c)
{
	for (size_t i = 0; i < N_CELLS; i++) {
		struct compare_cell *cell = compare_cell(c, i < N_CELLS / 2 ? "a" : "b", 1024 << (i % (N_CELLS / 2)));
		double at = 0.5 * (double)(1 << i);
		for (int k = 0; k < s->n_runs; k++) {
			stats_add(&cell->a, draw(rng, s, at));
			stats_add(&cell->b, draw(rng, s, at * (shifted(s, i) ? 1 + s->shift : 1)));
		}
	}
}

static struct rates run(gsl_rng *rng, const struct setup *s, int n_campaigns)
{
	double found = 0, planted = 0, false_cells = 0, clean = 0, false_campaigns = 0;
	for (int n = 0; n < n_campaigns; n++) {
		struct compare c = {0};
		bool alarm = false;
		make(rng, s, &c);
		compare_judge(&c, COMPARE_THRESHOLD);
		for (size_t i = 0; i < c.n; i++) { /* sorted as they were made */
			bool slower = c.items[i].verdict == COMPARE_SLOWER, faster = c.items[i].verdict == COMPARE_FASTER;
			planted += shifted(s, i);
			found += shifted(s, i) && slower;
			clean += !shifted(s, i);
			false_cells += !shifted(s, i) && (slower || faster);
			alarm |= !shifted(s, i) && (slower || faster);
		}
		false_campaigns += alarm;
		compare_release(&c);
	}
	return (struct rates){planted > 0 ? found / planted : -1, clean > 0 ? false_cells / clean : -1,
			      clean > 0 ? false_campaigns / n_campaigns : -1};
}

static void percent(double x)
{
	if (x < 0)
		printf("%17s", "-");
	else
		printf("%15.2f %%", 100 * x);
}

static void print_table(gsl_rng *rng, int n_runs, bool half, bool tail, int n_campaigns)
{
	printf("\n%d runs a side%s%s\n", n_runs, half ? ", every second cell shifted" : "", tail ? ", heavy tail" : "");
	printf("noise    shift            found     false, cells  false, campaigns\n");
	for (size_t i = 0; i < GRETA_COUNT(noises); i++)
		for (size_t k = 0; k < GRETA_COUNT(shifts); k++) {
			struct setup s = {n_runs, noises[i], shifts[k], half, tail};
			struct rates r = run(rng, &s, n_campaigns);
			printf("%4.1f %%  %4.0f %%", 100 * noises[i], 100 * shifts[k]);
			percent(r.found);
			percent(r.false_cells);
			percent(r.false_campaigns);
			puts("");
		}
}

/* ---- histories */

static double draw_campaign(gsl_rng *rng, const struct setup *s, double at)
{
	struct stats_sample runs = {0};
	for (int k = 0; k < s->n_runs; k++)
		stats_add(&runs, draw(rng, s, at));
	double median = stats_median(&runs).median;
	stats_release(&runs);
	return median;
}

static struct rates run_histories(gsl_rng *rng, const struct setup *s, int n_histories)
{
	double found = 0, false_histories = 0, x[N_HISTORY];
	for (int n = 0; n < n_histories; n++) {
		struct changes c;
		size_t near = 0;
		for (size_t i = 0; i < N_HISTORY; i++)
			x[i] = draw_campaign(rng, s, i < SHIFTS_AT ? 1 : 1 + s->shift);
		changes_find(x, N_HISTORY, &c);
		for (size_t i = 0; i < c.n; i++)
			near += s->shift > 0 && c.items[i].at + 1 >= SHIFTS_AT && c.items[i].at <= SHIFTS_AT + 1;
		found += near > 0;
		false_histories += c.n > near;
		changes_release(&c);
	}
	return (struct rates){s->shift > 0 ? found / n_histories : -1, -1, false_histories / n_histories};
}

static void print_histories(gsl_rng *rng, int n_runs, int n_histories)
{
	printf("\nhistories of %d campaigns, medians of %d runs\n", N_HISTORY, n_runs);
	printf("noise    shift            found             false\n");
	for (size_t i = 0; i < GRETA_COUNT(noises); i++)
		for (size_t k = 0; k < GRETA_COUNT(shifts); k++) {
			struct setup s = {n_runs, noises[i], shifts[k], false, false};
			struct rates r = run_histories(rng, &s, n_histories);
			printf("%4.1f %%  %4.0f %%", 100 * noises[i], 100 * shifts[k]);
			percent(r.found);
			percent(r.false_campaigns);
			puts("");
		}
}

int main(int argc, char **argv)
{
	int n_campaigns = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1000;
	gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
	gsl_rng_set(rng, 1);
	printf("%d campaigns of %d cells each; verdicts as `compare` and `regress` give them\n", n_campaigns, N_CELLS);
	print_table(rng, 5, false, false, n_campaigns);
	print_table(rng, 5, true, false, n_campaigns);
	print_table(rng, 3, true, false, n_campaigns);
	print_table(rng, 5, true, true, n_campaigns);
	print_histories(rng, 5, n_campaigns);
	gsl_rng_free(rng);
	return 0;
}
