#include "orchestrator/control.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/jsonw.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "db/records.h"
#include "orchestrator/action.h"
#include "orchestrator/ctl.h"
#include "orchestrator/plan_order.h"
#include "schemas/json.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNREAD_MAX (256 * 1024) /* a watcher that does not read gets no more snapshots meanwhile */
#define CHECK_MS 45000

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
	/* node_check, waiting */
	int64_t check_re;
	struct ctl_node *check_node;
	struct greta_watch *check_deadline;
};

struct control {
	struct ctl *ctl;
	int fd;
	struct greta_watch *accept;
	struct conn *conns;
	char *path;
};

/* ---- the socket */

int control_address(const char *db_path, struct sockaddr_un *out, int *dir_fd, struct greta_err *e)
{
	const char *slash = strrchr(db_path, '/');
	cleanup_free char *dir = slash ? greta_strndup(db_path, (size_t)(slash - db_path) + 1) : greta_strdup(".");
	int n;

	*out = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*dir_fd < 0)
		return greta_err_sys(e, "%s", dir);
	n = snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/%s.sock", *dir_fd,
		     slash ? slash + 1 : db_path);
	if (n < (int)sizeof out->sun_path)
		return 0;
	close(*dir_fd);
	*dir_fd = -1;
	return greta_err_set(e, GRETA_EINVAL, "%s: the name of the database is too long", db_path);
}

static void conn_destroy(struct conn *k)
{
	struct conn **at = &k->control->conns;

	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	greta_watch_remove(k->io);
	greta_watch_remove(k->check_deadline);
	close(k->fd);
	greta_buf_release(&k->in);
	greta_buf_release(&k->out);
	free(k);
}

/* Callers may be walking over connections, so the end comes with the next event. */
static void conn_flush(struct conn *k)
{
	while (k->out.len) {
		ssize_t n = send(k->fd, k->out.data, k->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			k->closing = true;
		if (n < 0)
			break;
		greta_buf_consume(&k->out, (size_t)n);
	}
	greta_watch_events(k->io, EPOLLIN | (k->out.len || k->closing ? EPOLLOUT : 0));
}

/* ---- answers */

static void answer_error(struct conn *k, int64_t re, const struct greta_err *why)
{
	struct greta_jsonw w = greta_jsonw(&k->out);

	greta_jsonw_object(&w, NULL);
	greta_jsonw_i64(&w, "re", re);
	greta_jsonw_object(&w, "error");
	greta_jsonw_str(&w, "code", greta_code_name(why->code));
	greta_jsonw_str(&w, "text", why->text);
	greta_jsonw_end_object(&w);
	greta_jsonw_end_object(&w);
	greta_buf_addc(&k->out, '\n');
	conn_flush(k);
}

static void answer_ok(struct conn *k, int64_t re, const struct greta_buf *members)
{
	greta_buf_addf(&k->out, "{\"re\":%lld,\"ok\":%s}\n", (long long)re, greta_buf_str(members));
	conn_flush(k);
}

/* ---- arguments */

static const char *arg_str(const struct greta_json_val *args, const char *key)
{
	const char *s = NULL;

	greta_json_str(greta_json_get(args, key), &s);
	return s;
}

static int64_t arg_i64(const struct greta_json_val *args, const char *key, int64_t otherwise)
{
	greta_json_i64(greta_json_get(args, key), &otherwise);
	return otherwise;
}

/* An id or a name, as greta_campaigns_find has it. */
static int arg_campaign(struct ctl *c, const struct greta_json_val *args, int64_t *id, struct greta_err *e)
{
	const char *which = arg_str(args, "campaign");

	if (greta_json_i64(greta_json_get(args, "campaign"), id) == 0)
		return 0;
	return greta_campaigns_find(c->db, which, id, e);
}

static void note_detached(struct ctl *c, const struct greta_json_val *args)
{
	bool detached = false;

	greta_json_bool(greta_json_get(args, "detach"), &detached);
	c->detached |= detached;
}

static void note_action(struct ctl *c, const char *what, const struct greta_json_val *args)
{
	cleanup_buf struct greta_buf detail = {0};
	struct greta_err why = {0};
	const char *who = arg_str(args, "who");

	if (greta_str_eq(what, "submit"))
		greta_buf_adds(&detail, "{}");
	else
		greta_json_print(args, &detail);
	if (greta_actions_add(c->db, who, what, greta_buf_str(&detail), &why) < 0)
		batch_fail(c, &why);
}

/* ---- submit */

static char *variant_detail(const struct greta_campaign *c, const struct greta_variant *v)
{
	const struct greta_engine *engine = greta_campaign_engine(c, v);
	struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);
	const struct {
		const char *name;
		const struct greta_strs *list;
	} lists[] = {{"command", &engine->command}, {"args", &v->args}, {"env", &v->env}};

	greta_jsonw_object(&w, NULL);
	for (size_t l = 0; l < GRETA_COUNT(lists); l++) {
		greta_jsonw_array(&w, lists[l].name);
		for (size_t i = 0; i < lists[l].list->n; i++)
			greta_jsonw_str(&w, NULL, lists[l].list->items[i]);
		greta_jsonw_end_array(&w);
	}
	greta_jsonw_str(&w, "adapter", greta_adapter_name(engine->adapter));
	greta_jsonw_object(&w, "expect");
	for (size_t i = 0; i < v->n_expect; i++)
		greta_jsonw_str(&w, v->expect[i].field, v->expect[i].value);
	greta_jsonw_end_object(&w);
	greta_jsonw_end_object(&w);
	return greta_buf_steal(&out);
}

