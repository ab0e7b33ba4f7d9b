#include "orchestrator/plan/plan_order.h"

#include "base/mem.h"

/* splitmix64 (Steele, Lea, Flood 2014): good enough to shuffle, the same on every machine. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Fisher and Yates. The modulo's bias is below n / 2^64. */
static void shuffle(struct plan_job *jobs, size_t n, uint64_t *random)
{
	for (size_t i = n; i > 1; i--) {
		size_t k = next_random(random) % i;
		struct plan_job job = jobs[i - 1];

		jobs[i - 1] = jobs[k];
		jobs[k] = job;
	}
}

static void add_job(struct plan *p, size_t variant, int64_t context, int64_t repeat, int64_t block)
{
	*GRETA_PUSH(p->jobs, p->n, p->cap) = (struct plan_job){ variant, context, repeat, block };
}

static int64_t most_repeats(const struct greta_campaign *c)
{
	int64_t most = 0;

	for (size_t i = 0; i < c->n_contexts; i++) {
		int64_t n = greta_campaign_repeats(c, c->contexts[i]);

		most = n > most ? n : most;
	}
	return most;
}

static void order_interleaved(const struct greta_campaign *c, struct plan *out)
{
	uint64_t random = c->seed;
	int64_t n_blocks = most_repeats(c);

	for (int64_t block = 0; block < n_blocks; block++) {
		size_t first = out->n;

		for (size_t v = 0; v < c->n_variants; v++)
			for (size_t k = 0; k < c->n_contexts; k++)
				if (block < greta_campaign_repeats(c, c->contexts[k]))
					add_job(out, v, c->contexts[k], block, block);
		shuffle(out->jobs + first, out->n - first, &random);
	}
}

static void order_sequential(const struct greta_campaign *c, struct plan *out)
{
	for (size_t v = 0; v < c->n_variants; v++)
		for (size_t k = 0; k < c->n_contexts; k++)
			for (int64_t r = 0; r < greta_campaign_repeats(c, c->contexts[k]); r++)
				add_job(out, v, c->contexts[k], r, 0);
}

static double count_jobs(const struct greta_campaign *c)
{
	double n = 0;

	for (size_t k = 0; k < c->n_contexts; k++)
		n += (double)c->n_variants * (double)greta_campaign_repeats(c, c->contexts[k]);
	return n;
}

int plan_make(const struct greta_campaign *c, struct plan *out, struct greta_err *e)
{
	double n = count_jobs(c);

	*out = (struct plan){0};
	if (n > PLAN_JOBS_MAX)
		return greta_err_set(e, GRETA_EINVAL,
				     "campaign %s: %.0f jobs (variants x contexts x repeats), at most %d are possible; "
				     "split it into several campaigns", c->name, n, PLAN_JOBS_MAX);
	if (c->order == GRETA_ORDER_SEQUENTIAL)
		order_sequential(c, out);
	else
		order_interleaved(c, out);
	return 0;
}

void plan_release(struct plan *p)
{
	free(p->jobs);
	*p = (struct plan){0};
}
