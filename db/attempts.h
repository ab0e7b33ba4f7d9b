/* attempts: executions of jobs, from plan to outcome. Each event of a node enters here exactly once.
 *
 *	planned -> dispatched -> running -> ended (-> pruned, its logs and telemetry dropped)
 *
 * An attempt may be ended by its node (an OUTCOME event), or by the controller (greta_attempts_end_here: lost, infra,
 * cancelled before it started). If the node comes back and reports after all, its word replaces the controller's.
 *
 * Which result counts: the first `ok` committed becomes job.counted_attempt; a later ok is kept with superseded = 1.
 * Two ok results of one job contradict each other when both say one of these, and say it differently: prompt_tokens,
 * attn_impl, top1; and logits_sha256, if build, model and kind of device (arch; the node, for runs without a device)
 * are the same. Then nobody knows which is true: both become `invalid` with cause `contradiction`, the job has no
 * counted result any more, and later results of that job become invalid likewise.
 */
#ifndef DB_ATTEMPTS_H
#define DB_ATTEMPTS_H

#include "base/err.h"
#include "base/uuid.h"
#include "db/db.h"
#include "schemas/msg.h"
#include "schemas/outcome.h"
#include <stdbool.h>
#include <stdint.h>

#define GRETA_ATTEMPT_STATES(X)         \
	X(PLANNED,    "planned")        \
	X(DISPATCHED, "dispatched")     \
	X(RUNNING,    "running")        \
	X(ENDED,      "ended")          \
	X(PRUNED,     "pruned")

enum greta_attempt_state {
#define X(id, name) GRETA_ATTEMPT_##id,
	GRETA_ATTEMPT_STATES(X)
#undef X
	GRETA_ATTEMPT_STATE_COUNT
};
const char *greta_attempt_state_name(enum greta_attempt_state s);

/* Where it runs and what it runs with; ids that are 0 and strings that are NULL: not known. */
struct greta_attempt_place {
	int64_t alias_id, node_id, environment_id, model_id, build_id;
	const char *boot_id;
};

struct greta_new_attempt {
	const char *uuid;               /* NULL: a new one is made (an import) */
	int64_t job_id;
	struct greta_attempt_place place;
	const char *spec;               /* JSON as it is sent, secrets redacted; NULL: none */
	int64_t planned_ns;             /* 0: now */
};
/* The job becomes `running`; try_no is one more than the job's last. The fence stored is the database's own. */
int greta_attempts_plan(struct greta_db *db, const struct greta_new_attempt *a, int64_t *attempt_id,
			struct greta_err *e);

/* What is not known leaves what is there. */
int greta_attempts_place(struct greta_db *db, int64_t attempt_id, const struct greta_attempt_place *p,
			 struct greta_err *e);

/* ---- events of the node */

enum greta_apply {
	GRETA_APPLY_STALE,              /* committed before: nothing was done; acknowledge it again */
	GRETA_APPLY_DONE,
	GRETA_APPLY_ENDED,              /* it was the outcome: see the rest of greta_applied */
};
struct greta_applied {
	enum greta_apply what;
	enum greta_outcome outcome;
	double wall_s;                  /* of an end: exec to exit; NAN: never started */
	bool counted;                   /* it is its job's counted result now */
	bool superseded;                /* a good result, but another came first */
	bool contradicts;               /* it contradicts the one that came first: see above */
	bool quarantined;               /* its end has left slots of the node in quarantine */
	bool unreadable;                /* it made no sense, was noted as such and passed over: see below */
};

/* In the transaction at hand, or its own. A seq beyond committed_seq + 1 is refused with EPROTO (attach again), which
 * changes nothing. What comes after an outcome is stale.
 *
 * An event whose kind is unknown or whose detail makes no sense would make none the next time either. It is noted in
 * the event table, {"unreadable": why}, and passed over; an outcome of that kind ends the attempt as `invalid`, cause
 * `unreadable`. So whoever tampers with a spool spoils that attempt and holds up nobody.
 *
 * `out` may be NULL. Controllers wrap many events in one transaction and acknowledge after its commit. */
int greta_attempts_apply(struct greta_db *db, int64_t attempt_id, const struct greta_event *ev,
			 struct greta_applied *out, struct greta_err *e);

/* The same for an outcome that no agent sent: an import. */
int greta_attempts_end(struct greta_db *db, int64_t attempt_id, const struct greta_end *end, struct greta_applied *out,
		       struct greta_err *e);

/* Ended by the controller's decision: lost, infra, cancelled, preempted. cause and reason may be NULL. */
int greta_attempts_end_here(struct greta_db *db, int64_t attempt_id, enum greta_outcome outcome, const char *cause,
			    const char *reason, struct greta_err *e);

/* A gate's judgement on a good attempt, after all its events: it becomes `invalid`, and its job loses its counted
 * result if this was it; the earliest superseded good one takes its place, and *now_counted is its id, else 0. */
int greta_attempts_reject(struct greta_db *db, int64_t attempt_id, const char *cause, const char *reason,
			  int64_t *now_counted, struct greta_err *e);

/* Why statistics leave it out (throttled, busy neighbour); NULL: they take it again. */
int greta_attempts_exclude(struct greta_db *db, int64_t attempt_id, const char *why, struct greta_err *e);

/* ---- reading */

struct greta_attempt_row {
	int64_t id, job_id, campaign_id, variant_id, context, repeat, try_no;
	char uuid[GRETA_UUID_LEN + 1];
	enum greta_attempt_state state;
	enum greta_outcome outcome;
	char *variant;
	char *cause, *reason;           /* NULL: none */
	bool counted, superseded;
	int64_t alias_id, node_id, fence, committed_seq;
	char *alias, *boot_id;          /* NULL: none */
	int64_t planned_ns, dispatched_ns, started_ns, ended_ns; /* 0: not yet; dispatched: its node
								    said so; started_ns is the node's clock */
	enum greta_phase phase;
	int64_t log_bytes;
};
struct greta_attempt_rows {
	struct greta_attempt_row *items;
	size_t n, cap;
};
void greta_attempt_row_release(struct greta_attempt_row *row);
void greta_attempt_rows_release(struct greta_attempt_rows *rows);

/* Those that have not ended, for a controller that takes up work: in the order they were planned. */
int greta_attempts_open(struct greta_db *db, struct greta_attempt_rows *out, struct greta_err *e);
int greta_attempts_get(struct greta_db *db, int64_t attempt_id, struct greta_attempt_row *out, struct greta_err *e);
/* which: a uuid, the start of one (8 characters or more), or an id. ENOENT. */
int greta_attempts_find(struct greta_db *db, const char *which, struct greta_attempt_row *out, struct greta_err *e);
int greta_attempts_spec(struct greta_db *db, int64_t attempt_id, struct greta_buf *out, struct greta_err *e);

/* For queries over attempt a: what its last sample says under a name, as text; NULL: nothing. */
#define GRETA_READING(name)                                                                                      \
	"(SELECT coalesce(s.text, CAST(CAST(s.value AS INTEGER) AS TEXT)) FROM sample s WHERE s.attempt_id = a.id " \
	"AND s.name = '" name "' ORDER BY s.sample_no DESC LIMIT 1)"

/* What was gathered before a kill: one text a name, its parts joined in order; a part that is missing is said so. */
int greta_evidence_read(struct greta_db *db, int64_t attempt_id, const char *name, struct greta_buf *out,
			struct greta_err *e);

#endif
