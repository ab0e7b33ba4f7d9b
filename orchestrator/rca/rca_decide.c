#include "orchestrator/rca/rca_decide.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

#define FAIR_RUNS_MIN 60 /* before hangs are called rare; one factor that removes them leaves three, at the usual rate */
#define AHEAD_MAX 16	 /* factors' runs from the first that has not ended on: what they cost is spent if it takes long */

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

/* The stake is spread over what share of the hangs the factor might leave; a tenth lies on that it makes them three
 * times as frequent. */
static const double left[RCA_BETS] = {0.02, 0.1, 0.3};
#define STAKE_EACH 0.3
#define STAKE_WORSENS 0.1
#define LEFT_WORSENS 3

static void place_bets(struct rca_factor *f)
{
	for (size_t i = 0; i < RCA_BETS; i++)
		f->e_removes[i] = STAKE_EACH;
	f->e_worsens = STAKE_WORSENS;
	f->e_matters = f->e_dismisses = 1;
}

/* Of a hang, for one who bets that the factor leaves this share of them, and that it was on with the chance of the coin. */
static double pay_out(double share, double coin, bool on)
{
	return (on ? share : 1) / (coin * share + 1 - coin);
}

/* A run that failed otherwise may never have come as far as the hang: it is taken for one on the side where that makes
 * the factor look less influential. */
static void pay(struct rca_factor *f, double coin, bool on, bool hung)
{
	for (size_t i = 0; i < RCA_BETS && (hung || on); i++)
		f->e_removes[i] *= pay_out(left[i], coin, on);
	if (hung || !on)
		f->e_worsens *= pay_out(LEFT_WORSENS, coin, on);
	if (hung && f->finding == RCA_OPEN)
		f->e_dismisses /= pay_out(1 - RCA_REMOVES, coin, on);
}

/* Where each run hangs, hangs tell which way the coins fell: a finding needs rates that bear it out, too. */
static bool rates_agree(const struct rca_factor *f, bool removes)
{
	int64_t on = f->bet_on.hung * f->bet_off.runs, off = f->bet_off.hung * f->bet_on.runs;

	return removes ? on < off : on > off;
}

static void judge(struct rca_factor *f, size_t n_sharing)
{
	double removes = 0;

	for (size_t i = 0; i < RCA_BETS; i++)
		removes += f->e_removes[i];
	f->e_matters = removes + f->e_worsens;
	if (f->e_matters >= (double)n_sharing / RCA_ALPHA && rates_agree(f, removes > f->e_worsens))
		f->finding = removes > f->e_worsens ? RCA_REMOVES_HANGS : RCA_WORSENS;
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
	enum rca_stage coins;	    /* that are thrown now */
	size_t head;		    /* their first run that is still needed to learn from those behind it */
	bool undecided;
};

/* The stage that it is a part of, whatever its coin. */
static enum rca_stage part_of(const struct rca_run *r)
{
	return r->stage == RCA_SPARSE ? RCA_FACTORS : r->stage;
}

/* Elsewhere there is no GPU that hung, and none that is its neighbour. */
static bool tells_of(const struct rca_design *d, const struct rca_run *r, size_t f)
{
	return d->factors[f].kind != RCA_DEVICE || !(r->on & rca_design_bits(d, RCA_NODE));
}

static bool found(const struct rca_factor *f)
{
	return f->finding == RCA_REMOVES_HANGS || f->finding == RCA_WORSENS;
}

static void learn(const struct rca_design *d, const struct rca_run *r, struct rca_factor *all)
{
	enum rca_telling telling = rca_telling(r->outcome);
	size_t n_sharing = d->n_factors;

	for (size_t i = 0; i < d->n_factors; i++)
		n_sharing -= found(&all[i]);
	for (size_t i = 0; i < d->n_factors; i++) {
		bool on = r->on >> i & 1;

		if (found(&all[i]) || !tells_of(d, r, i) || telling == RCA_TELLS_NOTHING)
			continue;
		rate_add(on ? &all[i].bet_on : &all[i].bet_off, r->outcome);
		if (telling != RCA_TELLS_QUIET)
			pay(&all[i], rca_stage_coin(r->stage), on, telling == RCA_TELLS_HANG);
		judge(&all[i], n_sharing);
	}
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

static bool has_ended(const struct rca_run *r)
{
	return r->state == GRETA_JOB_DONE || r->state == GRETA_JOB_CANCELLED;
}

/* Under a fair coin one factor that removes the hang leaves half of the rate that is worth finding. */
static bool is_rare(struct hang_rate fair, double rate)
{
	return fair.runs >= FAIR_RUNS_MIN && (double)fair.hung < rate / 3 * (double)fair.runs;
}

/* From the runs under these coins, in the plan's order, up to the first that has not ended, or until hangs are rare and
 * there are others. False: they are. */
static bool learn_thrown(struct deciding *x, enum rca_stage coins, bool others)
{
	struct hang_rate seen = {0};

	x->coins = coins;
	for (x->head = 0; x->head < x->n; x->head++) {
		const struct rca_run *r = &x->runs[x->head];

		if (r->stage != coins || r->on & factors_found(x, false))
			continue;
		if (others && is_rare(seen, x->d->rate))
			return false;
		if (!has_ended(r))
			return true;
		learn(x->d, r, x->s->factors);
		rate_add(&seen, r->outcome);
	}
	return true;
}

/* So the coins that are looked at are those that were thrown, whichever of their runs a hang, a busy GPU or a slow node
 * held up, and what was decided stays decided. */
static void learn_factors(struct deciding *x)
{
	bool sparse = false; /* searches of an older release have none */

	for (size_t f = 0; f < x->d->n_factors; f++)
		place_bets(&x->s->factors[f]);
	for (size_t i = 0; i < x->n; i++)
		sparse |= x->runs[i].stage == RCA_SPARSE;
	if (!learn_thrown(x, RCA_FACTORS, sparse))
		learn_thrown(x, RCA_SPARSE, false);
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
		if (part_of(r) == RCA_FACTORS)
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
		if (queued(x, i) && part_of(&x->runs[i]) == stage)
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

/* Is it one of those that are learned from, once it has ended? */
static bool counts(const struct deciding *x, size_t i)
{
	return x->runs[i].stage == x->coins && x->steps[i] != RCA_STEP_SETTLED;
}

/* Lets up to `most` run at once, while `reserve` attempts of the budget stay. False: nothing of it runs, or will. */
static bool start(struct deciding *x, enum rca_stage stage, int64_t context, int64_t most, int64_t reserve)
{
	int64_t busy = 0, n_ahead = 0;
	bool waits = false;

	for (size_t i = 0; i < x->n; i++)
		busy += x->runs[i].state == GRETA_JOB_RUNNING && part_of(&x->runs[i]) == x->s->stage &&
			x->runs[i].context == context;
	for (size_t i = 0; i < x->n && busy < most && x->left > reserve && n_ahead < AHEAD_MAX; i++) {
		int64_t limit = 0, *place = pinned(x, &x->runs[i], &limit);

		n_ahead += stage == x->coins && i >= x->head && counts(x, i);
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
		if (queued(x, i) && part_of(&x->runs[i]) == RCA_FACTORS && x->runs[i].on & removing)
			x->steps[i] = RCA_STEP_SETTLED;
	if (all_decided(x)) {
		drop(x, RCA_FACTORS, RCA_STEP_FACTORS);
		return true;
	}
	if (start(x, x->coins, x->d->context, INT64_MAX, rca_runs_at_most(x->d, RCA_CONTEXTS)))
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
