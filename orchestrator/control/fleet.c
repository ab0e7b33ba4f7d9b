/* Nodes: who they are, whether they can be reached, and what they hold. */
#include "orchestrator/control/ctl.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "orchestrator/control/slurm.h"

#include <string.h>

#define AGAIN_MS 5000
#define HOPELESS_NS (30 * GRETA_NS_PER_S) /* for nodes that never answered */

/* ---- finding */

struct ctl_node *fleet_find(struct ctl *c, const char *name)
{
	for (size_t i = 0; i < c->n_nodes; i++)
		if (greta_str_eq(c->nodes[i]->name, name))
			return c->nodes[i];
	return NULL;
}

struct ctl_node *fleet_by_alias(struct ctl *c, int64_t alias_id)
{
	for (size_t i = 0; i < c->n_nodes; i++)
		if (c->nodes[i]->alias_id == alias_id)
			return c->nodes[i];
	return NULL;
}

static void judge_open(struct ctl_node *n)
{
	bool open = n->link && link_state(n->link) == LINK_UP && n->facts_known && !n->list_re && !n->quarantine_re &&
		    !n->twin && n->state == GRETA_ALIAS_UP && !quarantine_has(n, "node");

	if (open && !n->sched.open)
		ctl_dispatch_soon(n->ctl);
	n->sched.open = open;
	if (!open)
		sched_unreserve(n->ctl->sched, &n->sched);
}

/* ---- one machine by several names */

/* The one that serves for the machine of n just now; NULL: none does. */
static struct ctl_node *find_twin(struct ctl_node *n)
{
	struct ctl *c = n->ctl;

	for (size_t i = 0; i < c->n_nodes && n->facts_known; i++) {
		struct ctl_node *o = c->nodes[i];

		if (o != n && !o->twin && o->facts_known && o->ids.node_id == n->ids.node_id && o->link &&
		    link_state(o->link) == LINK_UP)
			return o;
	}
	return NULL;
}

static void stand_back(struct ctl_node *n, struct ctl_node *for_whom)
{
	n->twin = for_whom;
	judge_open(n);
	news_add(n->ctl, 0, "%s: the same machine as %s, which is used instead", n->name, for_whom->name);
}

/* The name that was added first serves, whichever comes first: campaigns may know the machine by that alone. */
static void meet_twin(struct ctl_node *n)
{
	struct ctl *c = n->ctl;
	struct ctl_node *o = find_twin(n);

	n->twin = NULL;
	if (o && o->alias_id < n->alias_id) {
		stand_back(n, o);
		return;
	}
	for (size_t i = 0; i < c->n_nodes && o; i++)
		if (c->nodes[i] == o || c->nodes[i]->twin == o)
			stand_back(c->nodes[i], n);
}

/* n is away: the next of its names serves. */
static void leave_twins(struct ctl_node *n)
{
	struct ctl *c = n->ctl;

	for (size_t i = 0; i < c->n_nodes; i++) {
		struct ctl_node *o = c->nodes[i];

		if (o->twin != n)
			continue;
		o->twin = NULL;
		if (o->link && link_state(o->link) == LINK_UP)
			meet_twin(o);
		judge_open(o);
	}
}

/* ---- lease */

static void on_lease(struct greta_watch *w, uint32_t events, void *arg)
{
	struct ctl_node *n = arg;
	char reason[160];

	(void)events;
	greta_watch_remove(w);
	n->lease = NULL;
	snprintf(reason, sizeof reason, "node %s has been away for %lld s, longer than its lease", n->name,
		 (long long)(n->ctl->lease_ms / 1000));
	for (size_t i = n->n_attempts; i-- > 0;)
		work_end_here(n->attempts[i], ATTEMPT_EV_LEASE_OUT, GRETA_OUTCOME_LOST, "lease", reason);
}

