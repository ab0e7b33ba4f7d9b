#include "orchestrator/control/sched.h"

#include "base/mem.h"

struct sched_set {
	struct sched_campaign *campaign;
	sched_allows_fn *allows;
	const void *arg;
	sched_suits_fn *suits; /* NULL: each job does */
	struct sched_job *head, *tail;
	struct sched_set *next;
};

struct node_count {
	const struct sched_node *node;
	int64_t n;
};

struct sched_campaign {
	struct sched *sched;
	int64_t id, priority, max_jobs_per_node;
	struct sched_need need;
	size_t n_queued;
	int64_t n_running, n_reserved;
	struct sched_set *sets;
	struct node_count *counts; /* kept only where max_jobs_per_node asks for it */
	size_t n_counts, cap_counts;
	struct sched_campaign *next;
};

struct sched {
	struct sched_campaign *campaigns;
	size_t n_queued;
};

struct sched *sched_create(void)
{
	return greta_alloc(sizeof(struct sched));
}

void sched_destroy(struct sched *s)
{
	if (!s)
		return;
	while (s->campaigns)
		sched_campaign_remove(s->campaigns);
	free(s);
}

struct sched_campaign *sched_campaign_add(struct sched *s, int64_t id, int64_t priority, struct sched_need need,
					  int64_t max_jobs_per_node)
{
	struct sched_campaign *c = greta_alloc(sizeof *c);

	c->sched = s;
	c->id = id;
	c->priority = priority;
	c->need = need;
	c->max_jobs_per_node = max_jobs_per_node;
	c->next = s->campaigns;
	s->campaigns = c;
	return c;
}

void sched_campaign_remove(struct sched_campaign *c)
{
	struct sched_campaign **at = &c->sched->campaigns;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->sched->n_queued -= c->n_queued;
	while (c->sets) {
		struct sched_set *set = c->sets;

		c->sets = set->next;
		for (struct sched_job *j = set->head; j; j = j->next)
			j->set = NULL;
		free(set);
	}
	free(c->counts);
	free(c);
}

struct sched_set *sched_set_add(struct sched_campaign *c, sched_allows_fn *allows, const void *arg)
{
	struct sched_set *set = greta_alloc(sizeof *set);

	set->campaign = c;
	set->allows = allows;
	set->arg = arg;
	set->next = c->sets;
	c->sets = set;
	return set;
}

void sched_set_suits(struct sched_set *set, sched_suits_fn *suits)
{
	set->suits = suits;
}

bool sched_set_empty(const struct sched_set *set)
{
	return !set->head;
}

/* New jobs come in order and go to the tail, retries come from near the head: whichever end is nearer by position. */
void sched_enqueue(struct sched_set *set, struct sched_job *job)
{
	struct sched_job *after = set->tail;

	if (set->head && job->position < set->head->position + (set->tail->position - set->head->position) / 2) {
		struct sched_job *before = set->head;

		while (before && before->position <= job->position)
			before = before->next;
		after = before ? before->prev : set->tail;
	} else {
		while (after && after->position > job->position)
			after = after->prev;
	}
	job->prev = after;
	job->next = after ? after->next : set->head;
	*(job->prev ? &job->prev->next : &set->head) = job;
	*(job->next ? &job->next->prev : &set->tail) = job;
	job->set = set;
	set->campaign->n_queued++;
	set->campaign->sched->n_queued++;
}

void sched_dequeue(struct sched_job *job)
{
	struct sched_set *set = job->set;

	if (!set)
		return;
	*(job->prev ? &job->prev->next : &set->head) = job->next;
	*(job->next ? &job->next->prev : &set->tail) = job->prev;
	job->prev = job->next = NULL;
	job->set = NULL;
	set->campaign->n_queued--;
	set->campaign->sched->n_queued--;
}

static int64_t node_cpus(const struct sched_node *n)
{
	return n->n_cpus > 0 ? n->n_cpus : 1;
}

int64_t sched_machines(const struct sched_node *n)
{
	return n->machines > 0 ? n->machines : 1;
}

/* Several machines are never taken whole; one of them is, by its share. */
static bool takes_node(const struct sched_need *need, const struct sched_node *n)
{
	return need->whole_node && sched_machines(n) == 1;
}

static int64_t need_cpus(const struct sched_need *need, const struct sched_node *n)
{
	if (need->whole_node || (need->cpus == 0 && !need->gpus))
		return node_cpus(n) / sched_machines(n);
	return need->cpus;
}

static int64_t need_gpus(const struct sched_need *need, const struct sched_node *n)
{
	return need->whole_node ? n->n_gpus / sched_machines(n) : need->gpus;
}

static bool fits(const struct sched_need *need, const struct sched_node *n, int64_t cpus_used, int64_t gpus_used,
		 int64_t n_running)
{
	if (takes_node(need, n))
		return n_running == 0;
	return cpus_used + need_cpus(need, n) <= node_cpus(n) && gpus_used + need_gpus(need, n) <= n->n_gpus;
}

static int64_t *count_on(struct sched_campaign *c, const struct sched_node *n)
{
	struct node_count *count;

	for (size_t i = 0; i < c->n_counts; i++)
		if (c->counts[i].node == n)
			return &c->counts[i].n;
	count = GRETA_PUSH(c->counts, c->n_counts, c->cap_counts);
	count->node = n;
	return &count->n;
}

static bool at_limit(struct sched_campaign *c, const struct sched_node *n)
{
	return c->max_jobs_per_node > 0 && *count_on(c, n) >= c->max_jobs_per_node;
}

