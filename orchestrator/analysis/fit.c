#include "orchestrator/analysis/fit.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include <gsl/gsl_blas.h>
#include <gsl/gsl_linalg.h>
#include <gsl/gsl_poly.h>
#include <gsl/gsl_rng.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SEED 20260212 /* fixed: the same data give the same interval */

struct problem {
	size_t n;         /* cells */
	double *x, *t, *w; /* context (scaled to at most 1), median, weight */
	double scale;     /* of x */
};

double fit_at(const double coef[FIT_TERMS], double n)
{
	return coef[0] + n * (coef[1] + n * coef[2]);
}

bool fit_exists(const struct fit *f)
{
	return f->n_cells > 0;
}

/* A row a cell, times the square root of its weight. */
static void fill_system(const struct problem *p, unsigned subset, gsl_matrix *m, gsl_vector *t)
{
	for (size_t i = 0; i < p->n; i++) {
		double root = sqrt(p->w[i]), power = root;
		size_t column = 0;
		for (int term = 0; term < FIT_TERMS; term++, power *= p->x[i])
			if (subset & 1U << term)
				gsl_matrix_set(m, i, column++, power);
		gsl_vector_set(t, i, root * p->t[i]);
	}
}

/* After the decomposition: whether its columns can be told apart. */
static bool has_full_rank(const gsl_matrix *qr)
{
	for (size_t k = 0; k < qr->size2; k++)
		if (fabs(gsl_matrix_get(qr, k, k)) <= 1e-12 * fabs(gsl_matrix_get(qr, 0, 0)))
			return false;
	return true;
}

/* Least squares over the terms in the subset, by QR: it is done some thousand times for a curve's intervals. +inf when a
 * term comes out negative or they can't be told apart. */
static double solve_subset(const struct problem *p, unsigned subset, double coef[FIT_TERMS])
{
	size_t k = (size_t)__builtin_popcount(subset), column = 0;
	double chisq = INFINITY;
	if (k > p->n)
		return INFINITY;
	gsl_matrix *m = gsl_matrix_alloc(p->n, k);
	gsl_vector *t = gsl_vector_alloc(p->n), *off = gsl_vector_alloc(p->n), *tau = gsl_vector_alloc(k);
	gsl_vector *c = gsl_vector_calloc(k);
	fill_system(p, subset, m, t);
	gsl_linalg_QR_decomp(m, tau);
	if (has_full_rank(m)) {
		gsl_linalg_QR_lssolve(m, tau, t, c, off);
		chisq = pow(gsl_blas_dnrm2(off), 2);
	}
	for (int term = 0; term < FIT_TERMS; term++) {
		coef[term] = subset & 1U << term ? gsl_vector_get(c, column++) / pow(p->scale, term) : 0;
		if (coef[term] < 0)
			chisq = INFINITY;
	}
	gsl_matrix_free(m);
	gsl_vector_free(t);
	gsl_vector_free(off);
	gsl_vector_free(tau);
	gsl_vector_free(c);
	return chisq;
}

static int solve(const struct problem *p, double best[FIT_TERMS])
{
	static const unsigned all = (1U << FIT_TERMS) - 1;
	double least = solve_subset(p, all, best), coef[FIT_TERMS];
	if (isfinite(least))
		return FIT_TERMS; /* no constraint binds: nothing can be better */
	int n_terms = 0;
	for (unsigned subset = 1; subset < all; subset++) {
		double chisq = solve_subset(p, subset, coef);
		if (chisq < least) {
			least = chisq;
			n_terms = __builtin_popcount(subset);
			memcpy(best, coef, sizeof coef);
		}
	}
	return n_terms;
}

/* ---- the bootstrap */

struct residuals {
	struct stats_sample cell, run; /* relative, as logarithms, scaled for the degrees of freedom used */
};

