/* node_add, node_state, node_check and node_ping: what people ask of nodes. What needs a node's answer waits in a struct
 * check. */
#include "orchestrator/control/control_conn.h"

#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "orchestrator/control/slurm.h"

#define CHECK_MS 45000

int control_node_add(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	const char *name = control_str(args, "name"), *transport = control_str(args, "transport");
	const char *settings = control_str(args, "settings");
	struct node_settings parsed;
	int64_t id;

	if (!name || !*name || !transport)
		return greta_err_set(e, GRETA_EINVAL, "node add: a name and a transport are needed");
	if (node_settings_parse(settings ? settings : "{}", &parsed, e) < 0)
		return -1;
	node_settings_release(&parsed);
	if (greta_nodes_add(c->db, name, transport, settings, control_str(args, "labels"), &id, e) < 0)
		return -1;
	fleet_forget(c, id);
	if (fleet_take(c, name, e) < 0)
		return -1;
	control_note(c, "node_add", args);
	greta_jsonw_str(reply, "name", name);
	return 0;
}

static struct ctl_node *find_node(struct ctl *c, const struct greta_json_val *args, struct greta_err *e)
{
	const char *name = control_str(args, "name");
	struct ctl_node *n = fleet_find(c, name);

	if (n && n->state != GRETA_ALIAS_REMOVED)
		return n;
	greta_err_set(e, GRETA_ENOENT, "node %s is not known (`greta-orch node list` shows those that are)",
		      name ? name : "?");
	return NULL;
}

enum check_kind { CHECK_FACTS = 1, CHECK_PONG = 2, CHECK_RESUMED = 4 };

struct check {
	struct check *next;
	struct conn *conn;
	int64_t re;
	struct ctl_node *node;
	enum check_kind kind;            /* answered by control_facts, control_pong, control_resumed */
	struct greta_watch *deadline;
};

static void check_done(struct check *check)
{
	struct check **at = &check->conn->checks;

	while (*at != check)
		at = &(*at)->next;
	*at = check->next;
	greta_watch_remove(check->deadline);
	free(check);
}

void control_forget_checks(struct conn *k)
{
	while (k->checks)
		check_done(k->checks);
}

static void on_check_deadline(struct greta_watch *w, uint32_t events, void *arg)
{
	struct check *check = arg;
	struct greta_err why = {0};

	(void)w;
	(void)events;
	greta_err_set(&why, GRETA_ETIMEOUT, "node %s gave no answer within %d s (%s)", check->node->name, CHECK_MS / 1000,
		      link_state_name(link_state(check->node->link)));
	control_answer_error(check->conn, check->re, &why);
	check_done(check);
}

static void wait_for_node(struct conn *k, struct ctl_node *n, enum check_kind kind)
{
	struct check *check = greta_alloc(sizeof *check);

	*check = (struct check){.next = k->checks, .conn = k, .re = k->re, .node = n, .kind = kind};
	check->deadline = greta_loop_timer(n->ctl->loop, CHECK_MS, 0, on_check_deadline, check);
	k->checks = check;
}

static void print_state(struct greta_jsonw *w, const struct ctl_node *n)
{
	greta_jsonw_str(w, "name", n->name);
	greta_jsonw_str(w, "state", greta_alias_state_name(n->state));
	greta_jsonw_i64(w, "running", work_n_open(n));
}

/* What the node itself keeps out of use is let go by the node itself. */
static void resume(struct conn *k, struct ctl_node *n)
{
	n->wanted = n->resuming = true;
	wait_for_node(k, n, CHECK_RESUMED);
	if (!fleet_connect(n))
		return;
	link_start(n->link);
	if (link_state(n->link) == LINK_UP)
		quarantine_ask(n);
}

int control_node_state(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply,
			 struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	struct ctl_node *n = find_node(c, args, e);
	const char *state = control_str(args, "state");
	int to = -1;

	for (int s = 0; s < GRETA_ALIAS_STATE_COUNT; s++)
		if (greta_str_eq(state, greta_alias_state_name(s)))
			to = s;
	if (!n || to < 0)
		return n ? greta_err_set(e, GRETA_EINVAL, "no such state of a node") : -1;
	if (to == GRETA_ALIAS_REMOVED && work_n_open(n))
		return greta_err_set(e, GRETA_EBUSY, "node %s runs %lld attempts: `greta-orch node drain %s` first, or "
				     "cancel them", n->name, (long long)work_n_open(n), n->name);
	if (fleet_set_state(c, n, to, control_str(args, "reason"), e) < 0)
		return -1;
	control_note(c, "node_state", args);
	ctl_dispatch_soon(c);
	if (to == GRETA_ALIAS_UP && n->quarantine.n) {
		resume(k, n);
		return 1;
	}
	if (to == GRETA_ALIAS_UP && n->link && link_state(n->link) != LINK_UP)
		link_start(n->link);
	print_state(reply, n);
	fleet_want(c);
	return 0;
}

/* Answered by control_facts or control_node_failed; a connection may wait for many. */
int control_node_check(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply,
			 struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	struct ctl_node *n = find_node(c, args, e);

	(void)reply;
	if (!n)
		return -1;
	wait_for_node(k, n, CHECK_FACTS);
	fleet_check(c, n);
	return 1;
}