static void went_away(struct ctl_node *n)
{
	if (!n->down_ns)
		n->down_ns = greta_clock_mono_ns();
	if (!n->lease)
		n->lease = greta_loop_timer(n->ctl->loop, n->ctl->lease_ms, 0, on_lease, n);
	n->facts_due = false;
	judge_open(n);
	leave_twins(n);
}

/* ---- link */

static int64_t ask(struct ctl_node *n, enum greta_msg_type type)
{
	struct greta_msg m = {.type = type};

	return link_ask(n->link, &m);
}

/* Not of one that is only pinged: to find out what it is, an agent looks at a whole machine. */
static void ask_facts(struct ctl_node *n)
{
	if (n->wanted && !n->facts_known && !n->probe_re)
		n->probe_re = ask(n, GRETA_MSG_PROBE);
}

static void on_up(void *arg, const struct greta_msg *hello)
{
	struct ctl_node *n = arg;
	struct ctl *c = n->ctl;

	if (hello->fence > c->fence) {
		struct greta_err why = {0};

		greta_err_set(&why, GRETA_EFENCED, "node %s has been taken over by a newer controller of this database "
			      "(fence %lld, ours is %lld)", n->name, (long long)hello->fence, (long long)c->fence);
		ctl_stop(c, &why);
		return;
	}
	if (n->was_up && n->down_ns)
		news_add(c, 0, "%s: connected again", n->name);
	n->was_up = true;
	n->down_ns = 0;
	greta_watch_remove(n->lease);
	n->lease = NULL;
	/* After a reboot the devices may be others. */
	if (!greta_str_eq(n->boot_id, hello->boot_id))
		n->facts_known = false;
	free(n->boot_id);
	n->boot_id = greta_strdup(hello->boot_id);
	meet_twin(n);
	n->list_re = ask(n, GRETA_MSG_LIST);
	n->probe_re = 0;
	ask_facts(n);
	quarantine_ask(n);
}

static void on_pong(void *arg, double rtt_s)
{
	struct ctl_node *n = arg;

	control_pong(n->ctl, n, rtt_s);
}

static bool is_wanted(const struct ctl_node *n)
{
	for (struct ctl_campaign *cc = n->ctl->campaigns; cc; cc = cc->next)
		if (cc->wanted && !cc->finished && n->state == GRETA_ALIAS_UP && work_may_use(cc, n))
			return true;
	return false;
}

static void on_again(struct greta_watch *w, uint32_t events, void *arg)
{
	struct ctl_node *n = arg;

	(void)events;
	greta_watch_remove(w);
	n->again = NULL;
	if (!n->link || link_state(n->link) != LINK_UP)
		return;
	if (is_wanted(n) && !n->facts_known && !n->probe_re)
		n->probe_re = ask(n, GRETA_MSG_PROBE);
	if (n->n_attempts && !n->list_re)
		n->list_re = ask(n, GRETA_MSG_LIST);
}

static void ask_again(struct ctl_node *n)
{
	if (!n->again)
		n->again = greta_loop_timer(n->ctl->loop, AGAIN_MS, 0, on_again, n);
}

static void probe_refused(struct ctl_node *n, enum greta_code code, const char *text)
{
	struct greta_err why = {0};

	n->probe_re = 0;
	greta_err_set(&why, code, "%s can't say what it is: %s", n->name, text);
	if (strcmp(n->probe_said, why.text) != 0)
		news_add(n->ctl, 0, "%s", why.text);
	greta_str_copy(n->probe_said, sizeof n->probe_said, why.text);
	control_node_failed(n->ctl, n, &why);
	ask_again(n);
}

/* Connections say by themselves what host they speak of, and mostly a node is called as its host: its name once will do. */
static void add_of_node(struct greta_buf *out, const struct ctl_node *n, const char *text)
{
	size_t len = strlen(n->name);

	if (strncmp(text, n->name, len) != 0 || text[len] != ':')
		greta_buf_addf(out, "%s: ", n->name);
	greta_buf_adds(out, text);
}

