/* Events into the database, acknowledgements out, in groups.
 *
 * A batch is one transaction. It opens with the first change and commits 1 ms after something urgent came to wait for it
 * (an attempt to be sent, an outcome, output for which the node wants credit), else after 50 ms. The one after the next
 * has to wait: a commit costs as much as all else that a short attempt takes, so that no more than a tenth of the time
 * goes into them, as long as that holds nothing up for more than 10 ms. A slow disk, or a busy fleet, gets fewer and
 * larger ones. After the commit, and only then, nodes are told: acknowledgements, starts, cancellations. */
#include "orchestrator/control/ctl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "schemas/json.h"

#include <string.h>

#define BATCH_MS 50
#define BATCH_URGENT_MS 1
#define BATCH_REST 9 /* times what the last commit took ... */
#define BATCH_REST_MOST_NS (10 * GRETA_NS_PER_MS)
#define CREDIT_STEP (64 * 1024)
#define ACKNOWLEDGE_EVERY 256 /* events; only that of the outcome matters to the node */

static void on_batch_due(struct greta_watch *w, uint32_t events, void *arg)
{
	struct ctl *c = arg;
	struct greta_err why = {0};

	(void)w;
	(void)events;
	ctl_dispatch(c);
	if (batch_commit(c, &why) < 0)
		batch_fail(c, &why);
}

static void batch_due(struct ctl *c, int64_t ms)
{
	if (!c->batch.timer)
		c->batch.timer = greta_loop_timer(c->loop, ms, 0, on_batch_due, c);
	else
		greta_watch_rearm(c->batch.timer, ms);
}

static int64_t paced(const struct ctl *c, int64_t ms)
{
	int64_t rest_ms = (c->batch.rest_ns - greta_clock_mono_ns()) / GRETA_NS_PER_MS;

	return ms > rest_ms ? ms : rest_ms;
}

int batch_begin(struct ctl *c)
{
	struct greta_err why = {0};

	if (c->batch.broken)
		return -1;
	if (c->batch.open)
		return 0;
	c->batch.txn = greta_txn_none;
	if (greta_txn_begin(c->db, &c->batch.txn, &why) < 0) {
		batch_fail(c, &why);
		return -1;
	}
	c->batch.open = true;
	c->batch.urgent = false;
	batch_due(c, paced(c, BATCH_MS));
	return 0;
}

void batch_urgent(struct ctl *c)
{
	if (!c->batch.open || c->batch.urgent)
		return;
	c->batch.urgent = true;
	batch_due(c, paced(c, BATCH_URGENT_MS));
}

void batch_touch(struct ctl_attempt *a)
{
	struct ctl *c = a->node->ctl;

	if (a->touched)
		return;
	a->touched = true;
	*GRETA_PUSH(c->batch.touched, c->batch.n_touched, c->batch.cap_touched) = a;
}

void batch_facts(struct ctl_node *n)
{
	n->facts_due = n->ctl->batch.facts_due = true;
	batch_urgent(n->ctl);
}

/* What a node keeps out of use belongs to its answer, and mostly comes first, but need not. */
static void answer_facts(struct ctl *c)
{
	if (!c->batch.facts_due)
		return;
	c->batch.facts_due = false;
	for (size_t i = 0; i < c->n_nodes; i++) {
		struct ctl_node *n = c->nodes[i];

		if (n->facts_due && n->quarantine_re) {
			c->batch.facts_due = true;
			continue;
		}
		if (n->facts_due)
			control_facts(c, n);
		n->facts_due = false;
	}
}

static void acknowledge(struct ctl_attempt *a)
{
	struct greta_msg m = {.type = GRETA_MSG_ACK, .seq = a->applied_seq};

	int64_t re;

	greta_str_copy(m.attempt, sizeof m.attempt, a->uuid);
	re = link_ask(a->node->link, &m);
	if (!re)
		return;
	a->acknowledged_seq = a->applied_seq;
	a->node->ack_re = re;
}

static void give_credit(struct ctl_attempt *a)
{
	struct greta_msg m = {.type = GRETA_MSG_CREDIT, .credit_bytes = a->credit};

	greta_str_copy(m.attempt, sizeof m.attempt, a->uuid);
	if (link_send(a->node->link, &m))
		a->credit = 0;
}

/* What the commit allows to be said. The acknowledgement of an outcome frees the spool there; if the link is down just
 * now, the node will list the attempt when it is back, and is told then. */
