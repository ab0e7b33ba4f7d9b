/* What the files of control share: one connection, its arguments and answers.
 *
 *	control.c         the socket, lines in and out, which request is whose
 *	control_submit.c  submit, resume, cancel             control_watch.c   watch and status
 *	control_node.c    node_add, _state, _check, _ping    control_rca.c     rca
 */
#ifndef ORCHESTRATOR_CONTROL_CONTROL_CONN_H
#define ORCHESTRATOR_CONTROL_CONTROL_CONN_H

#include "orchestrator/control/ctl.h"
#include "orchestrator/plan/plan_order.h"
#include "schemas/json.h"

struct conn {
	struct control *control;
	struct conn *next;
	int fd;
	struct greta_watch *io;
	struct greta_buf in, out;
	bool closing;
	/* watch */
	bool watches, told_end;
	bool holds;              /* left only on purpose: submit and resume, not watch */
	int64_t campaign_id, period_ns, sent_ns, news_n;
	int64_t most_attempts;   /* that it wants to see in a snapshot ... */
	bool sees_up;            /* ... and nodes that are up */
	int64_t re;              /* of the request at hand */
	struct check *checks;    /* node_check, node_ping and node_state, waiting for the nodes */
};

struct control {
	struct ctl *ctl;
	int fd;
	struct greta_watch *accept;
	struct conn *conns;
	char *path;
};

void control_flush(struct conn *k);
void control_answer_error(struct conn *k, int64_t re, const struct greta_err *why);
void control_answer(struct conn *k, int64_t re, const struct greta_buf *members);

/* Arguments; NULL or `otherwise` where there is none. */
const char *control_str(const struct greta_json_val *args, const char *key);
int64_t control_i64(const struct greta_json_val *args, const char *key, int64_t otherwise);
/* An id or a name, as greta_campaigns_find has it. */
int control_campaign(struct ctl *c, const struct greta_json_val *args, int64_t *id, struct greta_err *e);

void control_note_detached(struct ctl *c, const struct greta_json_val *args);
void control_note(struct ctl *c, const char *what, const struct greta_json_val *args); /* who asked for what */

/* Stores the campaign whose text, kind, submitted_by and base_dir are in *row, and begins it. jobs NULL: the whole matrix
 * of its file. In the batch of the request. */
int control_take_campaign(struct ctl *c, const char *name, struct greta_new_campaign *row, const struct plan *jobs,
			  struct greta_jsonw *reply, struct greta_err *e);

/* Requests: 0 answered with what `reply` holds, 1 answered later, -1 refused. */
typedef int control_fn(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e);
control_fn control_submit, control_resume, control_cancel;
control_fn control_rca;
control_fn control_watch, control_status;
control_fn control_node_add, control_node_state, control_node_check, control_node_ping;

void control_forget_checks(struct conn *k); /* it goes away */
void control_send_end(struct conn *k, const char *state, const char *why);

#endif
