/* What becomes of an attempt that ended, of its job, its node and its campaign. */
#include "orchestrator/control/work.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "orchestrator/analysis/validity.h"
#include "orchestrator/control/gates.h"

#include <stdio.h>

#define TRIES_MAX 20     /* of one job, free retries included: never infinite */
#define INFRA_IN_A_ROW 6 /* then the node is put aside */

void work_set_job_state(struct ctl_job *job, enum greta_job_state state, const char *reason)
{
	struct ctl_campaign *cc = job->campaign;
	struct greta_err why = {0};

	cc->counts.by_state[job->state]--;
	cc->counts.by_state[state]++;
	job->state = state;
	if (greta_jobs_set_state(cc->ctl->db, job->id, state, reason, &why) < 0)
		batch_fail(cc->ctl, &why);
}

static int judge_results(struct ctl_campaign *cc, struct greta_err *e)
{
	struct ctl *c = cc->ctl;
	int64_t n_rejected = 0, n_marked = 0;

	if ((!cc->cancelled && gates_apply(c->db, cc->id, &cc->spec, &n_rejected, e) < 0) ||
	    validity_judge(c->db, cc->id, &n_marked, e) < 0)
		return -1;
	if (n_rejected)
		news_add(c, cc->id, "%lld results did not pass the campaign's gates", (long long)n_rejected);
	if (n_marked)
		news_add(c, cc->id, "%lld results are marked and left out of the statistics (greta-orch results %lld says why)",
			 (long long)n_marked, (long long)cc->id);
	return 0;
}

void work_finish_if_done(struct ctl_campaign *cc)
{
	struct greta_err why = {0};

	if (cc->finished || cc->n_open || cc->counts.by_state[GRETA_JOB_QUEUED] ||
	    cc->counts.by_state[GRETA_JOB_RUNNING])
		return;
	if (judge_results(cc, &why) < 0 || (!cc->cancelled && greta_campaigns_finish(cc->ctl->db, cc->id, &why) < 0)) {
		batch_fail(cc->ctl, &why);
		return;
	}
	cc->finished = true;
	batch_urgent(cc->ctl);
}

/* A result that counts although its campaign had done without it. */
static void judge_late(const struct ctl_attempt *a)
{
	struct ctl *c = a->node->ctl;
	struct ctl_campaign *cc = work_find(c, a->campaign_id);
	struct greta_err why = {0};

	if (!cc) {
		cc = work_add(c, a->campaign_id, &why);
		if (cc)
			cc->finished = true;
	}
	if (!cc)
		greta_warn("a late result of campaign %lld passed no gate: %s", (long long)a->campaign_id, why.text);
	else if (cc->finished && judge_results(cc, &why) < 0)
		batch_fail(c, &why);
}

/* Somewhere else to go. Of a pool's machines one that failed need not be the next; a placement leaves no choice. */
bool work_elsewhere(const struct ctl_job *job, const struct ctl_node *n)
{
	const struct ctl *c = n->ctl;

	if (job->campaign->spec.placement != GRETA_PLACEMENT_ANY)
		return false;
	for (size_t i = 0; i < c->n_nodes && !n->settings.slurm; i++) {
		const struct ctl_node *o = c->nodes[i];

		if (o != n && o->state == GRETA_ALIAS_UP && !o->twin && work_may_use_for(job->campaign, job->variant, o))
			return true;
	}
	return false;
}

static void job_step(struct ctl_job *job, enum job_event ev, struct ctl_attempt *a, const char *reason)
{
	enum greta_job_state next, was = job->state;
	enum job_action action;

	if (!job_fsm_step(job->state, ev, &next, &action))
		return;
	if (next != was)
		work_set_job_state(job, next, reason);
	if (action == JOB_DO_ENQUEUE) {
		job->sched.avoid = a && work_elsewhere(job, a->node) ? &a->node->sched : NULL;
		if (job->campaign->wanted)
			sched_enqueue(job->campaign->sets[job->variant], &job->sched);
	}
	if (was == GRETA_JOB_QUEUED && next != GRETA_JOB_QUEUED)
		sched_dequeue(&job->sched);
	work_rca(job->campaign);
	work_finish_if_done(job->campaign);
}

static enum job_event what_next(const struct ctl_job *job, enum greta_outcome outcome)
{
	int64_t tries[GRETA_OUTCOME_COUNT] = {0}, all = 0;
	struct greta_err why = {0};
	int allowed = job->campaign->spec.retries[outcome];

	if (outcome == GRETA_OUTCOME_GOOD)
		return JOB_EV_GOOD;
	if (greta_jobs_tries(job->campaign->ctl->db, job->id, tries, &why) < 0) {
		batch_fail(job->campaign->ctl, &why);
		return JOB_EV_GAVE_UP;
	}
	for (size_t i = 0; i < GRETA_OUTCOME_COUNT; i++)
		all += tries[i];
	if (all < TRIES_MAX && (allowed < 0 || tries[outcome] <= allowed))
		return JOB_EV_RETRY;
	return JOB_EV_GAVE_UP;
}

static void free_slot(struct ctl_attempt *a)
{
	if (a->charged)
		sched_release(a->job->campaign->sched, &a->node->sched);
	a->charged = false;
	ctl_dispatch_soon(a->node->ctl);
}

