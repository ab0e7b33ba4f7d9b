#include "orchestrator/rca/rca_decide.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

#define NAMED(fn, type, LIST)                                                                                          \
	const char *fn(type v)                                                                                         \
	{                                                                                                              \
		static const char *const text[] = {LIST(X)};                                                           \
		return text[v];                                                                                        \
	}
#define X(id, name) name,
NAMED(rca_step_reason, enum rca_step, RCA_STEPS)
NAMED(rca_finding_name, enum rca_finding, RCA_FINDINGS)
NAMED(rca_end_name, enum rca_end, RCA_ENDS)
#undef X

enum rca_telling rca_telling(enum greta_outcome o)
{
	switch (o) {
	case GRETA_OUTCOME_HUNG:
		return RCA_TELLS_HANG;
	case GRETA_OUTCOME_GOOD:
	case GRETA_OUTCOME_INVALID:
		return RCA_TELLS_QUIET;
	case GRETA_OUTCOME_FAILED:
	case GRETA_OUTCOME_OOM:
	case GRETA_OUTCOME_TIMED_OUT:
		return RCA_TELLS_FAILURE;
	default:
		return RCA_TELLS_NOTHING;
	}
}

static void rate_add(struct hang_rate *r, enum greta_outcome o)
{
	enum rca_telling t = rca_telling(o);

	r->hung += t == RCA_TELLS_HANG;
	r->runs += t == RCA_TELLS_HANG || t == RCA_TELLS_QUIET;
}

/* ---- e-values */

/* Pay-out of all hangs so far for one who bets that the factor leaves a share `left` of them: on was as likely as off.
 */
static double pay_out(double left, int64_t n_on, int64_t n_off)
{
	double on = left / (1 + left);

	return pow(2 * on, (double)n_on) * pow(2 * (1 - on), (double)n_off);
}

/* The stake is spread over how much it might remove, and a sixth lies on that it makes hangs three times as frequent.
 * A run that failed otherwise may never have come as far as the hang: it is taken for one on the side where that makes
 * the factor look less influential. */
static void bets(const struct rca_factor *f, double *removes, double *worsens)
{
	static const double left[] = {0, 0.1, 0.2, 1.0 / 3, 0.5};

	*removes = 0;
	for (size_t i = 0; i < GRETA_COUNT(left); i++)
		*removes += pay_out(left[i], f->bet_on.hung + f->bet_on.failed, f->bet_off.hung) / 6;
	*worsens = pay_out(3, f->bet_on.hung, f->bet_off.hung + f->bet_off.failed) / 6;
}

static void judge(struct rca_factor *f, size_t n_factors)
{
	double removes, worsens;

	bets(f, &removes, &worsens);
	f->e_matters = removes + worsens;
	f->e_dismisses = 1 / pay_out(1 - RCA_REMOVES, f->bet_on.hung, f->bet_off.hung);
	if (f->e_matters >= (double)n_factors / RCA_ALPHA)
		f->finding = removes > worsens ? RCA_REMOVES_HANGS : RCA_WORSENS;
	else if (f->e_dismisses >= 1 / RCA_BETA)
		f->finding = RCA_DISMISSED;
}

/* ---- what is known */

struct deciding {
	const struct rca_design *d;
	const struct rca_run *runs;
	size_t n;
	struct rca_state *s;
	enum rca_step *steps;
	int64_t left;		    /* attempts that may still be started */
	int64_t on_same, on_others; /* of those at once: what pinned GPUs have taken */
	bool undecided;
};

/* Elsewhere there is no GPU that hung, and none that is its neighbour. */
static bool tells_of(const struct rca_design *d, const struct rca_run *r, size_t f)
{
	return d->factors[f].kind != RCA_DEVICE || !(r->on & rca_design_bits(d, RCA_NODE));
}

static void learn(const struct rca_design *d, const struct rca_run *r, struct rca_factor *all)
{
	enum rca_telling telling = rca_telling(r->outcome);

	for (size_t i = 0; i < d->n_factors; i++) {
		struct rca_factor *f = &all[i];
		struct rca_sides *side = r->on >> i & 1 ? &f->bet_on : &f->bet_off;

		if (f->finding != RCA_OPEN || !tells_of(d, r, i) || telling == RCA_TELLS_QUIET)
			continue;
		side->hung += telling == RCA_TELLS_HANG;
		side->failed += telling == RCA_TELLS_FAILURE;
		judge(f, d->n_factors);
	}
}

static int by_end(const void *a, const void *b)
{
	const struct rca_run *x = *(const struct rca_run *const *)a, *y = *(const struct rca_run *const *)b;

	if (x->ended != y->ended)
		return x->ended < y->ended ? -1 : 1;
	return (x > y) - (x < y);
}