static int add_campaign(struct ctl *c, const struct greta_campaign *spec, const struct plan *plan,
			const struct greta_json_val *args, int64_t *id, char uuid[GRETA_UUID_LEN + 1],
			struct greta_err *e)
{
	struct greta_new_variant *variants = greta_alloc(spec->n_variants * sizeof *variants + 1);
	struct greta_new_job *jobs = greta_alloc(plan->n * sizeof *jobs + 1);
	char **details = greta_alloc(spec->n_variants * sizeof *details + 1);
	int rc;

	for (size_t i = 0; i < spec->n_variants; i++) {
		details[i] = variant_detail(spec, &spec->variants[i]);
		variants[i] = (struct greta_new_variant){spec->variants[i].name, details[i]};
	}
	for (size_t i = 0; i < plan->n; i++)
		jobs[i] = (struct greta_new_job){plan->jobs[i].variant, plan->jobs[i].context, plan->jobs[i].repeat,
						  plan->jobs[i].block};
	rc = greta_campaigns_add(c->db, &(struct greta_new_campaign){
		.name = spec->name,
		.text = arg_str(args, "text"),
		.mode = spec->mode,
		.kind = GRETA_CAMPAIGN_SUBMIT,
		.priority = spec->priority,
		.submitted_by = arg_str(args, "who"),
		.base_dir = arg_str(args, "base_dir"),
		.variants = variants,
		.n_variants = spec->n_variants,
		.jobs = jobs,
		.n_jobs = plan->n,
	}, id, uuid, e);
	for (size_t i = 0; i < spec->n_variants; i++)
		free(details[i]);
	free(details);
	free(variants);
	free(jobs);
	return rc;
}

static int check_nodes(struct ctl *c, const struct greta_campaign *spec, struct greta_err *e)
{
	for (size_t i = 0; i < spec->nodes.n; i++) {
		const struct ctl_node *n = fleet_find(c, spec->nodes.items[i]);

		/* `local` comes into being by itself where there is no other. */
		if (!n && !c->n_nodes && greta_str_eq(spec->nodes.items[i], "local"))
			continue;
		if (!n || n->state == GRETA_ALIAS_REMOVED)
			return greta_err_set(e, GRETA_EINVAL, "campaign %s: node %s is not known (`greta-orch node list` "
					     "shows those that are, `node add` adds one)", spec->name, spec->nodes.items[i]);
	}
	return 0;
}