static void after_commit(struct ctl_attempt *a)
{
	bool final = a->final; /* one that can't be started ends now, which is not stored yet */

	a->touched = false;
	if (final || a->applied_seq - a->acknowledged_seq >= ACKNOWLEDGE_EVERY)
		acknowledge(a);
	if (a->credit >= CREDIT_STEP && !final)
		give_credit(a);
	if (final)
		work_forget(a);
	else
		work_do(a);
}

int batch_commit(struct ctl *c, struct greta_err *e)
{
	struct ctl_attempt **touched = c->batch.touched;
	size_t n = c->batch.n_touched;
	int64_t begun_ns = greta_clock_mono_ns(), ended_ns, rest_ns;

	if (!c->batch.open)
		return 0;
	if (greta_txn_commit(&c->batch.txn, e) < 0)
		return -1;
	ended_ns = greta_clock_mono_ns();
	rest_ns = BATCH_REST * (ended_ns - begun_ns);
	c->batch.rest_ns = ended_ns + (rest_ns < BATCH_REST_MOST_NS ? rest_ns : BATCH_REST_MOST_NS);
	c->batch.open = false;
	c->n_commits++;
	c->batch.touched = NULL;
	c->batch.n_touched = c->batch.cap_touched = 0;
	for (size_t i = 0; i < n; i++)
		after_commit(touched[i]);
	if (c->batch.touched) {
		free(touched);
	} else {
		c->batch.touched = touched;
		c->batch.cap_touched = n;
	}
	answer_facts(c);
	return 0;
}

void batch_undo(struct ctl *c)
{
	for (size_t i = 0; i < c->batch.n_touched; i++)
		c->batch.touched[i]->touched = false;
	c->batch.n_touched = 0;
	greta_txn_release(&c->batch.txn);
	c->batch.open = false;
}

/* Fenced: somebody else has the database, and everything here is history. Anything else (a full disk, mostly): memory
 * no longer says what the database says, so the controller starts over from the database. */
void batch_fail(struct ctl *c, const struct greta_err *why)
{
	if (c->batch.broken)
		return;
	c->batch.broken = true;
	greta_error("database %s: %s", c->db_path, why->text);
	ctl_stop(c, why);
}

void batch_release(struct ctl *c)
{
	greta_watch_remove(c->batch.timer);
	c->batch.timer = NULL;
	if (c->batch.open)
		greta_txn_release(&c->batch.txn);
	c->batch.open = c->batch.urgent = c->batch.broken = false;
	free(c->batch.touched);
	c->batch.touched = NULL;
	c->batch.n_touched = c->batch.cap_touched = 0;
}

/* ---- what people see of an event */

static char *detail_str(const struct greta_event *ev, const char *key)
{
	struct greta_json *j = greta_json_parse("event", ev->detail, strlen(ev->detail), NULL);
	const char *s;
	char *copy = NULL;

	if (j && greta_json_str(greta_json_get(greta_json_root(j), key), &s) == 0)
		copy = greta_strdup(s);
	greta_json_destroy(j);
	return copy;
}

static void replace(char **at, char *with)
{
	free(*at);
	*at = with;
}

static void see_progress(struct ctl_attempt *a, const struct greta_event *ev, int64_t now)
{
	struct greta_progress p;

	if (greta_progress_parse(ev->detail, strlen(ev->detail), &p, NULL) < 0)
		return;
	if (p.phase != a->progress.phase)
		a->phase_ns = now;
	a->progress = p;
	a->progress_ns = now;
}

static void see_gpus(struct ctl_attempt *a, const struct greta_event *ev)
{
	struct greta_json *j = greta_json_parse("event", ev->detail, strlen(ev->detail), NULL);
	const struct greta_json_val *list = j ? greta_json_get(greta_json_root(j), "devices") : NULL;
	const char *uuid;

	greta_strs_release(&a->gpus);
	for (const struct greta_json_val *v = list ? greta_json_first(list) : NULL; v; v = greta_json_next(v))
		if (greta_json_str(v, &uuid) == 0)
			greta_strs_add(&a->gpus, uuid);
	greta_json_destroy(j);
}