static void on_down(void *arg, const struct greta_err *why)
{
	struct ctl_node *n = arg;
	cleanup_buf struct greta_buf said = {0};

	add_of_node(&said, n, why->text);
	if (!n->down_ns || !n->was_up)
		news_add(n->ctl, 0, "%s", greta_buf_str(&said));
	n->list_re = n->probe_re = n->quarantine_re = n->ack_re = 0;
	n->resuming = false;
	prepare_release(n);
	went_away(n);
	control_node_failed(n->ctl, n, why);
}

/* ---- answers */

static int take_facts(struct ctl_node *n, struct greta_facts *facts, struct greta_err *e)
{
	struct ctl *c = n->ctl;
	const char *key = link_host_key(n->link);

	if (batch_begin(c) < 0)
		return greta_err_set(e, GRETA_EFAIL, "the database can't be written just now");
	if (greta_nodes_record(c->db, n->alias_id, facts, &n->ids, e) < 0)
		return -1;
	if (key && greta_nodes_set_host_key(c->db, n->alias_id, key, e) < 0)
		return -1;
	return 0;
}

/* Attempts are charged by the node's size: one that was adopted before the node said it, too. */
void fleet_resize(struct ctl_node *n)
{
	work_charge_all(n, false);
	n->sched.n_cpus = n->facts.n_cpus;
	n->sched.n_gpus = (int64_t)n->facts.n_devices - quarantine_gpus(n);
	if (n->settings.slurm)
		slurm_size(n->settings.slurm, &n->sched);
	work_charge_all(n, true);
	judge_open(n);
}

static void on_facts(struct ctl_node *n, struct greta_msg *m)
{
	struct greta_err why = {0};

	n->probe_re = 0;
	n->probe_said[0] = '\0';
	if (!m->facts)
		return;
	if (take_facts(n, m->facts, &why) < 0) {
		batch_fail(n->ctl, &why);
		return;
	}
	greta_facts_release(&n->facts);
	n->facts = *m->facts;
	*m->facts = (struct greta_facts){0};
	n->facts_known = true;
	meet_twin(n);
	fleet_resize(n);
	batch_facts(n);
	quarantine_settle(n); /* may commit */
}

static const struct greta_held *find_held(const struct greta_msg *m, const char *uuid)
{
	for (size_t i = 0; i < m->n_held; i++)
		if (!strcmp(m->held[i].attempt, uuid))
			return &m->held[i];
	return NULL;
}

/* A spool of ours that memory does not know: its acknowledgement was not heard, or it was given up and is back. */
static void reclaim(struct ctl_node *n, const struct greta_held *held)
{
	struct greta_attempt_row row = {0};
	struct ctl_attempt *a;
	struct greta_err why = {0};

	if (greta_attempts_find(n->ctl->db, held->attempt, &row, &why) < 0) {
		greta_warn("%s holds attempt %s, which this database does not know (restored from a backup?); left alone",
			   n->name, held->attempt);
		return;
	}
	a = work_adopt(n->ctl, n, &row);
	greta_attempt_row_release(&row);
	if (held->finished && held->last_seq <= a->applied_seq) {
		a->final = true;
		a->acknowledged_seq = 0;
		batch_touch(a);
	} else {
		work_event(a, ATTEMPT_EV_HELD);
	}
}

/* Also by another of the machine's names, which hears of it then. */
static bool is_known(struct ctl_node *n, const char *uuid)
{
	struct ctl *c = n->ctl;
	bool known = work_attempt(n, uuid) != NULL;

	for (size_t i = 0; i < c->n_nodes && !known; i++)
		known = work_attempt(c->nodes[i], uuid) != NULL;
	return known;
}

