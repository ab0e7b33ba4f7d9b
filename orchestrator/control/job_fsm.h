/* job_fsm: how a job and an attempt of it move. One table each of (state, event) -> (next, action).
 *
 * A step is pure: it says what the next state is and what is to be done. The caller commits the next state first and
 * does the action afterwards; every action may be done again, which is what makes a crash between the two harmless.
 * A pair that is not in the table is refused and logged, never guessed.
 *
 *	attempt   planned -> dispatched -> running -> ended
 *	          in the     the node      engine     outcome
 *	          database   has its spool runs       in the database
 *
 * A controller that comes back asks each node what it holds; HELD or ABSENT for every attempt puts the two right with
 * each other. (`pruned` is an ended attempt whose logs a retention rule dropped: here no different.)
 */
#ifndef ORCHESTRATOR_CONTROL_JOB_FSM_H
#define ORCHESTRATOR_CONTROL_JOB_FSM_H

#include "db/attempts.h"
#include "db/jobs.h"
#include <stdbool.h>

#define ATTEMPT_EVENTS(X)                                                           \
	X(HELD,      "held")      /* the node says it has the spool */              \
	X(ABSENT,    "absent")    /* the node says it has no such spool */          \
	X(ACCEPTED,  "accepted")  /* the spec is durable on the node */             \
	X(STARTED,   "started")   /* the engine was executed */                     \
	X(OUTCOME,   "outcome")   /* the last event of the attempt */               \
	X(REFUSED,   "refused")   /* the node will not start it, and said why */    \
	X(LEASE_OUT, "lease_out") /* the node has been away too long */             \
	X(CANCEL,    "cancel")    /* a person asked */

#define ATTEMPT_ACTIONS(X)                                                              \
	X(NONE,     "none")                                                             \
	X(START,    "start")     /* send the spec */                                    \
	X(ATTACH,   "attach")    /* ask for events after the last committed one */      \
	X(CANCEL,   "cancel")    /* tell the node to stop it */                         \
	X(SETTLE,   "settle")    /* the slot is free; decide what becomes of the job */ \
	X(RESETTLE, "resettle")  /* a true outcome after one that we assumed */         \
	X(RECLAIM,  "reclaim")   /* acknowledge, or fetch what is missing */

#define JOB_EVENTS(X)                                                     \
	X(PLANNED, "planned")  /* an attempt of it was given a slot */    \
	X(GOOD,    "good")     /* an attempt ended ok */                  \
	X(RETRY,   "retry")    /* an attempt ended, another may follow */ \
	X(GAVE_UP, "gave_up")  /* an attempt ended, none will follow */   \
	X(SKIP,    "skip")     /* a gate keeps it from running */         \
	X(CANCEL,  "cancel")

#define JOB_ACTIONS(X)                                                  \
	X(NONE,    "none")                                              \
	X(ENQUEUE, "enqueue")  /* back into the queue */                \
	X(DEQUEUE, "dequeue")  /* out of the queue: it will not run */  \
	X(COUNT,   "count")    /* this attempt is the one that counts */ \
	X(FINISH,  "finish")   /* over, without a counted attempt */    \
	X(STOP,    "stop")     /* cancel its attempts */                \
	X(COMPARE, "compare")  /* a second ok: superseded, or a contradiction */

enum attempt_event {
#define X(id, name) ATTEMPT_EV_##id,
	ATTEMPT_EVENTS(X)
#undef X
	ATTEMPT_EVENT_COUNT
};

enum attempt_action {
#define X(id, name) ATTEMPT_DO_##id,
	ATTEMPT_ACTIONS(X)
#undef X
	ATTEMPT_ACTION_COUNT
};

enum job_event {
#define X(id, name) JOB_EV_##id,
	JOB_EVENTS(X)
#undef X
	JOB_EVENT_COUNT
};

enum job_action {
#define X(id, name) JOB_DO_##id,
	JOB_ACTIONS(X)
#undef X
	JOB_ACTION_COUNT
};

/* True and *next, *action set; or false when the table has no such edge (logged; the two untouched). */
bool attempt_fsm_step(enum greta_attempt_state state, enum attempt_event event, enum greta_attempt_state *next,
		      enum attempt_action *action);
bool job_fsm_step(enum greta_job_state state, enum job_event event, enum greta_job_state *next, enum job_action *action);

const char *attempt_event_name(enum attempt_event e);
const char *attempt_action_name(enum attempt_action a);
const char *job_event_name(enum job_event e);
const char *job_action_name(enum job_action a);

#endif
