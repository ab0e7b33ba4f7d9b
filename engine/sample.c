/* sample: from logits to a token (greta_engine.h). */
#include "base/mem.h"
#include "engine/greta_engine.h"
#include <math.h>
#include <stdlib.h>

struct candidate {
	float p; /* logit, later probability */
	uint32_t token;
};

uint32_t greta_argmax(const float *logits, size_t n)
{
	size_t best = 0;

	for (size_t i = 1; i < n; i++)
		if (logits[i] > logits[best] || (isnan(logits[best]) && !isnan(logits[i])))
			best = i;
	return (uint32_t)best;
}

static int by_logit(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->p != y->p)
		return x->p < y->p ? 1 : -1;
	return x->token < y->token ? -1 : x->token > y->token;
}

/* Softmax of the sorted candidates; returns how many stand for top_p of the whole. */
static size_t weigh(const struct greta_sampling *s, struct candidate *c, size_t n, double *total)
{
	double sum = 0.0, kept = 0.0, top = (double)c[0].p;

	for (size_t i = 0; i < n; i++) {
		c[i].p = (float)exp(((double)c[i].p - top) / (double)s->temperature);
		sum += (double)c[i].p;
	}
	for (size_t i = 0; i < n; i++) {
		kept += (double)c[i].p;
		if (s->top_p > 0.0f && s->top_p < 1.0f && kept >= (double)s->top_p * sum) {
			*total = kept;
			return i + 1;
		}
	}
	*total = sum;
	return n;
}

static double next_unit(uint64_t *state) /* 0 <= x < 1; xorshift64*, by Vigna */
{
	uint64_t x = *state ? *state : UINT64_C(0x9e3779b97f4a7c15);

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return (double)((x * UINT64_C(0x2545f4914f6cdd1d)) >> 11) * 0x1p-53;
}

uint32_t greta_sample(const struct greta_sampling *s, uint64_t *state, const float *logits, size_t n)
{
	if (!(s->temperature > 0.0f))
		return greta_argmax(logits, n);
	struct candidate *c = greta_alloc(n * sizeof *c);
	size_t n_kept = 0;
	double total;

	for (size_t i = 0; i < n; i++)
		if (isfinite(logits[i]))
			c[n_kept++] = (struct candidate){logits[i], (uint32_t)i};
	if (n_kept == 0) {
		free(c);
		return greta_argmax(logits, n);
	}
	qsort(c, n_kept, sizeof *c, by_logit);
	if (s->top_k && s->top_k < n_kept)
		n_kept = s->top_k;
	n_kept = weigh(s, c, n_kept, &total);
	double at = next_unit(state) * total;
	size_t i = 0;
	while (i + 1 < n_kept && at >= (double)c[i].p)
		at -= (double)c[i++].p;
	uint32_t token = c[i].token;
	free(c);
	return token;
}