/* "gpu 0,1" by the node's own numbering, "cpu" where it took no device. */
static char *slot_text(const struct ctl_attempt *a)
{
	struct greta_buf out = {0};

	for (size_t g = 0; g < a->gpus.n; g++)
		for (size_t i = 0; i < a->node->facts.n_devices; i++)
			if (greta_str_eq(a->gpus.items[g], a->node->facts.devices[i].uuid))
				greta_buf_addf(&out, out.len ? ",%zu" : "gpu %zu", i);
	if (!out.len)
		greta_buf_adds(&out, a->job && a->job->campaign->need.whole_node ? "node" : "cpu");
	return greta_buf_steal(&out);
}

static void see(struct ctl_attempt *a, const struct greta_event *ev)
{
	int64_t now = greta_clock_mono_ns();

	switch (ev->kind) {
	case GRETA_EVENT_WAITING:
		replace(&a->waiting_for, detail_str(ev, "for"));
		break;
	case GRETA_EVENT_STARTED:
		replace(&a->waiting_for, NULL);
		see_gpus(a, ev);
		replace(&a->slot, slot_text(a));
		a->started_ns = a->phase_ns = a->progress_ns = now;
		break;
	case GRETA_EVENT_PROGRESS:
		see_progress(a, ev, now);
		break;
	case GRETA_EVENT_VERDICT:
		replace(&a->verdict, detail_str(ev, "text"));
		if (a->verdict)
			news_add(a->node->ctl, a->job ? a->job->campaign->id : 0, "%s: %s", a->node->name, a->verdict);
		break;
	default:
		break;
	}
}

/* ---- events */

static bool is_bulk(enum greta_event_kind kind)
{
	return kind == GRETA_EVENT_LOG || kind == GRETA_EVENT_TELEMETRY || kind == GRETA_EVENT_EVIDENCE;
}

/* An attempt that is not in memory: called lost and given up, or of a campaign that ended. Its word still counts. */
static struct ctl_attempt *attempt_of(struct ctl_node *n, const char *uuid)
{
	struct ctl_attempt *a = work_attempt(n, uuid);
	struct greta_attempt_row row = {0};
	struct greta_err why = {0};

	if (a)
		return a;
	if (greta_attempts_find(n->ctl->db, uuid, &row, &why) < 0) {
		greta_warn("%s: event of attempt %s, which this database does not know: %s", n->name, uuid, why.text);
		return NULL;
	}
	a = work_adopt(n->ctl, n, &row);
	greta_attempt_row_release(&row);
	return a;
}

static void attach_again(struct ctl_attempt *a)
{
	struct greta_msg m = {.type = GRETA_MSG_ATTACH, .seq = a->applied_seq};

	greta_str_copy(m.attempt, sizeof m.attempt, a->uuid);
	a->credit = 0;
	link_ask(a->node->link, &m);
}

static void applied(struct ctl_attempt *a, const struct greta_event *ev, const struct greta_applied *out)
{
	a->applied_seq = ev->seq;
	see(a, ev);
	if (ev->kind == GRETA_EVENT_ACCEPTED)
		work_event(a, ATTEMPT_EV_ACCEPTED);
	else if (ev->kind == GRETA_EVENT_STARTED)
		work_event(a, ATTEMPT_EV_STARTED);
	else if (out->what == GRETA_APPLY_ENDED)
		work_settle(a, out);
}

void ingest_event(struct ctl_node *n, const struct greta_event *ev, size_t frame_bytes)
{
	struct ctl *c = n->ctl;
	struct ctl_attempt *a = attempt_of(n, ev->attempt);
	struct greta_applied out = {0};
	struct greta_err why = {0};

	if (!a || batch_begin(c) < 0)
		return;
	if (is_bulk(ev->kind))
		a->credit += (int64_t)frame_bytes;
	if (a->credit >= CREDIT_STEP)
		batch_urgent(c);
	if (greta_attempts_apply(c->db, a->id, ev, &out, &why) < 0) {
		/* The node's word and ours do not fit together: from the last that we have, once more. */
		if (why.code == GRETA_EPROTO) {
			greta_warn("%s: attempt %s: %s", n->name, a->uuid, why.text);
			attach_again(a);
		} else {
			batch_fail(c, &why);
		}
		return;
	}
	batch_touch(a);
	if (out.what != GRETA_APPLY_STALE)
		applied(a, ev, &out);
	if (out.what == GRETA_APPLY_ENDED) {
		batch_urgent(c);
	} else if (ev->kind == GRETA_EVENT_OUTCOME) { /* here already: its acknowledgement did not arrive */
		a->applied_seq = ev->seq;
		a->final = true;
	}
}