static void find_residuals(const struct fit_cell *cells, const struct problem *p, const double coef[FIT_TERMS], int n_terms,
			   struct residuals *out)
{
	double inflate = p->n > (size_t)n_terms ? sqrt((double)p->n / (double)(p->n - (size_t)n_terms)) : 0;
	for (size_t i = 0; i < p->n; i++) {
		const struct stats_sample *runs = cells[i].runs;
		if (inflate > 0)
			stats_add(&out->cell, inflate * log(p->t[i] / fit_at(coef, cells[i].n)));
		double lost = runs->n > 1 ? sqrt((double)runs->n / (double)(runs->n - 1)) : 0;
		for (size_t k = 0; runs->n > 1 && k < runs->n; k++)
			stats_add(&out->run, lost * log(runs->x[k] / p->t[i]));
	}
	/* Signs are as likely one way as the other, which makes few residuals twice as many and their mean zero. */
	for (size_t i = 0, n = out->cell.n; i < n; i++)
		stats_add(&out->cell, -out->cell.x[i]);
	for (size_t i = 0, n = out->run.n; i < n; i++)
		stats_add(&out->run, -out->run.x[i]);
	if (out->run.n)
		gsl_sort(out->run.x, 1, out->run.n);
}

static double draw(gsl_rng *rng, const struct stats_sample *s)
{
	return s->n ? s->x[gsl_rng_uniform_int(rng, s->n)] : 0;
}

/* How far off the curve a median of n_runs lies, as a factor. */
static double draw_median(gsl_rng *rng, const struct residuals *r, size_t n_runs)
{
	return exp(draw(rng, &r->cell) + (r->run.n ? stats_draw_median(rng, &r->run, n_runs) : 0));
}

static void take_intervals(struct fit *f)
{
	double column[FIT_REPLICATES];
	for (int term = 0; term < FIT_TERMS; term++) {
		for (size_t b = 0; b < FIT_REPLICATES; b++)
			column[b] = f->replicates[b][term];
		gsl_sort(column, 1, FIT_REPLICATES);
		f->low[term] = gsl_stats_quantile_from_sorted_data(column, 1, FIT_REPLICATES, (1 - FIT_LEVEL) / 2);
		f->high[term] = gsl_stats_quantile_from_sorted_data(column, 1, FIT_REPLICATES, (1 + FIT_LEVEL) / 2);
	}
}

static void bootstrap(const struct fit_cell *cells, const struct problem *p, const struct residuals *r, struct fit *f)
{
	gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
	struct problem again = *p;
	again.t = greta_alloc(p->n * sizeof *again.t);
	f->replicates = greta_alloc(FIT_REPLICATES * sizeof *f->replicates);
	f->wobble = greta_alloc(FIT_REPLICATES * sizeof *f->wobble);
	gsl_rng_set(rng, SEED);
	for (size_t b = 0; b < FIT_REPLICATES; b++) {
		for (size_t i = 0; i < p->n; i++)
			again.t[i] = fit_at(f->coef, cells[i].n) * draw_median(rng, r, cells[i].runs->n);
		solve(&again, f->replicates[b]);
		f->wobble[b] = draw_median(rng, r, cells[p->n - 1].runs->n);
	}
	take_intervals(f);
	f->has_interval = true;
	gsl_rng_free(rng);
	free(again.t);
}

/* ---- the fit */

static void problem_make(const struct fit_cell *cells, size_t n, struct problem *p)
{
	*p = (struct problem){.n = n, .scale = cells[n - 1].n};
	p->x = greta_alloc(n * sizeof *p->x);
	p->t = greta_alloc(n * sizeof *p->t);
	p->w = greta_alloc(n * sizeof *p->w);
	for (size_t i = 0; i < n; i++) {
		p->x[i] = cells[i].n / p->scale;
		p->t[i] = stats_median(cells[i].runs).median;
		p->w[i] = (double)cells[i].runs->n / (p->t[i] * p->t[i]);
	}
}

static double misfit_of(const struct problem *p, const double coef[FIT_TERMS])
{
	double sum = 0;
	for (size_t i = 0; i < p->n; i++)
		sum += pow(p->t[i] / fit_at(coef, p->x[i] * p->scale) - 1, 2);
	return sqrt(sum / (double)p->n);
}

static void problem_release(struct problem *p)
{
	free(p->x);
	free(p->t);
	free(p->w);
}