static int do_submit(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	const char *text = arg_str(args, "text"), *name = arg_str(args, "name");
	struct greta_campaign spec = {0};
	struct greta_problems problems = {0};
	struct plan plan = {0};
	char uuid[GRETA_UUID_LEN + 1];
	int64_t id = 0;
	int rc;

	if (!text)
		return greta_err_set(e, GRETA_EINVAL, "submit without a campaign");
	if (greta_campaign_parse(name ? name : "campaign", text, strlen(text), &spec, &problems) < 0) {
		cleanup_buf struct greta_buf all = {0};

		greta_problems_print(&problems, name, &all);
		greta_problems_release(&problems);
		return greta_err_set(e, GRETA_EINVAL, "%.400s", greta_buf_str(&all));
	}
	greta_problems_release(&problems);
	rc = check_nodes(c, &spec, e) < 0 || prepare_validate(&spec, arg_str(args, "base_dir"), e) < 0 ||
	     plan_make(&spec, &plan, e) < 0 ? -1 : 0;
	if (rc == 0 && (fleet_add_local(c, e) < 0 || add_campaign(c, &spec, &plan, args, &id, uuid, e) < 0 ||
			!work_add(c, id, e))) {
		batch_fail(c, e);
		rc = -1;
	}
	if (rc == 0) {
		work_want(work_find(c, id));
		greta_jsonw_i64(reply, "campaign", id);
		greta_jsonw_str(reply, "uuid", uuid);
		greta_jsonw_str(reply, "name", spec.name);
		greta_jsonw_i64(reply, "jobs", (int64_t)plan.n);
		note_action(c, "submit", args);
		note_detached(c, args);
		fleet_want(c);
		ctl_dispatch_soon(c);
	}
	plan_release(&plan);
	greta_campaign_release(&spec);
	return rc;
}

/* ---- resume, cancel */

/* A person has looked after what was wrong: what was given up is tried again. */
static int do_resume(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	int64_t id = 0, n_open = 0;

	if (greta_json_get(args, "campaign") && arg_campaign(c, args, &id, e) < 0)
		return -1;
	if (id && !work_find(c, id)) {
		greta_jsonw_array(reply, "campaigns");
		greta_jsonw_end_array(reply);
		return 0;
	}
	for (size_t i = 0; i < c->n_nodes; i++) {
		struct ctl_node *n = c->nodes[i];

		prepare_release(n);
		if (n->link && link_state(n->link) != LINK_UP)
			link_start(n->link);
	}
	note_detached(c, args);
	greta_jsonw_array(reply, "campaigns");
	for (struct ctl_campaign *cc = c->campaigns; cc; cc = cc->next) {
		if (cc->finished || (id && cc->id != id))
			continue;
		work_want(cc);
		n_open += cc->n_open;
		greta_jsonw_i64(reply, NULL, cc->id);
	}
	greta_jsonw_end_array(reply);
	greta_jsonw_i64(reply, "running", n_open);
	fleet_want(c);
	ctl_dispatch_soon(c);
	return 0;
}

static int do_cancel(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	struct ctl_campaign *cc;
	int64_t id, n = 0;

	if (arg_campaign(c, args, &id, e) < 0)
		return -1;
	cc = work_find(c, id);
	if (cc && work_cancel(c, cc, arg_str(args, "variant"), arg_i64(args, "context", 0), arg_i64(args, "repeat", -1),
			      "cancelled by a person", &n, e) < 0)
		return -1;
	note_action(c, "cancel", args);
	greta_jsonw_i64(reply, "campaign", id);
	greta_jsonw_i64(reply, "jobs", n);
	return 0;
}

/* ---- watching */

