/* A search for the cause of a hang: its jobs are all there from the start, and those that are not needed yet wait
 * outside the queue. What may run follows from the rows alone, so it is asked anew after each change and after a start.
 */
#include "orchestrator/control/work.h"

#include "base/mem.h"
#include "orchestrator/rca/rca_load.h"

static void skip(struct ctl_job *job, const char *reason)
{
	enum greta_job_state next;
	enum job_action action;

	if (!job_fsm_step(job->state, JOB_EV_SKIP, &next, &action))
		return;
	work_set_job_state(job, next, reason);
	sched_dequeue(&job->sched);
}

static void obey(struct ctl_job *job, enum rca_step step)
{
	bool in_queue = job->sched.set != NULL;

	if (rca_step_reason(step))
		skip(job, rca_step_reason(step));
	else if (step == RCA_STEP_RUN && !in_queue)
		sched_enqueue(job->campaign->sets[job->variant], &job->sched);
	else if (step == RCA_STEP_WAIT && in_queue)
		sched_dequeue(&job->sched);
}

void work_rca(struct ctl_campaign *cc)
{
	struct greta_err why = {0};
	struct rca rca;
	struct rca_state state;
	enum rca_step *steps;

	if (!cc->is_rca || !cc->wanted || cc->cancelled || cc->finished)
		return;
	if (rca_load(cc->ctl->db, cc->id, &rca, &why) < 0) {
		batch_fail(cc->ctl, &why);
		return;
	}
	steps = greta_alloc(rca.runs.n * sizeof *steps + 1);
	rca_decide(&rca.design, rca.runs.items, rca.runs.n, &state, steps);
	for (size_t i = 0; i < rca.runs.n; i++) {
		struct ctl_job *job = work_find_job(cc, rca.runs.items[i].job_id);

		if (job && job->state == GRETA_JOB_QUEUED && job->variant >= 0)
			obey(job, steps[i]);
	}
	free(steps);
	rca_release(&rca);
	work_finish_if_done(cc);
	ctl_dispatch_soon(cc->ctl);
}