/* Returns how many terms it has; 0: there is none. */
static int make_curve(const struct fit_cell *cells, const struct problem *p, struct fit *out)
{
	int n_terms = solve(p, out->coef);
	if (n_terms == 0)
		return 0;
	out->n_cells = p->n;
	for (size_t i = 0; i < p->n; i++)
		out->n_runs += cells[i].runs->n;
	out->misfit = misfit_of(p, out->coef);
	return n_terms;
}

static void make(const struct fit_cell *cells, size_t n_cells, bool with_intervals, struct fit *out)
{
	cleanup_with(problem_release) struct problem p = {0};
	struct residuals r = {0};
	*out = (struct fit){.low = {NAN, NAN, NAN}, .high = {NAN, NAN, NAN}};
	if (n_cells < FIT_MIN_CONTEXTS)
		return;
	problem_make(cells, n_cells, &p);
	int n_terms = make_curve(cells, &p, out);
	if (n_terms > 0 && with_intervals) {
		find_residuals(cells, &p, out->coef, n_terms, &r);
		if (r.cell.n || r.run.n)
			bootstrap(cells, &p, &r, out);
	}
	stats_release(&r.cell);
	stats_release(&r.run);
}

void fit_make(const struct fit_cell *cells, size_t n_cells, struct fit *out)
{
	make(cells, n_cells, true, out);
}

void fit_curve(const struct fit_cell *cells, size_t n_cells, struct fit *out)
{
	make(cells, n_cells, false, out);
}

void fit_release(struct fit *f)
{
	free(f->replicates);
	free(f->wobble);
	*f = (struct fit){0};
}

double fit_share(const struct fit *f, int term, double n)
{
	return f->coef[term] * pow(n, term) / fit_at(f->coef, n);
}

struct fit_value fit_predict(const struct fit *f, double n)
{
	struct fit_value v = {fit_at(f->coef, n), NAN, NAN};
	if (!f->has_interval)
		return v;
	double t[FIT_REPLICATES];
	for (size_t b = 0; b < FIT_REPLICATES; b++)
		t[b] = fit_at(f->replicates[b], n) * f->wobble[b];
	gsl_sort(t, 1, FIT_REPLICATES);
	v.low = gsl_stats_quantile_from_sorted_data(t, 1, FIT_REPLICATES, (1 - FIT_LEVEL) / 2);
	v.high = gsl_stats_quantile_from_sorted_data(t, 1, FIT_REPLICATES, (1 + FIT_LEVEL) / 2);
	return v;
}

/* ---- crossovers */

/* The last root of x - y in the range from which x stays below y; NAN: none. */
static double crossing(const double x[FIT_TERMS], const double y[FIT_TERMS], double n_min, double n_max)
{
	double root[2];
	int n = gsl_poly_solve_quadratic(x[2] - y[2], x[1] - y[1], x[0] - y[0], &root[0], &root[1]);
	if (fit_at(x, n_max) >= fit_at(y, n_max))
		return NAN;
	for (int i = n; i-- > 0;)
		if (root[i] > n_min && root[i] < n_max)
			return root[i];
	return NAN;
}

bool fit_crossover(const struct fit *x, const struct fit *y, double n_min, double n_max, struct fit_crossing *out)
{
	struct stats_sample roots = {0};
	*out = (struct fit_crossing){crossing(x->coef, y->coef, n_min, n_max), NAN, NAN, false};
	if (isnan(out->n))
		return false;
	for (size_t b = 0; x->has_interval && y->has_interval && b < FIT_REPLICATES; b++)
		stats_add(&roots, crossing(x->replicates[b], y->replicates[b], n_min, n_max));
	if (roots.n) {
		gsl_sort(roots.x, 1, roots.n);
		out->low = gsl_stats_quantile_from_sorted_data(roots.x, 1, roots.n, (1 - FIT_LEVEL) / 2);
		out->high = gsl_stats_quantile_from_sorted_data(roots.x, 1, roots.n, (1 + FIT_LEVEL) / 2);
		out->certain = (double)roots.n >= FIT_LEVEL * FIT_REPLICATES;
	}
	stats_release(&roots);
	return true;
}