/* Answered by control_pong or control_node_failed. */
int control_node_ping(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct ctl_node *n = find_node(k->control->ctl, args, e);

	(void)reply;
	if (!n)
		return -1;
	wait_for_node(k, n, CHECK_PONG);
	fleet_ping(n);
	return 1;
}

static void print_device(struct greta_jsonw *w, const struct greta_device *d)
{
	greta_jsonw_object(w, NULL);
	greta_jsonw_str(w, "uuid", d->uuid);
	greta_jsonw_str(w, "kind", d->kind);
	greta_jsonw_str(w, "name", d->name);
	greta_jsonw_str(w, "arch", d->arch);
	greta_jsonw_str(w, "path", d->path);
	greta_jsonw_i64(w, "vram_bytes", d->vram_bytes);
	greta_jsonw_end_object(w);
}

static void print_agent(struct greta_jsonw *w, const struct ctl_node *n)
{
	greta_jsonw_f64(w, "clock_offset_s", link_clock_offset_s(n->link));
	greta_jsonw_str(w, "agent_version", link_agent_version(n->link));
	greta_jsonw_str(w, "host_key", link_host_key(n->link));
}

static void print_facts(struct greta_jsonw *w, const struct ctl_node *n)
{
	const struct greta_facts *f = &n->facts;

	greta_jsonw_object(w, NULL);
	greta_jsonw_str(w, "name", n->name);
	greta_jsonw_str(w, "transport", n->transport);
	if (n->settings.slurm)
		slurm_write_size(n->settings.slurm, w);
	greta_jsonw_f64(w, "rtt_s", link_rtt_s(n->link));
	print_agent(w, n);
	greta_jsonw_str(w, "hostname", f->hostname);
	greta_jsonw_str(w, "node_id", f->node_id);
	greta_jsonw_str(w, "boot_id", f->boot_id);
	greta_jsonw_i64(w, "cpus", f->n_cpus);
	greta_jsonw_i64(w, "mem_bytes", f->mem_bytes);
	greta_jsonw_i64(w, "spool_free_bytes", f->spool_free_bytes);
	greta_jsonw_bool(w, "survives_logout", f->survives_logout);
	greta_jsonw_str(w, "survives_why", f->survives_why);
	greta_jsonw_array(w, "devices");
	for (size_t i = 0; i < f->n_devices; i++)
		print_device(w, &f->devices[i]);
	greta_jsonw_end_array(w);
	greta_jsonw_object(w, "environment");
	for (size_t i = 0; i < f->n_env; i++)
		greta_jsonw_str(w, f->env[i].key, f->env[i].value);
	greta_jsonw_end_object(w);
	greta_jsonw_end_object(w);
}

/* Each check of these kinds, or-ed, of this node, whoever waits for it; answering may not end a connection, so the lists
 * hold still. */
static struct check *next_check(struct ctl *c, const struct ctl_node *n, int kinds)
{
	for (struct conn *k = c->control ? c->control->conns : NULL; k; k = k->next)
		for (struct check *check = k->checks; check; check = check->next)
			if (check->node == n && (check->kind & kinds))
				return check;
	return NULL;
}

void control_facts(struct ctl *c, struct ctl_node *n)
{
	struct check *check;

	while ((check = next_check(c, n, CHECK_FACTS))) {
		cleanup_buf struct greta_buf members = {0};
		struct greta_jsonw w = greta_jsonw(&members);

		print_facts(&w, n);
		control_answer(check->conn, check->re, &members);
		check_done(check);
	}
}

void control_pong(struct ctl *c, struct ctl_node *n, double rtt_s)
{
	struct check *check;

	while ((check = next_check(c, n, CHECK_PONG))) {
		cleanup_buf struct greta_buf members = {0};
		struct greta_jsonw w = greta_jsonw(&members);

		greta_jsonw_object(&w, NULL);
		greta_jsonw_str(&w, "name", n->name);
		greta_jsonw_f64(&w, "rtt_s", rtt_s);
		print_agent(&w, n);
		greta_jsonw_end_object(&w);
		control_answer(check->conn, check->re, &members);
		check_done(check);
	}
}

void control_resumed(struct ctl *c, struct ctl_node *n)
{
	struct check *check;

	while ((check = next_check(c, n, CHECK_RESUMED))) {
		cleanup_buf struct greta_buf members = {0};
		struct greta_jsonw w = greta_jsonw(&members);

		greta_jsonw_object(&w, NULL);
		print_state(&w, n);
		greta_jsonw_array(&w, "released");
		for (size_t i = 0; i < n->releasing.n; i++)
			if (!quarantine_has(n, n->releasing.items[i]))
				greta_jsonw_str(&w, NULL, n->releasing.items[i]);
		greta_jsonw_end_array(&w);
		greta_jsonw_end_object(&w);
		control_answer(check->conn, check->re, &members);
		check_done(check);
	}
}

void control_node_failed(struct ctl *c, struct ctl_node *n, const struct greta_err *why)
{
	struct check *check;

	while ((check = next_check(c, n, CHECK_FACTS | CHECK_PONG | CHECK_RESUMED))) {
		control_answer_error(check->conn, check->re, why);
		check_done(check);
	}
}