static void absent(struct ctl_attempt *a, const char *why)
{
	if (a->state == GRETA_ATTEMPT_RUNNING)
		work_end_here(a, ATTEMPT_EV_ABSENT, GRETA_OUTCOME_LOST, "spool", why);
	else if (a->state >= GRETA_ATTEMPT_ENDED)
		a->final = true;
	else if (a->cancel_asked)
		work_end_here(a, ATTEMPT_EV_REFUSED, GRETA_OUTCOME_CANCELLED, "cancel", "cancelled before its node had it");
	else
		work_event(a, ATTEMPT_EV_ABSENT);
	batch_touch(a);
}

/* What it holds against what we think it holds. Only now may new work go there: slots that are taken are known. */
static void on_attempts(struct ctl_node *n, const struct greta_msg *m)
{
	struct ctl *c = n->ctl;
	int64_t asked = n->list_re;

	n->list_re = 0;
	if (batch_begin(c) < 0)
		return;
	for (size_t i = n->n_attempts; i-- > 0;) {
		struct ctl_attempt *a = n->attempts[i];

		if (find_held(m, a->uuid))
			work_event(a, ATTEMPT_EV_HELD);
		else if (a->start_re < asked) /* else its start is on its way behind the question */
			absent(a, "the node no longer knows of it (spool removed or disk replaced)");
	}
	for (size_t i = 0; i < m->n_held; i++)
		if (!strcmp(m->held[i].db, greta_db_uuid(c->db)) && !is_known(n, m->held[i].attempt))
			reclaim(n, &m->held[i]);
	batch_urgent(c);
	judge_open(n);
}

static void on_refused(struct ctl_node *n, const struct greta_msg *m)
{
	struct ctl_attempt *a = *m->attempt ? work_attempt(n, m->attempt) : NULL;
	const char *text = m->text ? m->text : "no reason given";

	if (m->code == GRETA_EFENCED) {
		struct greta_err why = {0};

		greta_err_set(&why, GRETA_EFENCED, "node %s: %s", n->name, text);
		ctl_stop(n->ctl, &why);
	} else if (a && m->re && m->re == a->start_re) {
		work_end_here(a, ATTEMPT_EV_REFUSED, GRETA_OUTCOME_INFRA,
			      m->code == GRETA_ENOSPC ? "disk" : "start", text);
	} else if (a && !m->re) {
		if (batch_begin(n->ctl) < 0)
			return;
		absent(a, text); /* its spool can't be read any more: nothing will come of it */
		batch_urgent(n->ctl);
	} else if (m->re && m->re == n->probe_re) {
		probe_refused(n, m->code, text);
	} else if (m->re && m->re == n->quarantine_re) {
		quarantine_refused(n, text);
		judge_open(n);
	} else if (n->settings.slurm && !m->re && !*m->attempt) {
		news_add(n->ctl, 0, "%s: %s", n->name, text);
	} else {
		greta_warn("%s refused%s%s: %s", n->name, *m->attempt ? " attempt " : "", m->attempt, text);
		if (a)
			ask_again(n);
	}
}

static void on_message(void *arg, struct greta_msg *m, size_t bytes)
{
	struct ctl_node *n = arg;

	switch (m->type) {
	case GRETA_MSG_EVENT:
		ingest_event(n, m->event, bytes);
		break;
	case GRETA_MSG_FACTS:
		on_facts(n, m);
		break;
	case GRETA_MSG_ATTEMPTS:
		on_attempts(n, m);
		break;
	case GRETA_MSG_REFUSED:
		on_refused(n, m);
		break;
	case GRETA_MSG_QUARANTINED:
		quarantine_told(n, m);
		fleet_resize(n);
		break;
	case GRETA_MSG_DONE:
		if (m->re == n->ack_re)
			n->ack_re = 0;
		break;
	default:
		break;
	}
}

static const struct link_events link_events = {on_up, on_down, on_pong, on_message};

