/* Campaigns and attempts in memory, and what is said to nodes about them. */
#include "orchestrator/control/work.h"

#include "base/clock.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

struct ctl_campaign *work_find(struct ctl *c, int64_t campaign_id)
{
	struct ctl_campaign *cc = c->campaigns;

	while (cc && cc->id != campaign_id)
		cc = cc->next;
	return cc;
}

void work_campaign_destroy(struct ctl_campaign *cc)
{
	if (cc->sched)
		sched_campaign_remove(cc->sched);
	eta_destroy(cc->eta);
	learn_release(cc);
	gpus_release(cc);
	free(cc->base_dir);
	free(cc->why);
	free(cc->sets);
	free(cc->set_args);
	free(cc->variant_ids);
	free(cc->environments);
	for (size_t v = 0; cc->lacks && v < cc->spec.n_variants; v++)
		free(cc->lacks[v]);
	free(cc->lacks);
	greta_campaign_release(&cc->spec);
	free(cc->jobs);
	free(cc);
}

/* ---- attempts */

struct ctl_attempt *work_attempt(struct ctl_node *n, const char *uuid)
{
	for (size_t i = 0; i < n->n_attempts; i++)
		if (!strcmp(n->attempts[i]->uuid, uuid))
			return n->attempts[i];
	return NULL;
}

struct ctl_attempt *work_attempt_new(struct ctl_node *n, struct ctl_job *job)
{
	struct ctl_attempt *a = greta_alloc(sizeof *a);

	a->node = n;
	a->job = job;
	a->planned_ns = greta_clock_mono_ns();
	if (job)
		a->budget_s = greta_campaign_timeout_s(&job->campaign->spec, job->context);
	*GRETA_PUSH(n->attempts, n->n_attempts, n->cap_attempts) = a;
	return a;
}

bool work_is_open(const struct ctl_attempt *a)
{
	return a->state < GRETA_ATTEMPT_ENDED;
}

int64_t work_n_open(const struct ctl_node *n)
{
	int64_t open = 0;

	for (size_t i = 0; i < n->n_attempts; i++)
		open += work_is_open(n->attempts[i]);
	return open;
}

void work_charge_all(struct ctl_node *n, bool charge)
{
	for (size_t i = 0; i < n->n_attempts; i++)
		if (n->attempts[i]->charged)
			(charge ? sched_charge : sched_release)(n->attempts[i]->job->campaign->sched, &n->sched);
}

struct ctl_attempt *work_adopt(struct ctl *c, struct ctl_node *n, const struct greta_attempt_row *row)
{
	struct ctl_campaign *cc = work_find(c, row->campaign_id);
	struct ctl_attempt *a = work_attempt_new(n, cc ? work_find_job(cc, row->job_id) : NULL);

	greta_str_copy(a->uuid, sizeof a->uuid, row->uuid);
	a->id = row->id;
	a->campaign_id = row->campaign_id;
	a->try_no = row->try_no;
	a->state = row->state;
	a->outcome = row->outcome;
	a->applied_seq = a->acknowledged_seq = row->committed_seq;
	a->progress.phase = row->phase;
	a->progress.t_s = NAN;
	if (a->job && work_is_open(a)) {
		a->job->n_open++;
		a->job->campaign->n_open++;
		a->cancel_asked = a->job->state == GRETA_JOB_CANCELLED;
		sched_charge(a->job->campaign->sched, &n->sched);
		a->charged = true;
	}
	return a;
}

static void attempt_destroy(struct ctl_attempt *a)
{
	free(a->verdict);
	free(a->waiting_for);
	free(a->slot);
	free(a->spec);
	greta_strs_release(&a->gpus);
	free(a);
}

void work_forget(struct ctl_attempt *a)
{
	struct ctl_node *n = a->node;

	for (size_t i = 0; i < n->n_attempts; i++) {
		if (n->attempts[i] != a)
			continue;
		n->attempts[i] = n->attempts[--n->n_attempts];
		break;
	}
	attempt_destroy(a);
}

