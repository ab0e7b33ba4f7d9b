/* A node over SSH, without ever blocking the loop.
 *
 *	GATE -> CONFIG -> GATE -> DIAL -> HANDSHAKE -> AGENT -> AUTH -> UP -> FAILED
 *	wait    ssh -G    wait    TCP or   keys and     ssh-     keys    streams
 *	turn              turn    proxy    host key     agent?   tried
 *
 * Each state has a deadline, since libssh applies none in non-blocking mode. What was learned the hard way:
 * - One private ssh_event a session: in a shared one, the death of one peer breaks healthy sessions.
 * - The descriptor given to libssh is a duplicate. ssh_free closes it, or an error did; never ssh_disconnect, which
 *   leaves it open. The loop watches our own, so that a descriptor is never watched after it was closed.
 * - libssh reads the socket inside any call of its own, also inside a write. Callbacks only store what came; pump()
 *   hands it on, and whatever may have stored something makes sure that pump() runs.
 * - Its output buffer has no bound: nothing more is written while much waits to go out.
 */
#include "orchestrator/remote/ssh_conn.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define DIAL_DEADLINE_MS 10000
#define HANDSHAKE_DEADLINE_MS 30000 /* many at once on a small controller */
#define POLLS_PER_PUMP 64           /* libssh reads 4 KiB a poll */

/* ---- endings */

const char *ssh_conn_name(const struct ssh_conn *c)
{
	return c->node.host;
}

static void conn_stop_watching(struct ssh_conn *c)
{
	greta_watch_remove(c->deadline);
	greta_watch_remove(c->io);
	greta_watch_remove(c->soon);
	c->deadline = c->io = c->soon = NULL;
}

void ssh_conn_fail(struct ssh_conn *c, enum transport_failure kind, const struct greta_err *why)
{
	struct greta_err named = *why;

	if (c->state == CONN_FAILED)
		return;
	c->state = CONN_FAILED;
	conn_stop_watching(c);
	ssh_gate_leave(&c->gate);
	greta_err_wrap(&named, "%s", ssh_conn_name(c));
	c->ev->failed(c->arg, kind, &named);
}

static void conn_fail_text(struct ssh_conn *c, enum transport_failure kind, enum greta_code code, const char *text)
{
	struct greta_err why = {0};
	const char *proxy = dial_said(c->dial);

	greta_err_set(&why, code, "%s%s%s%s", text, *proxy ? " (the jump host's ssh said: " : "", proxy,
		      *proxy ? ")" : "");
	ssh_conn_fail(c, kind, &why);
}

static void on_deadline(struct greta_watch *w, uint32_t events, void *arg)
{
	static const char *const what[] = {
		[CONN_GATE] = "no turn to connect",
		[CONN_CONFIG] = "`ssh -G` did not answer in time (a Match exec that hangs?)",
		[CONN_DIAL] = "no connection within 10 s (down, or a firewall drops packets)",
		[CONN_HANDSHAKE] = "the SSH server accepted the connection but did not finish the handshake in 30 s",
		[CONN_AGENT] = "the ssh-agent did not answer",
		[CONN_AUTH] = "the SSH server did not finish authentication in 30 s",
		[CONN_UP] = "", [CONN_FAILED] = "",
	};
	struct ssh_conn *c = arg;

	(void)w;
	(void)events;
	conn_fail_text(c, TRANSPORT_RETRY, GRETA_ETIMEOUT, what[c->state]);
}

void ssh_conn_state(struct ssh_conn *c, enum conn_state state, int64_t deadline_ms)
{
	c->state = state;
	greta_watch_remove(c->deadline);
	c->deadline = deadline_ms ? greta_loop_timer(c->loop, deadline_ms, 0, on_deadline, c) : NULL;
}

/* ---- DIAL */

static void on_io(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w;
	(void)events;
	ssh_conn_pump(arg);
}