bool fleet_connect(struct ctl_node *n)
{
	struct ctl *c = n->ctl;
	struct greta_err why = {0};

	if (!n->link) {
		bool local = node_settings_is_here(&n->settings, n->transport);

		if (agent_bundle_find(&c->bundle, &why) < 0 || (!local && agent_bundle_hash(&c->bundle, &why) < 0)) {
			greta_error("%s: %s", n->name, why.text);
			control_node_failed(c, n, &why);
			return false;
		}
		if (!local && !c->ssh)
			c->ssh = ssh_pool_create(c->loop);
		n->link = link_create(&(struct link_config){
			.loop = c->loop,
			.pool = c->ssh,
			.transport = n->transport,
			.settings = &n->settings,
			.bundle = &c->bundle,
			.db = greta_db_uuid(c->db),
			.fence = c->fence,
			.peer = c->peer,
		}, &link_events, n);
		n->down_ns = greta_clock_mono_ns();
		went_away(n);
	}
	if (link_state(n->link) == LINK_IDLE)
		link_start(n->link);
	else if (link_state(n->link) == LINK_UP)
		ask_facts(n);
	return true;
}

static void want(struct ctl_node *n)
{
	n->wanted |= is_wanted(n);
	if (n->wanted)
		fleet_connect(n);
}

void fleet_want(struct ctl *c)
{
	for (size_t i = 0; i < c->n_nodes; i++)
		want(c->nodes[i]);
}

void fleet_check(struct ctl *c, struct ctl_node *n)
{
	(void)c;
	n->wanted = true;
	if (n->link && link_state(n->link) == LINK_UP && n->n_attempts) {
		n->probe_re = ask(n, GRETA_MSG_PROBE);
		quarantine_ask(n);
		judge_open(n);
		return;
	}
	/* Anew where nothing runs: the answer is about keys and configuration as they are now. */
	if (n->link && link_state(n->link) == LINK_UP) {
		link_stop(n->link);
		prepare_release(n);
		went_away(n);
	}
	n->facts_known = false;
	if (fleet_connect(n))
		link_start(n->link);
}

void fleet_ping(struct ctl_node *n)
{
	if (!fleet_connect(n))
		return;
	if (link_state(n->link) == LINK_UP)
		link_ping(n->link);
	else
		link_start(n->link); /* which pings as soon as it is up */
}

/* ---- loading */

static void node_destroy(struct ctl_node *n)
{
	prepare_release(n);
	greta_watch_remove(n->again);
	greta_watch_remove(n->lease);
	link_destroy(n->link);
	node_settings_release(&n->settings);
	greta_facts_release(&n->facts);
	greta_quarantines_release(&n->quarantine);
	greta_strs_release(&n->releasing);
	free(n->quarantine_text);
	free(n->prepared);
	free(n->attempts);
	free(n->name);
	free(n->transport);
	free(n->labels);
	free(n->state_reason);
	free(n->boot_id);
	free(n);
}

static int node_load(struct ctl *c, const struct greta_alias_row *row, struct greta_err *e)
{
	struct ctl_node *n = fleet_by_alias(c, row->id);

	if (!n) {
		n = greta_alloc(sizeof *n);
		n->ctl = c;
		n->alias_id = row->id;
		n->name = greta_strdup(row->name);
		n->transport = greta_strdup(row->transport);
		*GRETA_PUSH(c->nodes, c->n_nodes, c->cap_nodes) = n;
		if (node_settings_parse(row->settings, &n->settings, e) < 0)
			return greta_err_wrap(e, "node %s", row->name);
		if (!n->settings.host && !n->settings.slurm)
			n->settings.host = greta_strdup(row->name);
	}
	free(n->labels);
	n->labels = greta_strdup(row->labels);
	free(n->state_reason);
	n->state_reason = greta_strdup(row->reason);
	n->state = row->state;
	if (!n->quarantine_told && quarantine_load(n, row->node_id, e) < 0)
		return -1;
	judge_open(n);
	return 0;
}

