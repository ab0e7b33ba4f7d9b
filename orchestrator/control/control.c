#include "orchestrator/control/control.h"
#include "orchestrator/control/control_conn.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "orchestrator/control/action.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

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
	control_forget_checks(k);
	close(k->fd);
	greta_buf_release(&k->in);
	greta_buf_release(&k->out);
	free(k);
}

/* Callers may be walking over connections, so the end comes with the next event. */
void control_flush(struct conn *k)
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

void control_answer_error(struct conn *k, int64_t re, const struct greta_err *why)
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
	control_flush(k);
}

void control_answer(struct conn *k, int64_t re, const struct greta_buf *members)
{
	greta_buf_addf(&k->out, "{\"re\":%lld,\"ok\":%s}\n", (long long)re, greta_buf_str(members));
	control_flush(k);
}

/* ---- arguments */

const char *control_str(const struct greta_json_val *args, const char *key)
{
	const char *s = NULL;

	greta_json_str(greta_json_get(args, key), &s);
	return s;
}

int64_t control_i64(const struct greta_json_val *args, const char *key, int64_t otherwise)
{
	greta_json_i64(greta_json_get(args, key), &otherwise);
	return otherwise;
}

int control_campaign(struct ctl *c, const struct greta_json_val *args, int64_t *id, struct greta_err *e)
{
	const char *which = control_str(args, "campaign");

	if (greta_json_i64(greta_json_get(args, "campaign"), id) == 0)
		return 0;
	return greta_campaigns_find(c->db, which, id, e);
}

void control_note_detached(struct ctl *c, const struct greta_json_val *args)
{
	bool detached = false;

	greta_json_bool(greta_json_get(args, "detach"), &detached);
	c->detached |= detached;
}

void control_note(struct ctl *c, const char *what, const struct greta_json_val *args)
{
	cleanup_buf struct greta_buf detail = {0};
	struct greta_err why = {0};
	const char *who = control_str(args, "who");

	if (greta_str_eq(what, "submit"))
		greta_buf_adds(&detail, "{}");
	else
		greta_json_print(args, &detail);
	if (greta_actions_add(c->db, who, what, greta_buf_str(&detail), &why) < 0)
		batch_fail(c, &why);
}

/* ---- the rest */

static int do_action(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	const char *name = control_str(args, "name");
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
	bool changes, needs_agent; /* what never talks to a node goes without one: import, baselines, cleaning up */
	control_fn *fn;
} ops[] = {
	{"submit", true, true, control_submit},          {"resume", true, true, control_resume},
	{"rca", true, true, control_rca},                {"cancel", true, false, control_cancel},
	{"watch", false, false, control_watch},          {"status", false, false, control_status},
	{"node_add", true, false, control_node_add},     {"node_state", true, false, control_node_state},
	{"node_check", false, true, control_node_check}, {"node_ping", false, true, control_node_ping},
	{"action", true, false, do_action},              {"leave", false, false, do_leave},
	{"stop", false, false, do_stop},
};

/* What changes something has a batch of its own, so that what a refused request wrote is taken back alone. Memory is
 * changed only behind the last refusal. */
static int run_op(struct conn *k, size_t op, const struct greta_json_val *args, struct greta_jsonw *reply,
		  struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	int rc;

	if (ops[op].needs_agent && agent_bundle_find(&c->bundle, e) < 0)
		return -1;
	if (!ops[op].changes)
		return ops[op].fn(k, args, reply, e);
	if (c->batch.broken || batch_commit(c, e) < 0 || batch_begin(c) < 0)
		return greta_err_set(e, GRETA_EBUSY, "the database %s can't be written just now", c->db_path);
	rc = ops[op].fn(k, args, reply, e);
	if (rc < 0) {
		batch_undo(c);
		return -1;
	}
	if (batch_commit(c, e) < 0) {
		batch_fail(c, e);
		return -1;
	}
	return rc;
}

static void handle(struct conn *k, const char *line, size_t n)
{
	struct greta_err why = {0};
	struct greta_json *j = greta_json_parse("request", line, n, &why);
	const struct greta_json_val *args = j ? greta_json_root(j) : NULL;
	const char *name = args ? control_str(args, "op") : NULL;
	cleanup_buf struct greta_buf members = {0};
	struct greta_jsonw w = greta_jsonw(&members);
	int64_t re = args ? control_i64(args, "re", 0) : 0;
	size_t op = 0;
	int rc;

	while (op < GRETA_COUNT(ops) && !greta_str_eq(name, ops[op].op))
		op++;
	k->re = re;
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
		control_answer_error(k, re, &why);
	else if (rc == 0)
		control_answer(k, re, &members);
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
		control_flush(k);
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
	control_flush(k);
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
			control_send_end(control->conns, "stopped", c->fatal.code ? c->fatal.text : NULL);
		conn_destroy(control->conns);
	}
	greta_watch_remove(control->accept);
	close(control->fd);
	free(control->path);
	free(control);
	c->control = NULL;
}

/* Who looks at everything, and at no campaign in particular, keeps nobody. */
bool control_busy(const struct ctl *c)
{
	for (const struct conn *k = c->control ? c->control->conns : NULL; k; k = k->next)
		if (!k->watches || k->campaign_id)
			return true;
	return false;
}
