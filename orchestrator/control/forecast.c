/* How long a campaign will still take: what its jobs are expected to take (eta.h), on the slots that it may use, which it
 * shares with campaigns that want the same ones. What can't be foreseen so (variants that may not go everywhere, jobs of
 * cells that have not run yet) makes it a range. */
#include "orchestrator/control/ctl.h"

#include "base/mem.h"

#include <math.h>

struct forecast {
	struct ctl *ctl;
	struct ctl_campaign *cc;
	int64_t now;
	struct eta_slot *slots;
	size_t n_slots, cap_slots;
	struct eta_queue *queues;         /* the first is cc's */
	size_t n_queues, cap_queues;
	bool all_known, all_measured;
};

static double expect(struct forecast *f, const struct ctl_job *job)
{
	bool measured;
	double s = eta_expect(job->campaign->eta, (size_t)job->variant, job->context, &measured);

	f->all_known &= !isnan(s);
	f->all_measured &= measured;
	return isnan(s) ? 0 : s;
}

static double expect_left(struct forecast *f, const struct ctl_attempt *a)
{
	double left = expect(f, a->job) - (double)(f->now - a->planned_ns) / 1e9;

	return left > 0 ? left : 0;
}

static bool is_running(const struct ctl_attempt *a)
{
	return a->job && a->state < GRETA_ATTEMPT_ENDED;
}

static bool is_waiting(const struct ctl_job *job)
{
	return job->state == GRETA_JOB_QUEUED && job->variant >= 0;
}

/* ---- who takes part */

static bool is_simple(const struct ctl_campaign *cc)
{
	return cc->spec.max_jobs_per_node == 0 && cc->spec.placement == GRETA_PLACEMENT_ANY;
}

/* Wants the same slots. Others are seen by what they run now alone. */
static bool competes(const struct forecast *f, const struct ctl_campaign *o)
{
	const struct sched_need *x = &f->cc->need, *y = &o->need;

	if (!o->wanted || o->finished || o->hopeless || !is_simple(f->cc) || !is_simple(o) || x->cpus != y->cpus ||
	    x->gpus != y->gpus || x->whole_node != y->whole_node)
		return false;
	for (size_t i = 0; i < f->ctl->n_nodes; i++)
		if (work_may_use(f->cc, f->ctl->nodes[i]) != work_may_use(o, f->ctl->nodes[i]))
			return false;
	return true;
}

static void add_queue(struct forecast *f, const struct ctl_campaign *cc)
{
	struct eta_queue *q = GRETA_PUSH(f->queues, f->n_queues, f->cap_queues);

	*q = (struct eta_queue){.id = cc->id, .priority = cc->spec.priority};
	q->job_s = greta_alloc((cc->n_jobs + 1) * sizeof *q->job_s);
	for (size_t i = 0; i < cc->n_jobs; i++)
		if (is_waiting(&cc->jobs[i]))
			q->job_s[q->n_jobs++] = expect(f, &cc->jobs[i]);
	for (size_t v = 0; v < cc->spec.n_variants; v++)
		f->all_measured &= !cc->spec.variants[v].nodes.n && !cc->spec.variants[v].devices.n;
}

static struct eta_queue *queue_of(struct forecast *f, const struct ctl_campaign *cc)
{
	for (size_t i = 0; i < f->n_queues; i++)
		if (f->queues[i].id == cc->id)
			return &f->queues[i];
	return NULL;
}

/* ---- on which slots */

static void add_slot(struct forecast *f, double free_s, struct eta_queue *q)
{
	*GRETA_PUSH(f->slots, f->n_slots, f->cap_slots) = (struct eta_slot){free_s, q};
}

/* Running attempts first, then what is free beside them. */
static void add_slots(struct forecast *f, struct ctl_node *n)
{
	int64_t limit = f->cc->spec.max_jobs_per_node, n_free = sched_slots(&n->sched, &f->cc->need), n_own = 0;

	for (size_t i = 0; i < n->n_attempts; i++) {
		const struct ctl_attempt *a = n->attempts[i];
		struct eta_queue *q = is_running(a) ? queue_of(f, a->job->campaign) : NULL;

		n_free -= is_running(a);
		n_own += q != NULL;
		if (q)
			add_slot(f, expect_left(f, a), q);
	}
	if (limit && limit - n_own < n_free)
		n_free = limit - n_own;
	for (; n->sched.open && work_may_use(f->cc, n) && n_free > 0; n_free--)
		add_slot(f, 0, NULL);
}

static double share(struct forecast *f)
{
	add_queue(f, f->cc);
	for (struct ctl_campaign *o = f->ctl->campaigns; o; o = o->next)
		if (o != f->cc && competes(f, o))
			add_queue(f, o);
	for (size_t i = 0; i < f->ctl->n_nodes; i++)
		add_slots(f, f->ctl->nodes[i]);
	eta_share(f->slots, f->n_slots, f->queues, f->n_queues);
	return f->queues[0].end_s;
}

/* ---- where each cell has its GPU: the one that is busy longest */

struct busy {
	const char *gpu;
	double s;
};

struct busy_list {
	struct busy *items;
	size_t n, cap;
};

static void add_busy(struct busy_list *list, const char *gpu, double s)
{
	for (size_t i = 0; i < list->n; i++) {
		if (!greta_str_eq(list->items[i].gpu, gpu))
			continue;
		list->items[i].s += s;
		return;
	}
	*GRETA_PUSH(list->items, list->n, list->cap) = (struct busy){gpu, s};
}

static void add_running(struct forecast *f, struct busy_list *list, const struct ctl_node *n)
{
	for (size_t i = 0; i < n->n_attempts; i++) {
		const struct ctl_attempt *a = n->attempts[i];

		if (is_running(a) && a->job->campaign == f->cc && a->gpus.n)
			add_busy(list, a->gpus.items[0], expect_left(f, a));
	}
}

static double at_home(struct forecast *f)
{
	struct busy_list list = {0};
	double longest = 0;

	for (size_t i = 0; i < f->ctl->n_nodes; i++)
		add_running(f, &list, f->ctl->nodes[i]);
	for (size_t i = 0; i < f->cc->n_jobs; i++) {
		const struct ctl_job *job = &f->cc->jobs[i];
		const char *home = is_waiting(job) ? gpus_home(job) : NULL;

		f->all_measured &= home || !is_waiting(job);
		if (home)
			add_busy(&list, home, expect(f, job));
	}
	for (size_t i = 0; i < list.n; i++)
		longest = fmax(longest, list.items[i].s);
	free(list.items);
	return longest;
}

void forecast_make(struct ctl *c, struct ctl_campaign *cc, int64_t now)
{
	struct forecast f = {.ctl = c, .cc = cc, .now = now, .all_known = true, .all_measured = true};
	double s = share(&f);

	if (cc->spec.placement == GRETA_PLACEMENT_SAME_GPU)
		s = fmax(s, at_home(&f));
	cc->eta_s = cc->eta_low_s = cc->eta_high_s = NAN;
	if (f.all_known && !isnan(s)) {
		cc->eta_s = f.all_measured ? s : NAN;
		cc->eta_low_s = s * (f.all_measured ? 0.9 : 0.5);
		cc->eta_high_s = s * (f.all_measured ? 1.1 : 2);
	}
	for (size_t i = 0; i < f.n_queues; i++)
		free(f.queues[i].job_s);
	free(f.queues);
	free(f.slots);
	cc->eta_at_ns = now;
}