int fleet_load(struct ctl *c, struct greta_err *e)
{
	struct greta_alias_rows rows = {0};
	int rc = greta_nodes_list(c->db, true, &rows, e);

	for (size_t i = 0; i < rows.n && rc == 0; i++)
		rc = node_load(c, &rows.items[i], e);
	greta_alias_rows_release(&rows);
	return rc;
}

int fleet_take(struct ctl *c, const char *name, struct greta_err *e)
{
	struct greta_alias_row row = {0};
	int rc;

	if (greta_nodes_find(c->db, name, &row, e) < 0)
		return -1;
	rc = node_load(c, &row, e);
	if (rc == 0)
		want(fleet_by_alias(c, row.id));
	greta_alias_row_release(&row);
	return rc;
}

void fleet_forget(struct ctl *c, int64_t alias_id)
{
	for (size_t i = 0; i < c->n_nodes; i++) {
		struct greta_err why = {0};

		if (c->nodes[i]->alias_id != alias_id || c->nodes[i]->n_attempts)
			continue;
		greta_err_set(&why, GRETA_ECLOSED, "node %s was added anew meanwhile", c->nodes[i]->name);
		control_node_failed(c, c->nodes[i], &why);
		sched_unreserve(c->sched, &c->nodes[i]->sched);
		node_destroy(c->nodes[i]);
		c->nodes[i] = c->nodes[--c->n_nodes];
		return;
	}
}

int fleet_add_local(struct ctl *c, struct greta_err *e)
{
	int64_t id;

	for (size_t i = 0; i < c->n_nodes; i++)
		if (c->nodes[i]->state != GRETA_ALIAS_REMOVED)
			return 0;
	if (batch_begin(c) < 0)
		return greta_err_set(e, GRETA_EFAIL, "the database can't be written just now");
	if (greta_nodes_add(c->db, "local", "local", NULL, NULL, &id, e) < 0)
		return -1;
	news_add(c, 0, "no node is configured: this machine is used, as node `local` (greta-orch node add names others)");
	return fleet_load(c, e);
}

void fleet_release(struct ctl *c)
{
	for (size_t i = 0; i < c->n_nodes; i++)
		node_destroy(c->nodes[i]);
	free(c->nodes);
	c->nodes = NULL;
	c->n_nodes = c->cap_nodes = 0;
}

/* Of a removed node: nothing runs there, else it would not have been removed. */
static void part(struct ctl_node *n)
{
	struct greta_err why = {0};

	if (n->link)
		link_stop(n->link);
	prepare_release(n);
	greta_watch_remove(n->lease);
	n->lease = NULL;
	n->list_re = n->probe_re = n->quarantine_re = n->ack_re = 0;
	n->wanted = n->resuming = n->facts_known = false;
	leave_twins(n);
	for (size_t i = 0; i < n->n_attempts; i++) { /* ended, and not acknowledged: no more will come of them */
		n->attempts[i]->final = true;
		batch_touch(n->attempts[i]);
	}
	greta_err_set(&why, GRETA_ECLOSED, "node %s was removed meanwhile", n->name);
	control_node_failed(n->ctl, n, &why);
}

int fleet_set_state(struct ctl *c, struct ctl_node *n, enum greta_alias_state state, const char *reason,
		    struct greta_err *e)
{
	if (batch_begin(c) < 0)
		return greta_err_set(e, GRETA_EFAIL, "the database can't be written just now");
	if (greta_nodes_set_state(c->db, n->alias_id, state, reason, e) < 0)
		return -1;
	n->state = state;
	free(n->state_reason);
	n->state_reason = greta_strdup(reason);
	n->n_infra = 0;
	if (state == GRETA_ALIAS_REMOVED)
		part(n);
	news_add(c, 0, "%s: %s%s%s", n->name, greta_alias_state_name(state), reason ? ": " : "", reason ? reason : "");
	judge_open(n);
	return 0;
}

/* ---- what people see */

