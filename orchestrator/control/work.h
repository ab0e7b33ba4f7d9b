/* What the files of work share: campaigns, jobs and attempts in memory. What others may use is in ctl.h.
 *
 *	work.c          the lists, and what is said to nodes    work_settle.c   what becomes of attempts and jobs
 *	work_load.c     from the database, after a start        work_cancel.c   a person says stop
 *	work_place.c    put on nodes by sched                   work_rca.c      which jobs a search for a cause needs
 */
#ifndef ORCHESTRATOR_CONTROL_WORK_H
#define ORCHESTRATOR_CONTROL_WORK_H

#include "orchestrator/control/ctl.h"

struct ctl_set {
	struct ctl_campaign *campaign;
	int variant;
};

void work_campaign_destroy(struct ctl_campaign *cc);
struct ctl_job *work_find_job(const struct ctl_campaign *cc, int64_t id);
struct ctl_attempt *work_attempt_new(struct ctl_node *n, struct ctl_job *job);
bool work_is_open(const struct ctl_attempt *a);
bool work_set_allows(const struct sched_node *sn, const void *set); /* a sched_allows_fn */
void work_set_job_state(struct ctl_job *job, enum greta_job_state state, const char *reason);
void work_finish_if_done(struct ctl_campaign *cc);
void work_rca(struct ctl_campaign *cc); /* after each change; nothing for other campaigns */

#endif
