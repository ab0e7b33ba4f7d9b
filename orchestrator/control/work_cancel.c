/* A person says stop: to a job, a cell or a campaign. */
#include "orchestrator/control/work.h"

#include "base/str.h"

static bool matches(const struct ctl_job *job, const char *variant, int64_t context, int64_t repeat)
{
	return (!variant || greta_str_eq(variant, job->campaign->spec.variants[job->variant].name)) &&
	       (!context || context == job->context) && (repeat < 0 || repeat == job->repeat);
}

static void cancel_attempts(struct ctl *c, const struct ctl_job *job)
{
	for (size_t i = 0; i < c->n_nodes; i++) {
		struct ctl_node *n = c->nodes[i];

		for (size_t k = 0; k < n->n_attempts; k++) {
			if (n->attempts[k]->job != job || !work_is_open(n->attempts[k]))
				continue;
			n->attempts[k]->cancel_asked = true;
			work_event(n->attempts[k], ATTEMPT_EV_CANCEL);
		}
	}
}

static void cancel_job(struct ctl_job *job, const char *reason)
{
	enum greta_job_state next, was = job->state;
	enum job_action action;

	if (!job_fsm_step(was, JOB_EV_CANCEL, &next, &action) || next == was)
		return;
	work_set_job_state(job, next, reason);
	if (action == JOB_DO_DEQUEUE)
		sched_dequeue(&job->sched);
	else if (action == JOB_DO_STOP)
		cancel_attempts(job->campaign->ctl, job);
}

int work_cancel(struct ctl *c, struct ctl_campaign *cc, const char *variant, int64_t context, int64_t repeat,
		const char *reason, int64_t *n, struct greta_err *e)
{
	bool whole = !variant && !context && repeat < 0;

	*n = 0;
	if (batch_begin(c) < 0)
		return greta_err_set(e, GRETA_EFAIL, "the database can't be written just now");
	if (whole && greta_campaigns_cancel(c->db, cc->id, reason, e) < 0)
		return -1;
	cc->cancelled = cc->cancelled || whole;
	for (size_t i = 0; i < cc->n_jobs; i++) {
		struct ctl_job *job = &cc->jobs[i];

		if (job->state > GRETA_JOB_RUNNING || !matches(job, variant, context, repeat))
			continue;
		cancel_job(job, reason);
		++*n;
	}
	work_rca(cc);
	work_finish_if_done(cc);
	batch_urgent(c);
	return 0;
}