/* In the order in which they ended: what was decided stays decided, whatever still runs then. */
static void learn_factors(struct deciding *x)
{
	const struct rca_run **order = greta_alloc(x->n * sizeof *order + 1);
	size_t n = 0;

	for (size_t i = 0; i < x->n; i++)
		if (x->runs[i].stage == RCA_FACTORS && rca_telling(x->runs[i].outcome) != RCA_TELLS_NOTHING)
			order[n++] = &x->runs[i];
	qsort(order, n, sizeof *order, by_end);
	for (size_t i = 0; i < n; i++)
		learn(x->d, order[i], x->s->factors);
	free(order);
}

static unsigned factors_found(const struct deciding *x, bool also_worse)
{
	unsigned bits = 0;

	for (size_t f = 0; f < x->d->n_factors; f++) {
		enum rca_finding finding = x->s->factors[f].finding;

		bits |= finding == RCA_REMOVES_HANGS || (also_worse && finding == RCA_WORSENS) ? 1u << f : 0;
	}
	return bits;
}

static void count_sides(struct deciding *x, const struct rca_run *r, unsigned found)
{
	for (size_t i = 0; i < x->d->n_factors; i++) {
		struct rca_factor *f = &x->s->factors[i];
		bool on = r->on >> i & 1;

		if (!tells_of(x->d, r, i) || r->on & found & ~(1u << i))
			continue;
		rate_add(on ? &f->on : &f->off, r->outcome);
		if (rca_telling(r->outcome) == RCA_TELLS_FAILURE)
			++*(on ? &f->failed_on : &f->failed_off);
	}
}

static void learn_rates(struct deciding *x)
{
	unsigned found = factors_found(x, true);
	struct rca_state *s = x->s;

	for (size_t i = 0; i < x->n; i++) {
		const struct rca_run *r = &x->runs[i];

		s->n_attempts += r->n_attempts;
		s->n_running += r->state == GRETA_JOB_RUNNING;
		s->wall_s += r->wall_s;
		if (r->stage == RCA_AGAIN)
			rate_add(&s->again, r->outcome);
		if (r->stage != RCA_CONTEXTS && !(r->on & found))
			rate_add(&s->unchanged, r->outcome);
		if (r->stage == RCA_FACTORS)
			count_sides(x, r, found);
		for (size_t c = 0; c < x->d->n_contexts && r->stage == RCA_CONTEXTS; c++)
			if (r->context == x->d->contexts[c])
				rate_add(&s->contexts[c], r->outcome);
	}
	s->runs_needed = hang_rate_runs(fmax(x->d->rate, hang_rate_any_time(s->unchanged).low), RCA_BETA);
}

/* ---- what is to be done */

static bool queued(const struct deciding *x, size_t i)
{
	return x->steps[i] == RCA_STEP_WAIT;
}

static void drop(struct deciding *x, enum rca_stage stage, enum rca_step why)
{
	for (size_t i = 0; i < x->n; i++)
		if (queued(x, i) && x->runs[i].stage == stage)
			x->steps[i] = why;
}

static void drop_all(struct deciding *x, enum rca_step why)
{
	for (int stage = RCA_AGAIN; stage <= RCA_CONTEXTS; stage++)
		drop(x, (enum rca_stage)stage, why);
}

/* Its place among those that are pinned to GPUs; NULL: it is not. */
static int64_t *pinned(struct deciding *x, const struct rca_run *r, int64_t *limit)
{
	if (x->d->same_device == 0 || r->on & rca_design_bits(x->d, RCA_NODE))
		return NULL;
	if (r->on & rca_design_bits(x->d, RCA_DEVICE)) {
		*limit = x->d->other_devices;
		return &x->on_others;
	}
	*limit = x->d->same_device;
	return &x->on_same;
}

static bool belongs(const struct rca_run *r, enum rca_stage stage, int64_t context)
{
	return r->stage == stage && r->context == context;
}

static void take_running(struct deciding *x)
{
	int64_t limit, *place;

	for (size_t i = 0; i < x->n; i++)
		if (x->runs[i].state == GRETA_JOB_RUNNING && (place = pinned(x, &x->runs[i], &limit)))
			++*place;
}

/* Lets up to `most` run at once, while `reserve` attempts of the budget stay. False: nothing of it runs, or will. */
static bool start(struct deciding *x, enum rca_stage stage, int64_t context, int64_t most, int64_t reserve)
{
	int64_t busy = 0;
	bool waits = false;

	for (size_t i = 0; i < x->n; i++)
		busy += belongs(&x->runs[i], stage, context) && x->runs[i].state == GRETA_JOB_RUNNING;
	for (size_t i = 0; i < x->n && busy < most && x->left > reserve; i++) {
		int64_t limit = 0, *place = pinned(x, &x->runs[i], &limit);

		if (!queued(x, i) || !belongs(&x->runs[i], stage, context))
			continue;
		waits = true;
		if (place && *place >= limit)
			continue;
		x->steps[i] = RCA_STEP_RUN;
		x->left--;
		busy++;
		if (place)
			++*place;
	}
	x->s->budget_spent |= x->left <= reserve && busy == 0;
	return busy > 0 || (waits && x->s->n_running > 0);
}