static void send_status(struct conn *k)
{
	struct ctl *c = k->control->ctl;
	struct status s;
	struct greta_jsonw w;
	int64_t oldest = c->news.n - (int64_t)GRETA_COUNT(c->news.items);

	if (k->out.len > UNREAD_MAX)
		return;
	snapshot_take(c, k->campaign_id, &s);
	for (int64_t i = k->news_n > oldest ? k->news_n : oldest; i < c->news.n; i++) {
		const struct news_item *item = &c->news.items[i % (int64_t)GRETA_COUNT(c->news.items)];

		if (k->campaign_id && item->campaign_id && item->campaign_id != k->campaign_id)
			continue;
		GRETA_PUSH(s.news, s.n_news, s.cap_news);
		s.news[s.n_news - 1].text = greta_strdup(item->text);
		s.news[s.n_news - 1].wall_ns = item->wall_ns;
	}
	k->news_n = c->news.n;
	k->sent_ns = greta_clock_mono_ns();
	w = greta_jsonw(&k->out);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_object(&w, "status");
	status_print(&s, &w);
	greta_jsonw_end_object(&w);
	greta_jsonw_end_object(&w);
	greta_buf_addc(&k->out, '\n');
	status_release(&s);
	conn_flush(k);
}

static void send_end(struct conn *k, const char *state, const char *why)
{
	struct greta_jsonw w = greta_jsonw(&k->out);

	if (k->told_end)
		return;
	k->told_end = true;
	greta_jsonw_object(&w, NULL);
	greta_jsonw_object(&w, "end");
	greta_jsonw_i64(&w, "campaign", k->campaign_id);
	greta_jsonw_str(&w, "state", state);
	greta_jsonw_str(&w, "why", why);
	greta_jsonw_end_object(&w);
	greta_jsonw_end_object(&w);
	greta_buf_addc(&k->out, '\n');
	conn_flush(k);
}

static int do_watch(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	int64_t oldest = c->news.n - (int64_t)GRETA_COUNT(c->news.items);
	const struct ctl_campaign *cc;

	if (greta_json_get(args, "campaign") && arg_campaign(c, args, &k->campaign_id, e) < 0)
		return -1;
	k->period_ns = arg_i64(args, "period_ms", 200) * GRETA_NS_PER_MS;
	k->watches = true;
	greta_json_bool(greta_json_get(args, "holds"), &k->holds);
	k->told_end = false;
	k->news_n = oldest > 0 ? oldest : 0;
	k->sent_ns = 0;
	greta_jsonw_i64(reply, "campaign", k->campaign_id);
	cc = k->campaign_id ? work_find(c, k->campaign_id) : NULL;
	greta_jsonw_str(reply, "state", !k->campaign_id || (cc && cc->wanted) ? "active" : cc ? "waiting" : "ended");
	return 0;
}

static int do_status(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct status s;
	int64_t id = 0;

	if (greta_json_get(args, "campaign") && arg_campaign(k->control->ctl, args, &id, e) < 0)
		return -1;
	snapshot_take(k->control->ctl, id, &s);
	greta_jsonw_object(reply, "status");
	status_print(&s, reply);
	greta_jsonw_end_object(reply);
	status_release(&s);
	return 0;
}

/* ---- nodes */

static int do_node_add(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	const char *name = arg_str(args, "name"), *transport = arg_str(args, "transport");
	const char *settings = arg_str(args, "settings");
	struct node_settings parsed;
	int64_t id;

	if (!name || !*name || !transport)
		return greta_err_set(e, GRETA_EINVAL, "node add: a name and a transport are needed");
	if (node_settings_parse(settings ? settings : "{}", &parsed, e) < 0)
		return -1;
	node_settings_release(&parsed);
	if (greta_nodes_add(c->db, name, transport, settings, arg_str(args, "labels"), &id, e) < 0)
		return -1;
	fleet_forget(c, id);
	if (fleet_load(c, e) < 0)
		return -1;
	note_action(c, "node_add", args);
	greta_jsonw_str(reply, "name", name);
	fleet_want(c);
	return 0;
}

static struct ctl_node *find_node(struct ctl *c, const struct greta_json_val *args, struct greta_err *e)
{
	const char *name = arg_str(args, "name");
	struct ctl_node *n = fleet_find(c, name);