static char *reason_of(struct ctl_attempt *a, enum greta_outcome outcome)
{
	struct greta_attempt_row row = {0};
	char *reason = NULL;

	if (outcome == GRETA_OUTCOME_GOOD || greta_attempts_get(a->node->ctl->db, a->id, &row, NULL) < 0)
		return NULL;
	reason = greta_format("%s%s%s", greta_outcome_name(outcome), row.reason ? ": " : "",
			      row.reason ? row.reason : "");
	greta_attempt_row_release(&row);
	return reason;
}

static void tell(const struct ctl_attempt *a, enum greta_outcome outcome, bool again, const char *reason)
{
	const struct ctl_campaign *cc = a->job->campaign;
	char took[64] = "", text[32];

	/* Not by our clock: a short attempt's start and end come together. */
	if (a->wall_s > 0)
		snprintf(took, sizeof took, ", %s", greta_str_seconds(text, sizeof text, a->wall_s));
	news_add(cc->ctl, cc->id, "%s context %lld repeat %lld on %s: %s%s%s", cc->spec.variants[a->job->variant].name,
		 (long long)a->job->context, (long long)a->job->repeat + 1, a->node->name,
		 reason ? reason : greta_outcome_name(outcome), took, again ? " (tried again)" : "");
}

/* A node that can't start anything would burn every job's retries. */
static void judge_node(struct ctl_node *n, enum greta_outcome outcome, const char *reason)
{
	struct greta_err why = {0};
	char text[300];

	if (outcome != GRETA_OUTCOME_INFRA) {
		n->n_infra = 0;
		return;
	}
	if (++n->n_infra < INFRA_IN_A_ROW || n->state != GRETA_ALIAS_UP)
		return;
	snprintf(text, sizeof text, "%d attempts in a row could not start, the last: %s", n->n_infra,
		 reason ? reason : "no reason given");
	if (fleet_set_state(n->ctl, n, GRETA_ALIAS_QUARANTINED, text, &why) < 0)
		batch_fail(n->ctl, &why);
}

/* Free retries end, too. */
static void say_enough(char **reason)
{
	char *more = greta_format("%s; not tried again after %d attempts", *reason, TRIES_MAX);

	free(*reason);
	*reason = more;
}

/* Where another node is as good: what ended it may still be going on there. */
static bool goes_elsewhere(enum greta_outcome o)
{
	return o == GRETA_OUTCOME_INFRA || o == GRETA_OUTCOME_LOST || o == GRETA_OUTCOME_COLLATERAL;
}

static void settle(struct ctl_attempt *a, enum attempt_event ev, enum greta_outcome outcome)
{
	bool was_open = work_is_open(a), decides;
	cleanup_free char *reason = NULL;
	enum greta_attempt_state next;
	enum attempt_action action;
	enum job_event job_ev;

	if (!attempt_fsm_step(a->state, ev, &next, &action))
		return;
	a->state = next;
	batch_touch(a);
	batch_urgent(a->node->ctl);
	reason = reason_of(a, outcome);
	judge_node(a->node, outcome, reason);
	if (!a->job)
		return;
	if (a->gpus.n)
		gpus_count(a->job, a->gpus.items[0],
			   (outcome == GRETA_OUTCOME_GOOD) - (was_open || a->outcome == GRETA_OUTCOME_GOOD));
	if (was_open) {
		a->job->n_open--;
		a->job->campaign->n_open--;
	} else {
		a->job->campaign->counts.attempts[a->outcome]--;
	}
	free_slot(a);
	a->outcome = outcome;
	a->job->campaign->counts.attempts[outcome]++;
	if (outcome == GRETA_OUTCOME_GOOD && a->started_ns)
		eta_add(a->job->campaign->eta, (size_t)a->job->variant, a->job->context,
			(double)(greta_clock_mono_ns() - a->planned_ns) / 1e9, false);
	job_ev = what_next(a->job, outcome);
	if (job_ev == JOB_EV_GAVE_UP && a->job->campaign->spec.retries[outcome] < 0)
		say_enough(&reason);
	/* Of one that was called lost, when its successor is on its way already. */
	decides = job_ev == JOB_EV_GOOD || a->job->n_open == 0;
	tell(a, outcome, decides && job_ev == JOB_EV_RETRY, reason);
	if (decides)
		job_step(a->job, job_ev, goes_elsewhere(outcome) ? a : NULL, reason);
}

void work_settle(struct ctl_attempt *a, const struct greta_applied *applied)
{
	bool late = !a->job || a->job->campaign->finished;

	a->final = true;
	if (applied->quarantined) {
		quarantine_ask(a->node);
		fleet_resize(a->node); /* nothing goes there before the answer */
	}
	a->wall_s = applied->wall_s;
	settle(a, ATTEMPT_EV_OUTCOME, applied->outcome);
	if (late && applied->counted)
		judge_late(a);
	if (applied->contradicts)
		news_add(a->node->ctl, a->job ? a->job->campaign->id : 0,
			 "%s: two results of one job contradict each other: neither counts", a->node->name);
}

void work_end_here(struct ctl_attempt *a, enum attempt_event ev, enum greta_outcome outcome, const char *cause,
		   const char *reason)
{
	struct ctl *c = a->node->ctl;
	struct greta_err why = {0};

	if (!work_is_open(a) || batch_begin(c) < 0)
		return;
	if (greta_attempts_end_here(c->db, a->id, outcome, cause, reason, &why) < 0) {
		batch_fail(c, &why);
		return;
	}
	settle(a, ev, outcome);
	/* One that may still come back stays known; the others are done with. */
	a->final = ev != ATTEMPT_EV_LEASE_OUT;
}