/* NULL: none, or its campaign is gone. */
static struct sched_campaign *reserved_for(const struct sched *s, const struct sched_node *n)
{
	struct sched_campaign *c = n->reserved_for ? s->campaigns : NULL;

	while (c && c->id != n->reserved_for)
		c = c->next;
	return c;
}

void sched_unreserve(const struct sched *s, struct sched_node *n)
{
	struct sched_campaign *c = reserved_for(s, n);

	if (c)
		c->n_reserved--;
	n->reserved_for = 0;
}

static void reserve(struct sched_campaign *c, struct sched_node *n)
{
	sched_unreserve(c->sched, n);
	n->reserved_for = c->id;
	c->n_reserved++;
}

void sched_charge(struct sched_campaign *c, struct sched_node *n)
{
	if (takes_node(&c->need, n)) {
		n->taken_whole = true;
	} else {
		n->cpus_used += need_cpus(&c->need, n);
		n->gpus_used += need_gpus(&c->need, n);
	}
	n->n_running++;
	c->n_running++;
	if (c->max_jobs_per_node > 0)
		++*count_on(c, n);
}

void sched_release(struct sched_campaign *c, struct sched_node *n)
{
	if (takes_node(&c->need, n)) {
		n->taken_whole = false;
	} else {
		n->cpus_used -= need_cpus(&c->need, n);
		n->gpus_used -= need_gpus(&c->need, n);
	}
	n->n_running--;
	c->n_running--;
	if (c->max_jobs_per_node > 0)
		--*count_on(c, n);
	/* A node that changed its size meanwhile must not stay charged for ever. */
	if (n->n_running == 0)
		n->cpus_used = n->gpus_used = 0;
}

/* The first job of the set for this node. Jobs that should go elsewhere are few and near the head. */
static struct sched_job *set_first(const struct sched_set *set, const struct sched_node *n, sched_elsewhere_fn *elsewhere)
{
	struct sched_job *job = set->head;

	if (!job || (set->allows && !set->allows(n, set->arg)))
		return NULL;
	while (job && ((job->avoid == n && elsewhere(job, n)) || (set->suits && !set->suits(job, n))))
		job = job->next;
	return job;
}

static struct sched_job *campaign_first(const struct sched_campaign *c, const struct sched_node *n, sched_elsewhere_fn *elsewhere)
{
	struct sched_job *best = NULL;

	for (const struct sched_set *set = c->sets; set; set = set->next) {
		struct sched_job *job = set_first(set, n, elsewhere);

		if (job && (!best || job->position < best->position))
			best = job;
	}
	return best;
}

static bool goes_before(const struct sched_campaign *a, const struct sched_campaign *b)
{
	if (a->priority != b->priority)
		return a->priority > b->priority;
	if (a->n_running != b->n_running)
		return a->n_running < b->n_running;
	return a->id < b->id;
}

/* Asked in order of precedence, without sorting: the best campaign that comes after `last`. Campaigns are few. */
static struct sched_campaign *next_campaign(const struct sched *s, const struct sched_campaign *last)
{
	struct sched_campaign *best = NULL;

	for (struct sched_campaign *c = s->campaigns; c; c = c->next)
		if (c->n_queued && (!last || goes_before(last, c)) && (!best || goes_before(c, best)))
			best = c;
	return best;
}

/* A large need that an empty node could serve but this one can't now. Small ones get their turn without. */
static bool wants_reservation(const struct sched_campaign *c, const struct sched_node *n)
{
	return (c->need.whole_node || c->need.gpus > 1) && fits(&c->need, n, 0, 0, 0) && (size_t)c->n_reserved < c->n_queued;
}

static struct sched_job *take(struct sched_campaign *c, struct sched_node *n, struct sched_job *job)
{
	sched_unreserve(c->sched, n);
	sched_dequeue(job);
	sched_charge(c, n);
	return job;
}

struct sched_job *sched_pick(struct sched *s, struct sched_node *n, sched_elsewhere_fn *elsewhere,
			     struct sched_campaign **campaign)
{
	struct sched_campaign *holder = reserved_for(s, n);

	if (holder && (!n->open || !campaign_first(holder, n, elsewhere))) {
		sched_unreserve(s, n);
		holder = NULL;
	}
	if (!n->open || n->taken_whole || !s->n_queued)
		return NULL;
	for (struct sched_campaign *c = next_campaign(s, NULL); c; c = next_campaign(s, c)) {
		bool room = fits(&c->need, n, n->cpus_used, n->gpus_used, n->n_running);
		struct sched_job *job;

		if (holder && holder != c && c->priority <= holder->priority)
			continue;
		if (!room && holder != c && !wants_reservation(c, n))
			continue; /* of a thousand nodes nearly all are full, and looking for a job takes longer */
		job = at_limit(c, n) ? NULL : campaign_first(c, n, elsewhere);
		if (!job)
			continue;
		if (room) {
			*campaign = c;
			return take(c, n, job);
		}
		if (holder == c)
			return NULL;
		if (wants_reservation(c, n)) {
			reserve(c, n);
			return NULL;
		}
	}
	return NULL;
}

int64_t sched_slots(const struct sched_node *n, const struct sched_need *need)
{
	int64_t by_cpu = INT64_MAX, by_gpu = INT64_MAX, machines = sched_machines(n);

	if (need->whole_node)
		return machines;
	if (need_cpus(need, n) > 0)
		by_cpu = node_cpus(n) / machines / need_cpus(need, n);
	if (need->gpus > 0)
		by_gpu = n->n_gpus / machines / need->gpus;
	return machines * (by_cpu < by_gpu ? by_cpu : by_gpu);
}

bool sched_idle(const struct sched *s)
{
	return s->n_queued == 0;
}