	if (n && n->state != GRETA_ALIAS_REMOVED)
		return n;
	greta_err_set(e, GRETA_ENOENT, "node %s is not known (`greta-orch node list` shows those that are)",
		      name ? name : "?");
	return NULL;
}

static int do_node_state(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply,
			 struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	struct ctl_node *n = find_node(c, args, e);
	const char *state = arg_str(args, "state");
	int to = -1;

	for (int s = 0; s < GRETA_ALIAS_STATE_COUNT; s++)
		if (greta_str_eq(state, greta_alias_state_name(s)))
			to = s;
	if (!n || to < 0)
		return n ? greta_err_set(e, GRETA_EINVAL, "no such state of a node") : -1;
	if (to == GRETA_ALIAS_REMOVED && n->n_attempts)
		return greta_err_set(e, GRETA_EBUSY, "node %s runs %zu attempts: `greta-orch node drain %s` first, or "
				     "cancel them", n->name, n->n_attempts, n->name);
	if (fleet_set_state(c, n, to, arg_str(args, "reason"), e) < 0)
		return -1;
	if (to == GRETA_ALIAS_UP && n->link && link_state(n->link) != LINK_UP)
		link_start(n->link);
	note_action(c, "node_state", args);
	greta_jsonw_str(reply, "name", n->name);
	greta_jsonw_str(reply, "state", state);
	greta_jsonw_i64(reply, "running", (int64_t)n->n_attempts);
	fleet_want(c);
	ctl_dispatch_soon(c);
	return 0;
}

static void check_done(struct conn *k)
{
	greta_watch_remove(k->check_deadline);
	k->check_deadline = NULL;
	k->check_node = NULL;
}

static void on_check_deadline(struct greta_watch *w, uint32_t events, void *arg)
{
	struct conn *k = arg;
	struct greta_err why = {0};

	(void)w;
	(void)events;
	greta_err_set(&why, GRETA_ETIMEOUT, "node %s gave no answer within %d s (%s)", k->check_node->name,
		      CHECK_MS / 1000, link_state_name(link_state(k->check_node->link)));
	check_done(k);
	answer_error(k, k->check_re, &why);
}