const char *fleet_node_state(struct ctl_node *n, const char **reason)
{
	*reason = n->state_reason;
	if (n->state != GRETA_ALIAS_UP)
		return greta_alias_state_name(n->state);
	*reason = n->twin ? "the same machine as another node" : n->quarantine_text;
	if (quarantine_has(n, "node"))
		return greta_alias_state_name(GRETA_ALIAS_QUARANTINED);
	if (!n->link)
		return "idle";
	if (link_state(n->link) == LINK_UP) {
		if (prepare_note(n))
			*reason = prepare_note(n);
		return "up";
	}
	*reason = *link_why(n->link) ? link_why(n->link) : NULL;
	return link_state_name(link_state(n->link));
}

static const char *too_small(struct ctl_node *n, const struct ctl_campaign *cc)
{
	const struct sched_need *need = &cc->need;
	int64_t machines = sched_machines(&n->sched);

	if (quarantine_forbids(n, need))
		return "a job takes the whole node, and a part of it is in quarantine";
	if (sched_slots(&n->sched, need) > 0)
		return NULL;
	if (need->gpus > n->sched.n_gpus / machines)
		snprintf(n->note, sizeof n->note, "a job asks for %lld GPUs, the node has %lld%s", (long long)need->gpus,
			 (long long)(n->sched.n_gpus / machines),
			 quarantine_gpus(n) ? " to use" : " (\"slot\": \"cpu\" runs without)");
	else
		snprintf(n->note, sizeof n->note, "a job asks for %lld CPUs, the node has %lld", (long long)need->cpus,
			 (long long)(n->sched.n_cpus / machines));
	return n->note;
}

/* Why the node will not run such a job, also if one waits; NULL: it may, now or when it is back. */
static const char *no_hope(struct ctl_node *n, struct ctl_campaign *cc, int variant)
{
	const char *reason, *state = fleet_node_state(n, &reason);

	if (n->state != GRETA_ALIAS_UP || n->twin || !n->link || link_state(n->link) == LINK_REFUSED || quarantine_has(n, "node"))
		return reason ? reason : state;
	if (link_state(n->link) != LINK_UP)
		return n->was_up || greta_clock_mono_ns() - cc->loaded_ns < HOPELESS_NS ? NULL : reason;
	if (!n->facts_known)
		return NULL;
	reason = too_small(n, cc);
	if (!reason)
		reason = gpus_no_hope(n, cc, variant);
	if (reason)
		return reason;
	return prepare_check(n, cc, variant, &reason) == PREPARE_FAILED ? reason : NULL;
}

static void tell_no_hope(const struct ctl_node *n, const char *reason, struct greta_buf *why)
{
	if (why->len)
		greta_buf_adds(why, "; ");
	add_of_node(why, n, reason);
	if (n->quarantine_text && !greta_str_eq(n->quarantine_text, reason))
		greta_buf_addf(why, " (%s)", n->quarantine_text);
	if (n->quarantine_text || n->state == GRETA_ALIAS_QUARANTINED)
		greta_buf_addf(why, "; see to it, then `greta-orch node resume %s`", n->name);
}

/* For the first variant that waits. */
bool fleet_hopeless(struct ctl *c, struct ctl_campaign *cc, struct greta_buf *why)
{
	for (size_t v = 0; v < cc->spec.n_variants; v++) {
		if (sched_set_empty(cc->sets[v]))
			continue;
		greta_buf_clear(why);
		for (size_t i = 0; i < c->n_nodes; i++) {
			struct ctl_node *n = c->nodes[i];
			const char *reason;

			if (n->state == GRETA_ALIAS_REMOVED || !work_may_use_for(cc, (int)v, n))
				continue;
			reason = no_hope(n, cc, (int)v);
			if (!reason)
				return false;
			tell_no_hope(n, reason, why);
		}
	}
	if (!why->len)
		greta_buf_adds(why, "no node matches what the campaign asks for (nodes, labels); see `greta-orch node list`");
	return true;
}
