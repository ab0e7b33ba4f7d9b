#include "orchestrator/eta.h"

#include "base/mem.h"

#include <math.h>

struct cell {
	int64_t context;
	double n, sum_s;
	bool own;
};

struct cells {
	struct cell *items;
	size_t n, cap;
};

struct eta {
	struct cells *variants;
	size_t n_variants;
};

struct eta *eta_create(size_t n_variants)
{
	struct eta *t = greta_alloc(sizeof *t);

	t->variants = greta_alloc(n_variants * sizeof *t->variants + 1);
	t->n_variants = n_variants;
	return t;
}

void eta_destroy(struct eta *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n_variants; i++)
		free(t->variants[i].items);
	free(t->variants);
	free(t);
}

static struct cell *find(const struct eta *t, size_t variant, int64_t context)
{
	const struct cells *v = &t->variants[variant];

	for (size_t i = 0; i < v->n; i++)
		if (v->items[i].context == context)
			return &v->items[i];
	return NULL;
}

void eta_add(struct eta *t, size_t variant, int64_t context, double wall_s, bool history)
{
	struct cells *v = &t->variants[variant];
	struct cell *c = find(t, variant, context);

	if (!isfinite(wall_s) || wall_s < 0)
		return;
	if (!c) {
		c = GRETA_PUSH(v->items, v->n, v->cap);
		c->context = context;
	}
	if (!history && !c->own)
		*c = (struct cell){ .context = context, .own = true };
	if (history && c->own)
		return;
	c->n++;
	c->sum_s += wall_s;
}

static double mean(const struct cell *c)
{
	return c->sum_s / c->n;
}

/* Least squares of t = a*n + b*n^2 in units of relative error, a and b not negative. One context alone: quadratic
 * beyond it, linear below: the cautious side both ways. */
static double on_curve(const struct cells *v, int64_t context)
{
	double s11 = 0, s12 = 0, s22 = 0, y1 = 0, y2 = 0, n = (double)context, det, a, b;

	if (v->n == 0)
		return NAN;
	if (v->n == 1) {
		double ratio = n / (double)v->items[0].context;

		return mean(&v->items[0]) * (ratio > 1 ? ratio * ratio : ratio);
	}
	for (size_t i = 0; i < v->n; i++) {
		double t = mean(&v->items[i]), x = (double)v->items[i].context, w = t > 0 ? 1 / (t * t) : 1;

		s11 += w * x * x;
		s12 += w * x * x * x;
		s22 += w * x * x * x * x;
		y1 += w * x * t;
		y2 += w * x * x * t;
	}
	det = s11 * s22 - s12 * s12;
	a = det > 0 ? (y1 * s22 - y2 * s12) / det : 0;
	b = det > 0 ? (y2 * s11 - y1 * s12) / det : y2 / s22;
	if (a < 0) {
		a = 0;
		b = y2 / s22;
	} else if (b < 0) {
		b = 0;
		a = y1 / s11;
	}
	return a * n + b * n * n;
}

static double by_others(const struct eta *t, int64_t context)
{
	double sum = 0, n = 0;

	for (size_t v = 0; v < t->n_variants; v++) {
		const struct cell *c = find(t, v, context);

		if (c) {
			sum += mean(c);
			n++;
		}
	}
	return n ? sum / n : NAN;
}

double eta_expect(const struct eta *t, size_t variant, int64_t context, bool *measured)
{
	const struct cell *c = find(t, variant, context);
	double curve;

	*measured = c && c->own;
	if (c)
		return mean(c);
	curve = on_curve(&t->variants[variant], context);
	return isnan(curve) ? by_others(t, context) : curve;
}

/* free_s as a binary heap, soonest first. */
static void sift_down(double *heap, size_t n, size_t i)
{
	for (size_t child; (child = 2 * i + 1) < n; i = child) {
		double swap = heap[i];

		if (child + 1 < n && heap[child + 1] < heap[child])
			child++;
		if (heap[i] <= heap[child])
			return;
		heap[i] = heap[child];
		heap[child] = swap;
	}
}

double eta_makespan(double *free_s, size_t n_slots, const double *job_s, size_t n_jobs)
{
	double end = 0;

	if (!n_slots)
		return NAN;
	for (size_t i = n_slots / 2; i-- > 0;)
		sift_down(free_s, n_slots, i);
	for (size_t i = 0; i < n_jobs; i++) {
		free_s[0] += job_s[i];
		sift_down(free_s, n_slots, 0);
	}
	for (size_t i = 0; i < n_slots; i++)
		end = free_s[i] > end ? free_s[i] : end;
	return end;
}