static int set_options(struct ssh_conn *c, int fd, struct greta_err *e)
{
	const int off = 0;
	const bool no_config = false;
	const unsigned port = (unsigned)c->settings.port;
	const struct {
		enum ssh_options_e option;
		const void *value;
	} options[] = {
		{SSH_OPTIONS_PROCESS_CONFIG, &no_config}, /* ssh -G has done that, and better */
		{SSH_OPTIONS_HOST, c->settings.host},
		{SSH_OPTIONS_PORT, &port},
		{SSH_OPTIONS_USER, c->settings.user},
		{SSH_OPTIONS_KNOWNHOSTS, "/dev/null"},
		{SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null"},
		{SSH_OPTIONS_GSSAPI_AUTH, &off},
		{SSH_OPTIONS_FD, &fd},
	};

	for (size_t i = 0; i < GRETA_COUNT(options); i++)
		if (ssh_options_set(c->session, options[i].option, options[i].value) != SSH_OK)
			return greta_err_set(e, GRETA_EFAIL, "%s", ssh_get_error(c->session));
	if (c->settings.identity_agent)
		ssh_options_set(c->session, SSH_OPTIONS_IDENTITY_AGENT, c->settings.identity_agent);
	return ssh_hostkey_offer(c, e);
}

static void begin_handshake(void *arg, int fd, const struct greta_err *why)
{
	struct ssh_conn *c = arg;
	struct greta_err err = {0};
	int theirs;

	if (fd < 0) {
		const char *said = dial_said(c->dial);

		greta_err_set(&err, why->code, "can't connect to %s%s%s", why->text, *said ? ": " : "", said);
		ssh_conn_fail(c, TRANSPORT_RETRY, &err);
		return;
	}
	c->fd = fd;
	c->session = ssh_new();
	theirs = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (!c->session || theirs < 0) {
		greta_err_sys(&err, "an SSH session");
		ssh_conn_fail(c, TRANSPORT_RETRY, &err);
		return;
	}
	ssh_set_blocking(c->session, 0);
	if (set_options(c, theirs, &err) < 0) {
		close(theirs);
		ssh_conn_fail(c, TRANSPORT_REFUSED, &err);
		return;
	}
	ssh_conn_state(c, CONN_HANDSHAKE, HANDSHAKE_DEADLINE_MS);
	c->io = greta_loop_fd(c->loop, c->fd, EPOLLIN, on_io, c);
	ssh_conn_pump(c);
}

void ssh_conn_dial(void *arg)
{
	struct ssh_conn *c = arg;

	ssh_conn_state(c, CONN_DIAL, DIAL_DEADLINE_MS);
	c->dial = dial_start(c->loop, &c->settings, &c->node, begin_handshake, c);
}

/* ---- up */

void ssh_conn_up(struct ssh_conn *c)
{
	c->event = ssh_event_new();
	ssh_event_add_session(c->event, c->session);
	ssh_conn_state(c, CONN_UP, 0);
	ssh_gate_leave(&c->gate);
	c->ev->connected(c->arg);
}

void ssh_conn_broken(struct ssh_conn *c)
{
	const char *text = ssh_get_error(c->session);
	char line[400];

	snprintf(line, sizeof line, "%s: %s", c->state == CONN_UP ? "the connection broke" : "the SSH handshake failed",
		 text && *text ? text : "closed by the other side");
	conn_fail_text(c, TRANSPORT_RETRY, GRETA_ECLOSED, line);
}

static void step_handshake(struct ssh_conn *c)
{
	struct greta_err why = {0};
	int rc = ssh_connect(c->session);

	if (rc == SSH_AGAIN)
		return;
	if (rc != SSH_OK) {
		ssh_conn_broken(c);
		return;
	}
	/* libssh makes the socket blocking again. */
	if (greta_fs_set_nonblock(c->fd, &why) < 0)
		ssh_conn_fail(c, TRANSPORT_RETRY, &why);
	else if (ssh_hostkey_check(c, &why) < 0)
		ssh_conn_fail(c, TRANSPORT_REFUSED, &why);
	else
		ssh_auth_begin(c);
}

/* Something may have been received inside a call that was not ssh_conn_pump(). */
static void on_soon(struct greta_watch *w, uint32_t events, void *arg)
{
	struct ssh_conn *c = arg;

	(void)events;
	greta_watch_remove(w);
	c->soon = NULL;
	ssh_conn_pump(c);
}

void ssh_conn_pump_soon(struct ssh_conn *c)
{
	if (!c->soon)
		c->soon = greta_loop_timer(c->loop, 0, 0, on_soon, c);
}

static bool write_pending(const struct ssh_conn *c)
{
	return ssh_get_poll_flags(c->session) & SSH_WRITE_PENDING;
}

/* Reads, serves, and reads again until there is nothing left, or enough for one turn. */
static void step_up(struct ssh_conn *c, const bool *gone)
{
	for (int i = 0; i < POLLS_PER_PUMP; i++) {
		int rc = ssh_event_dopoll(c->event, 0);

		if (!write_pending(c))
			c->unsent = 0;
		while (c->state == CONN_UP && ssh_stream_serve_one(c))
			if (*gone)
				return;
		if (rc == SSH_ERROR || !ssh_is_connected(c->session)) {
			ssh_conn_broken(c);
			return;
		}
		if (rc == SSH_AGAIN)
			return;
	}
	ssh_conn_pump_soon(c);
}

void ssh_conn_pump(struct ssh_conn *c)
{
	bool gone = false, *outer = c->gone;

	c->gone = &gone;
	if (c->state == CONN_HANDSHAKE)
		step_handshake(c);
	if (!gone && c->state == CONN_AUTH)
		ssh_auth_step(c);
	if (!gone && c->state == CONN_UP)
		step_up(c, &gone);
	if (gone) {
		if (outer)
			*outer = true;
		return;
	}
	c->gone = outer;
	if (c->io && c->state != CONN_FAILED)
		greta_watch_events(c->io, EPOLLIN | (write_pending(c) ? EPOLLOUT : 0));
}

/* ---- the transport */

/* The command passes through the login shell there, as SSH has it. Nothing in it can mean more to a shell than letters:
 * the store's path was checked by node_settings_parse, the rest are words, hashes and nonces of ours. */
static struct stream *ssh_agent_stream(struct transport *t, const char *const *args, const struct stream_events *ev,
				       void *arg, struct greta_err *e)
{
	struct ssh_conn *c = (struct ssh_conn *)t;
	cleanup_buf struct greta_buf command = {0};

	greta_buf_adds(&command, c->agent_path);
	for (; *args; args++) {
		greta_buf_addc(&command, ' ');
		greta_buf_add_word(&command, *args);
	}
	return ssh_stream_open(c, greta_buf_str(&command), false, ev, arg, e);
}

static struct stream *ssh_files_stream(struct transport *t, const struct stream_events *ev, void *arg,
				       struct greta_err *e)
{
	return ssh_stream_open((struct ssh_conn *)t, "sftp", true, ev, arg, e);
}

static const char *ssh_host_key(const struct transport *t)
{
	return ((const struct ssh_conn *)t)->host_key;
}

static void ssh_destroy(struct transport *t)
{
	struct ssh_conn *c = (struct ssh_conn *)t;

	if (c->gone)
		*c->gone = true;
	conn_stop_watching(c);
	ssh_gate_leave(&c->gate);
	ssh_agent_ask_cancel(c->ask);
	ssh_config_abandon(c);
	if (c->event) {
		ssh_event_remove_session(c->event, c->session);
		ssh_event_free(c->event);
	}
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_RDWR);
	ssh_free(c->session);
	if (c->fd >= 0)
		close(c->fd);
	dial_destroy(c->dial);
	ssh_settings_release(&c->settings);
	node_settings_release(&c->node);
	greta_buf_release(&c->tried);
	free(c->host_key);
	free(c->agent_path);
	free(c);
}

