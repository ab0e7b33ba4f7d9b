#include "orchestrator/control/job_fsm.h"

#include "base/log.h"

struct edge {
	bool known; /* tells an edge to state 0 with action 0 from no edge */
	unsigned char next, action;
};

#define A(state, act) { true, GRETA_ATTEMPT_##state, ATTEMPT_DO_##act }
#define J(state, act) { true, GRETA_JOB_##state, JOB_DO_##act }

/* An attempt whose spool is gone before its engine started is sent again: it may have run (a wiped /var/tmp), which is
 * allowed. One that was running is lost, since its result can't come any more. */
static const struct edge attempt_edges[GRETA_ATTEMPT_STATE_COUNT][ATTEMPT_EVENT_COUNT] = {
	[GRETA_ATTEMPT_PLANNED] = {
		[ATTEMPT_EV_HELD] = A(PLANNED, ATTACH),
		[ATTEMPT_EV_ABSENT] = A(PLANNED, START),
		[ATTEMPT_EV_ACCEPTED] = A(DISPATCHED, NONE),
		[ATTEMPT_EV_STARTED] = A(RUNNING, NONE),
		[ATTEMPT_EV_OUTCOME] = A(ENDED, SETTLE),
		[ATTEMPT_EV_REFUSED] = A(ENDED, SETTLE),
		[ATTEMPT_EV_LEASE_OUT] = A(ENDED, SETTLE),
		[ATTEMPT_EV_CANCEL] = A(PLANNED, CANCEL),
	},
	[GRETA_ATTEMPT_DISPATCHED] = {
		[ATTEMPT_EV_HELD] = A(DISPATCHED, ATTACH),
		[ATTEMPT_EV_ABSENT] = A(DISPATCHED, START),
		[ATTEMPT_EV_ACCEPTED] = A(DISPATCHED, NONE),
		[ATTEMPT_EV_STARTED] = A(RUNNING, NONE),
		[ATTEMPT_EV_OUTCOME] = A(ENDED, SETTLE),
		[ATTEMPT_EV_REFUSED] = A(ENDED, SETTLE),
		[ATTEMPT_EV_LEASE_OUT] = A(ENDED, SETTLE),
		[ATTEMPT_EV_CANCEL] = A(DISPATCHED, CANCEL),
	},
	[GRETA_ATTEMPT_RUNNING] = {
		[ATTEMPT_EV_HELD] = A(RUNNING, ATTACH),
		[ATTEMPT_EV_ABSENT] = A(ENDED, SETTLE),
		[ATTEMPT_EV_ACCEPTED] = A(RUNNING, NONE),
		[ATTEMPT_EV_STARTED] = A(RUNNING, NONE),
		[ATTEMPT_EV_OUTCOME] = A(ENDED, SETTLE),
		[ATTEMPT_EV_LEASE_OUT] = A(ENDED, SETTLE),
		[ATTEMPT_EV_CANCEL] = A(RUNNING, CANCEL),
	},
	[GRETA_ATTEMPT_ENDED] = {
		[ATTEMPT_EV_HELD] = A(ENDED, RECLAIM),
		[ATTEMPT_EV_ABSENT] = A(ENDED, NONE),
		[ATTEMPT_EV_ACCEPTED] = A(ENDED, NONE),
		[ATTEMPT_EV_STARTED] = A(ENDED, NONE),
		[ATTEMPT_EV_OUTCOME] = A(ENDED, RESETTLE),
		[ATTEMPT_EV_LEASE_OUT] = A(ENDED, NONE),
		[ATTEMPT_EV_CANCEL] = A(ENDED, NONE),
	},
	[GRETA_ATTEMPT_PRUNED] = {
		[ATTEMPT_EV_ABSENT] = A(PRUNED, NONE),
		[ATTEMPT_EV_HELD] = A(PRUNED, RECLAIM),
		[ATTEMPT_EV_LEASE_OUT] = A(PRUNED, NONE),
		[ATTEMPT_EV_CANCEL] = A(PRUNED, NONE),
	},
};

/* A late ok of an attempt that was called lost counts if nothing else did, also while its successor waits or runs. */
static const struct edge job_edges[GRETA_JOB_STATE_COUNT][JOB_EVENT_COUNT] = {
	[GRETA_JOB_QUEUED] = {
		[JOB_EV_PLANNED] = J(RUNNING, NONE),
		[JOB_EV_GOOD] = J(DONE, COUNT),
		[JOB_EV_RETRY] = J(QUEUED, NONE),
		[JOB_EV_GAVE_UP] = J(QUEUED, NONE),
		[JOB_EV_SKIP] = J(SKIPPED, DEQUEUE),
		[JOB_EV_CANCEL] = J(CANCELLED, DEQUEUE),
	},
	[GRETA_JOB_RUNNING] = {
		[JOB_EV_GOOD] = J(DONE, COUNT),
		[JOB_EV_RETRY] = J(QUEUED, ENQUEUE),
		[JOB_EV_GAVE_UP] = J(DONE, FINISH),
		[JOB_EV_CANCEL] = J(CANCELLED, STOP),
	},
	[GRETA_JOB_DONE] = {
		[JOB_EV_GOOD] = J(DONE, COMPARE),
		[JOB_EV_RETRY] = J(DONE, NONE),
		[JOB_EV_GAVE_UP] = J(DONE, NONE),
		[JOB_EV_CANCEL] = J(DONE, NONE),
	},
	[GRETA_JOB_SKIPPED] = {
		[JOB_EV_SKIP] = J(SKIPPED, NONE),
		[JOB_EV_CANCEL] = J(SKIPPED, NONE),
	},
	[GRETA_JOB_CANCELLED] = {
		[JOB_EV_GOOD] = J(CANCELLED, NONE),
		[JOB_EV_RETRY] = J(CANCELLED, NONE),
		[JOB_EV_GAVE_UP] = J(CANCELLED, NONE),
		[JOB_EV_CANCEL] = J(CANCELLED, NONE),
	},
};

#define NAMES(fn, type, LIST)                              \
	static const char *const fn##_text[] = {LIST(X)}; \
	const char *fn##_name(type v)                       \
	{                                                   \
		return fn##_text[v];                        \
	}

#define X(id, name) name,
NAMES(attempt_event, enum attempt_event, ATTEMPT_EVENTS)
NAMES(attempt_action, enum attempt_action, ATTEMPT_ACTIONS)
NAMES(job_event, enum job_event, JOB_EVENTS)
NAMES(job_action, enum job_action, JOB_ACTIONS)
#undef X

bool attempt_fsm_step(enum greta_attempt_state state, enum attempt_event event, enum greta_attempt_state *next,
		      enum attempt_action *action)
{
	const struct edge *edge = &attempt_edges[state][event];

	if (!edge->known) {
		greta_warn("attempt: %s while %s: no such step, ignored", attempt_event_name(event),
			   greta_attempt_state_name(state));
		return false;
	}
	*next = edge->next;
	*action = edge->action;
	return true;
}

bool job_fsm_step(enum greta_job_state state, enum job_event event, enum greta_job_state *next, enum job_action *action)
{
	const struct edge *edge = &job_edges[state][event];

	if (!edge->known) {
		greta_warn("job: %s while %s: no such step, ignored", job_event_name(event), greta_job_state_name(state));
		return false;
	}
	*next = edge->next;
	*action = edge->action;
	return true;
}