void work_release(struct ctl *c)
{
	for (size_t i = 0; i < c->n_nodes; i++) {
		for (size_t k = 0; k < c->nodes[i]->n_attempts; k++)
			attempt_destroy(c->nodes[i]->attempts[k]);
		c->nodes[i]->n_attempts = 0;
	}
	while (c->campaigns) {
		struct ctl_campaign *cc = c->campaigns;

		c->campaigns = cc->next;
		work_campaign_destroy(cc);
	}
}

/* A node has not heard of it, or has not stopped it yet; one that can't even be tried never will. */
static bool is_being_cancelled(const struct ctl_node *n)
{
	for (size_t i = 0; n->link && i < n->n_attempts; i++)
		if (n->attempts[i]->cancel_asked && work_is_open(n->attempts[i]))
			return true;
	return false;
}

bool work_left(const struct ctl *c)
{
	for (const struct ctl_campaign *cc = c->campaigns; cc; cc = cc->next)
		if (cc->wanted && !cc->finished && !cc->hopeless)
			return true;
	for (size_t i = 0; i < c->n_nodes; i++)
		if (is_being_cancelled(c->nodes[i]))
			return true;
	return false;
}

static void detach_attempts(struct ctl *c, const struct ctl_campaign *cc)
{
	for (size_t i = 0; i < c->n_nodes; i++)
		for (size_t k = 0; k < c->nodes[i]->n_attempts; k++)
			if (c->nodes[i]->attempts[k]->job && c->nodes[i]->attempts[k]->job->campaign == cc)
				c->nodes[i]->attempts[k]->job = NULL;
}

void work_reap(struct ctl *c)
{
	struct ctl_campaign **at = &c->campaigns;

	while (*at) {
		struct ctl_campaign *cc = *at;

		if (!cc->finished || cc->n_open || c->batch.open || control_watched(c, cc->id)) {
			at = &cc->next;
			continue;
		}
		*at = cc->next;
		detach_attempts(c, cc);
		work_campaign_destroy(cc);
	}
}

/* ---- what is said to nodes, after the commit */

static void send_start(struct ctl_attempt *a)
{
	struct greta_spec spec = {0};
	struct greta_err why = {0};
	struct greta_msg m = {.type = GRETA_MSG_START, .spec = &spec, .printed_spec = a->spec, .seq = a->applied_seq};

	if (!a->spec && prepare_spec(a, &spec, &why) < 0)
		work_end_here(a, ATTEMPT_EV_REFUSED, GRETA_OUTCOME_INFRA, "spec", why.text);
	else
		a->start_re = link_ask(a->node->link, &m);
	greta_spec_release(&spec);
	free(a->spec);
	a->spec = NULL;
}

static void send_attempt(struct ctl_attempt *a, enum greta_msg_type type, const char *text)
{
	struct greta_msg m = {.type = type, .seq = a->applied_seq, .text = (char *)text};

	greta_str_copy(m.attempt, sizeof m.attempt, a->uuid);
	link_ask(a->node->link, &m);
}

void work_do(struct ctl_attempt *a)
{
	enum attempt_action todo = a->todo;

	a->todo = ATTEMPT_DO_NONE;
	switch (todo) {
	case ATTEMPT_DO_START:
		send_start(a);
		break;
	case ATTEMPT_DO_ATTACH:
	case ATTEMPT_DO_RECLAIM:
		a->credit = 0;
		send_attempt(a, GRETA_MSG_ATTACH, NULL);
		break;
	case ATTEMPT_DO_CANCEL:
		break;
	default:
		return;
	}
	if (a->cancel_asked)
		send_attempt(a, GRETA_MSG_CANCEL, "cancelled by a person");
}

void work_event(struct ctl_attempt *a, enum attempt_event ev)
{
	enum greta_attempt_state next;
	enum attempt_action action;

	if (!attempt_fsm_step(a->state, ev, &next, &action))
		return;
	a->state = next;
	if (action == ATTEMPT_DO_NONE)
		return;
	a->todo = action;
	batch_touch(a);
	batch_urgent(a->node->ctl);
}