/* Answered by control_facts or control_node_failed. */
static int do_node_check(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply,
			 struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	struct ctl_node *n = find_node(c, args, e);

	(void)reply;
	if (!n)
		return -1;
	k->check_node = n;
	k->check_deadline = greta_loop_timer(c->loop, CHECK_MS, 0, on_check_deadline, k);
	fleet_check(c, n);
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

static void print_facts(struct greta_jsonw *w, const struct ctl_node *n)
{
	const struct greta_facts *f = &n->facts;

	greta_jsonw_object(w, NULL);
	greta_jsonw_str(w, "name", n->name);
	greta_jsonw_str(w, "transport", n->transport);
	greta_jsonw_str(w, "agent_version", link_agent_version(n->link));
	greta_jsonw_str(w, "host_key", link_host_key(n->link));
	greta_jsonw_f64(w, "rtt_s", link_rtt_s(n->link));
	greta_jsonw_f64(w, "clock_offset_s", link_clock_offset_s(n->link));
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

void control_facts(struct ctl *c, struct ctl_node *n)
{
	for (struct conn *k = c->control ? c->control->conns : NULL; k; k = k->next) {
		cleanup_buf struct greta_buf members = {0};
		struct greta_jsonw w = greta_jsonw(&members);

		if (k->check_node != n)
			continue;
		check_done(k);
		print_facts(&w, n);
		answer_ok(k, k->check_re, &members);
	}
}

void control_node_failed(struct ctl *c, struct ctl_node *n, const struct greta_err *why)
{
	for (struct conn *k = c->control ? c->control->conns : NULL; k; k = k->next) {
		if (k->check_node != n)
			continue;
		check_done(k);
		answer_error(k, k->check_re, why);
	}
}

/* ---- the rest */

static int do_action(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	const char *name = arg_str(args, "name");
	const struct action *a = name ? action_find(name) : NULL;

	if (!a)
		return greta_err_set(e, GRETA_EVERSION, "the controller does not know the action %s: it is of another "
				     "release; wait until it ends, or stop it", name ? name : "?");
	if (a->run(c->db, greta_json_get(args, "args"), reply, e) < 0)
		return -1;
	return 0;
}

/* The controller is the foreground's own where nobody asked for it to go on in the background and nobody else looks. */
static bool goes_on(const struct control *control, const struct conn *without)
{
	bool on = control->ctl->detached;

	for (const struct conn *k = control->conns; k; k = k->next)
		on |= k != without && k->watches && k->holds;
	return on;
}

static int do_leave(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	bool ask = false, stops = !goes_on(k->control, k);

	(void)e;
	greta_json_bool(greta_json_get(args, "ask"), &ask);
	greta_jsonw_bool(reply, "stops", stops);
	if (stops && !ask)
		ctl_stop(k->control->ctl, NULL);
	return 0;
}

static int do_stop(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	(void)args;
	(void)reply;
	(void)e;
	ctl_stop(k->control->ctl, NULL);
	return 0;
}

static const struct {
	const char *op;
	bool changes;
	int (*fn)(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e);
} ops[] = {
	{"submit", true, do_submit},         {"resume", true, do_resume},
	{"cancel", true, do_cancel},         {"watch", false, do_watch},
	{"status", false, do_status},        {"node_add", true, do_node_add},
	{"node_state", true, do_node_state}, {"node_check", false, do_node_check},
	{"action", true, do_action},         {"leave", false, do_leave},
	{"stop", false, do_stop},
};

/* What changes something has a batch of its own, so that what a refused request wrote is taken back alone. Memory is
 * changed only behind the last refusal. */
static int run_op(struct conn *k, size_t op, const struct greta_json_val *args, struct greta_jsonw *reply,
		  struct greta_err *e)
{
	struct ctl *c = k->control->ctl;

	if (!ops[op].changes)
		return ops[op].fn(k, args, reply, e);
	if (c->batch.broken || batch_commit(c, e) < 0 || batch_begin(c) < 0)
		return greta_err_set(e, GRETA_EBUSY, "the database %s can't be written just now", c->db_path);
	if (ops[op].fn(k, args, reply, e) < 0) {
		batch_undo(c);
		return -1;
	}
	if (batch_commit(c, e) < 0) {
		batch_fail(c, e);
		return -1;
	}
	return 0;
}

static void handle(struct conn *k, const char *line, size_t n)
{
	struct greta_err why = {0};
	struct greta_json *j = greta_json_parse("request", line, n, &why);
	const struct greta_json_val *args = j ? greta_json_root(j) : NULL;
	const char *name = args ? arg_str(args, "op") : NULL;
	cleanup_buf struct greta_buf members = {0};
	struct greta_jsonw w = greta_jsonw(&members);
	int64_t re = args ? arg_i64(args, "re", 0) : 0;
	size_t op = 0;
	int rc;

	while (op < GRETA_COUNT(ops) && !greta_str_eq(name, ops[op].op))
		op++;
	k->check_re = re;
	greta_jsonw_object(&w, NULL);
	if (!j)
		rc = -1;
	else if (op == GRETA_COUNT(ops))
		rc = greta_err_set(&why, GRETA_EVERSION, "the controller does not know \"%s\": it is of another release",
				   name ? name : "");
	else
		rc = run_op(k, op, args, &w, &why);
	greta_jsonw_end_object(&w);
	if (rc < 0)
		answer_error(k, re, &why);
	else if (rc == 0)
		answer_ok(k, re, &members);
	greta_json_destroy(j);
}

static void take_lines(struct conn *k)
{
	char *end;

	while (k->in.len && (end = memchr(k->in.data, '\n', k->in.len))) {
		size_t n = (size_t)(end - k->in.data);

		handle(k, k->in.data, n);
		greta_buf_consume(&k->in, n + 1);
	}
	if (k->in.len > CONTROL_LINE_MAX)
		k->closing = true;
}

static void on_conn(struct greta_watch *w, uint32_t events, void *arg)
{
	struct conn *k = arg;
	ssize_t n = -1;

	(void)w;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		n = recv(k->fd, greta_buf_reserve(&k->in, 65536), 65536, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			k->closing = true;
	}
	if (n > 0) {
		k->in.len += (size_t)n;
		k->in.data[k->in.len] = '\0';
		take_lines(k);
	}
	if (events & EPOLLOUT)
		conn_flush(k);
	if (k->closing)
		conn_destroy(k);
}

static void on_accept(struct greta_watch *w, uint32_t events, void *arg)
{
	struct control *control = arg;
	int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred who;
	socklen_t len = sizeof who;
	struct conn *k;

	(void)w;
	(void)events;
	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || (who.uid != geteuid() && who.uid != 0)) {
		close(fd);
		return;
	}
	k = greta_alloc(sizeof *k);
	k->control = control;
	k->fd = fd;
	k->io = greta_loop_fd(control->ctl->loop, fd, EPOLLIN, on_conn, k);
	k->next = control->conns;
	control->conns = k;
	greta_buf_addf(&k->out, "{\"hello\":{\"version\":\"%s\",\"pid\":%d}}\n", GRETA_VERSION, (int)getpid());
	conn_flush(k);
}

int control_open(struct ctl *c, struct greta_err *e)
{
	struct sockaddr_un address;
	cleanup_fd int dir = -1;
	int fd;

	if (control_address(c->db_path, &address, &dir, e) < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return greta_err_sys(e, "socket");
	unlink(address.sun_path); /* DB.lock is ours: what is there is a dead controller's */
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || chmod(address.sun_path, 0600) < 0 ||
	    listen(fd, 64) < 0) {
		greta_err_sys(e, "%s.sock", c->db_path);
		close(fd);
		return -1;
	}
	c->control = greta_alloc(sizeof *c->control);
	c->control->ctl = c;
	c->control->fd = fd;
	c->control->path = greta_format("%s.sock", c->db_path);
	c->control->accept = greta_loop_fd(c->loop, fd, EPOLLIN, on_accept, c->control);
	return 0;
}

void control_close(struct ctl *c)
{
	struct control *control = c->control;

	if (!control)
		return;
	unlink(control->path);
	while (control->conns) {
		if (control->conns->watches)
			send_end(control->conns, "stopped", c->fatal.code ? c->fatal.text : NULL);
		conn_destroy(control->conns);
	}
	greta_watch_remove(control->accept);
	close(control->fd);
	free(control->path);
	free(control);
	c->control = NULL;
}

bool control_busy(const struct ctl *c)
{
	return c->control && c->control->conns;
}

bool control_watched(const struct ctl *c, int64_t campaign_id)
{
	for (const struct conn *k = c->control ? c->control->conns : NULL; k; k = k->next)
		if (k->watches && !k->told_end && k->campaign_id == campaign_id)
			return true;
	return false;
}

static void tell_ends(struct conn *k)
{
	struct ctl *c = k->control->ctl;
	struct ctl_campaign *cc = k->campaign_id ? work_find(c, k->campaign_id) : NULL;

	if (!k->campaign_id || k->told_end || (cc && !cc->finished && !cc->hopeless))
		return;
	send_status(k);
	send_end(k, !cc ? "ended" : cc->hopeless ? "stuck" : cc->cancelled ? "cancelled" : "done",
		 cc && cc->hopeless ? cc->why : NULL);
}

void control_tick(struct ctl *c)
{
	int64_t now = greta_clock_mono_ns();

	for (struct conn *k = c->control ? c->control->conns : NULL; k; k = k->next) {
		if (!k->watches)
			continue;
		if (now - k->sent_ns >= k->period_ns)
			send_status(k);
		tell_ends(k);
	}
}
