#include "orchestrator/control/eta.h"

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

/* Slots as a binary heap, soonest free first. */
static void sift_down(struct eta_slot *heap, size_t n, size_t i)
{
	for (size_t child; (child = 2 * i + 1) < n; i = child) {
		struct eta_slot swap = heap[i];

		if (child + 1 < n && heap[child + 1].free_s < heap[child].free_s)
			child++;
		if (heap[i].free_s <= heap[child].free_s)
			return;
		heap[i] = heap[child];
		heap[child] = swap;
	}
}

static struct eta_queue *whose_turn(struct eta_queue *queues, size_t n_queues)
{
	struct eta_queue *best = NULL;

	for (struct eta_queue *q = queues; q < queues + n_queues; q++) {
		if (q->n_begun == q->n_jobs)
			continue;
		if (!best || q->priority > best->priority || (q->priority == best->priority && q->n_running < best->n_running))
			best = q;
	}
	return best;
}

static void begin(struct eta_slot *s, struct eta_queue *q)
{
	s->free_s += q->job_s[q->n_begun++];
	s->queue = q;
	q->n_running++;
	q->end_s = s->free_s > q->end_s ? s->free_s : q->end_s;
}

void eta_share(struct eta_slot *slots, size_t n_slots, struct eta_queue *queues, size_t n_queues)
{
	for (size_t i = 0; i < n_queues; i++)
		queues[i].end_s = n_slots ? 0 : NAN;
	for (size_t i = 0; i < n_slots; i++) {
		if (!slots[i].queue)
			continue;
		slots[i].queue->n_running++;
		if (slots[i].free_s > slots[i].queue->end_s)
			slots[i].queue->end_s = slots[i].free_s;
	}
	for (size_t i = n_slots / 2; i-- > 0;)
		sift_down(slots, n_slots, i);
	while (n_slots && whose_turn(queues, n_queues)) {
		if (slots[0].queue)
			slots[0].queue->n_running--;
		slots[0].queue = NULL;
		begin(&slots[0], whose_turn(queues, n_queues));
		sift_down(slots, n_slots, 0);
	}
}