static const struct transport_ops ssh_ops = {
	.name = "ssh",
	.uploads = true,
	.agent = ssh_agent_stream,
	.files = ssh_files_stream,
	.host_key = ssh_host_key,
	.destroy = ssh_destroy,
};

static void settings_copy(const struct node_settings *from, struct node_settings *to)
{
	*to = *from;
	to->host = greta_strdup(from->host);
	to->user = greta_strdup(from->user);
	to->identity = greta_strdup(from->identity);
	to->ssh_config = greta_strdup(from->ssh_config);
	to->slurm = greta_strdup(from->slurm);
	to->store = greta_strdup(from->store);
}

struct transport *transport_ssh(struct ssh_pool *pool, const struct node_settings *settings, const char *agent,
				const struct transport_events *ev, void *arg)
{
	struct ssh_conn *c = greta_alloc(sizeof *c);

	c->base.ops = &ssh_ops;
	c->pool = pool;
	c->loop = ssh_pool_loop(pool);
	settings_copy(settings, &c->node);
	c->agent_path = greta_strdup(agent);
	c->ev = ev;
	c->arg = arg;
	c->fd = c->config_fd = -1;
	ssh_gate_enter(&c->gate, pool, "ssh -G", ssh_config_begin, c);
	return &c->base;
}

const char *transport_ssh_library(void)
{
	return ssh_version(0);
}
