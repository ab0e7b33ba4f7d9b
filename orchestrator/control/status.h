/* status: what is going on, as one snapshot: made by the controller, sent over its socket, drawn by submit, watch,
 * status and top. Owned strings; greta's clocks: seconds are durations up to the moment the snapshot was made. */
#ifndef ORCHESTRATOR_CONTROL_STATUS_H
#define ORCHESTRATOR_CONTROL_STATUS_H

#include "base/jsonw.h"
#include "base/uuid.h"
#include "schemas/json.h"
#include "schemas/outcome.h"
#include "schemas/result.h"
#include <stdbool.h>
#include <stdint.h>

struct status_campaign {
	int64_t id;
	char *name, *state;
	int64_t n_jobs, n_queued, n_running, n_done, n_skipped, n_cancelled;
	int64_t ended_by[GRETA_OUTCOME_COUNT]; /* attempts that ended so */
	double elapsed_s;
	double eta_s, eta_low_s, eta_high_s;   /* eta_s NAN: only the range is known; all NAN: nothing is */
};

struct status_attempt {
	char uuid[GRETA_UUID_LEN + 1];
	int64_t campaign_id, job_id, context, repeat, try_no; /* repeat and try_no from 1 */
	char *variant, *node, *slot;           /* node: alias; slot: "gpu 3", "cpu" */
	struct greta_progress progress;
	double running_s, phase_s, since_progress_s;
	double eta_s;                          /* to the end of the attempt; NAN: not known */
	double budget_s;                       /* wall limit */
	char *verdict;                         /* "slow: layer 11 of 32, on course for 981 s of 1800 s"; NULL: none */
	char *waiting_for;                     /* a slot held by ...; NULL: not waiting */
};

struct status_node {
	char *name, *transport, *state, *reason; /* state: up, draining, quarantined, connecting, down */
	int64_t n_slots, n_busy;
	double rtt_s;
};

struct status {
	char *controller;                      /* host:pid */
	int64_t fence;
	struct status_campaign *campaigns;
	size_t n_campaigns, cap_campaigns;
	struct status_attempt *attempts;       /* running now; no more than were asked for, campaigns have their number */
	size_t n_attempts, cap_attempts;
	struct status_node *nodes;
	size_t n_nodes, cap_nodes;
	struct { char *text; int64_t wall_ns; } *news; /* since the last snapshot: finished jobs, lost links, verdicts */
	size_t n_news, cap_news;
};

void status_release(struct status *s);
void status_print(const struct status *s, struct greta_jsonw *w); /* members of an open object */
void status_parse(const struct greta_json_val *object, struct status *out);

#endif