/* ---- the stages: true, there is nothing more to be learnt in it */

static bool stage_again(struct deciding *x)
{
	int64_t need = hang_rate_runs(x->d->rate, RCA_BETA);
	struct rca_state *s = x->s;

	s->stage = RCA_AGAIN;
	if (s->again.hung > 0) {
		drop(x, RCA_AGAIN, RCA_STEP_AGAIN);
		return true;
	}
	if (s->again.runs >= need) {
		s->end = RCA_END_NOTHING;
		drop_all(x, RCA_STEP_NOTHING);
	} else if (!start(x, RCA_AGAIN, x->d->context, need - s->again.runs, 0)) {
		s->end = RCA_END_UNDECIDED;
		drop_all(x, RCA_STEP_BUDGET);
	}
	return false;
}

static bool all_decided(const struct deciding *x)
{
	for (size_t f = 0; f < x->d->n_factors; f++)
		if (x->s->factors[f].finding == RCA_OPEN)
			return false;
	return true;
}

static bool stage_factors(struct deciding *x)
{
	unsigned removing = factors_found(x, false);

	x->s->stage = RCA_FACTORS;
	for (size_t i = 0; i < x->n; i++)
		if (queued(x, i) && x->runs[i].stage == RCA_FACTORS && x->runs[i].on & removing)
			x->steps[i] = RCA_STEP_SETTLED;
	if (all_decided(x)) {
		drop(x, RCA_FACTORS, RCA_STEP_FACTORS);
		return true;
	}
	if (start(x, RCA_FACTORS, x->d->context, INT64_MAX, rca_runs_at_most(x->d, RCA_CONTEXTS)))
		return false;
	x->undecided = true;
	drop(x, RCA_FACTORS, RCA_STEP_BUDGET);
	return true;
}

static void drop_outside(struct deciding *x, int64_t low, int64_t high)
{
	for (size_t i = 0; i < x->n; i++)
		if (queued(x, i) && x->runs[i].stage == RCA_CONTEXTS &&
		    (x->runs[i].context <= low || x->runs[i].context >= high))
			x->steps[i] = RCA_STEP_BISECTED;
}

/* Contexts between two: one that has no hang (0: none is known), and one that has. */
static bool stage_contexts(struct deciding *x)
{
	const struct rca_design *d = x->d;
	struct rca_state *s = x->s;
	size_t low = 0, high = d->n_contexts; /* still in question: [low, high) */

	s->stage = RCA_CONTEXTS;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct hang_rate *r = &s->contexts[mid];

		s->context_done[mid] = r->hung > 0 || r->runs >= s->runs_needed;
		if (!s->context_done[mid]) {
			drop_outside(x, low ? d->contexts[low - 1] : 0,
				     high < d->n_contexts ? d->contexts[high] : INT64_MAX);
			if (start(x, RCA_CONTEXTS, d->contexts[mid], s->runs_needed - r->runs, 0))
				return false;
			x->undecided = true;
			break;
		}
		if (r->hung > 0)
			high = mid;
		else
			low = mid + 1;
	}
	drop(x, RCA_CONTEXTS, x->undecided ? RCA_STEP_BUDGET : RCA_STEP_BISECTED);
	return true;
}

static void find_smallest(const struct rca_design *d, struct rca_state *s)
{
	s->smallest = s->again.hung > 0 ? d->context : 0;
	for (size_t c = d->n_contexts; c-- > 0;)
		if (s->contexts[c].hung > 0)
			s->smallest = d->contexts[c];
}

void rca_decide(const struct rca_design *d, const struct rca_run *runs, size_t n, struct rca_state *out,
		enum rca_step *steps)
{
	enum rca_step *own = steps ? steps : greta_alloc(n * sizeof *own + 1);
	struct deciding x = {.d = d, .runs = runs, .n = n, .s = out, .steps = own};

	*out = (struct rca_state){0};
	for (size_t i = 0; i < n; i++)
		own[i] = runs[i].state == GRETA_JOB_QUEUED ? RCA_STEP_WAIT : RCA_STEP_NONE;
	learn_factors(&x);
	learn_rates(&x);
	find_smallest(d, out);
	take_running(&x);
	x.left = d->budget_s > 0 && out->wall_s >= d->budget_s ? 0 : d->budget_runs - out->n_attempts;
	if (stage_again(&x) && stage_factors(&x) && stage_contexts(&x))
		out->end = x.undecided ? RCA_END_UNDECIDED : RCA_END_DECIDED;
	if (own != steps)
		free(own);
}
