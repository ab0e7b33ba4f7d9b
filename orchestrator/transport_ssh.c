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
#include "orchestrator/transport.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "orchestrator/known_hosts.h"
#include "orchestrator/ssh_dial.h"
#include "orchestrator/ssh_pool.h"
#include "orchestrator/ssh_settings.h"

#include <errno.h>
#include <fcntl.h>
#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define CONFIG_DEADLINE_MS 10000    /* Match exec may run programs */
#define DIAL_DEADLINE_MS 10000
#define HANDSHAKE_DEADLINE_MS 30000 /* many at once on a small controller */
#define AUTH_DEADLINE_MS 30000
#define SAID_MAX 300
#define UNSENT_MAX (256 * 1024)
#define POLLS_PER_PUMP 64           /* libssh reads 4 KiB a poll */

enum conn_state { CONN_GATE, CONN_CONFIG, CONN_DIAL, CONN_HANDSHAKE, CONN_AGENT, CONN_AUTH, CONN_UP, CONN_FAILED };

struct ssh_stream {
	struct stream base;
	struct ssh_conn *conn;
	struct ssh_stream *next;
	const struct stream_events *ev;
	void *arg;
	char *what;              /* command, or subsystem */
	bool subsystem;
	ssh_channel channel;
	struct ssh_channel_callbacks_struct callbacks;
	enum { STREAM_OPENING, STREAM_ASKING, STREAM_READY, STREAM_ENDED } state;
	struct greta_buf in;     /* received, not handed on */
	char said[SAID_MAX];     /* the end of its stderr */
	int exit_status;
	bool far_closed, wants_write;
};

struct ssh_conn {
	struct transport base;
	struct ssh_pool *pool;
	struct greta_loop *loop;
	struct node_settings node;
	struct ssh_settings settings;
	char *agent_path;
	const struct transport_events *ev;
	void *arg;
	enum conn_state state;
	struct ssh_gate gate;
	struct greta_watch *deadline, *io, *soon;
	/* CONFIG */
	pid_t config_pid;
	int config_fd;
	struct greta_watch *config_io, *config_child;
	struct greta_buf config_out;
	int config_status;
	/* DIAL and after */
	struct dial *dial;
	int fd;
	ssh_session session;
	ssh_event event;
	size_t unsent;
	char *host_key;
	/* AUTH */
	struct ssh_agent_ask *ask;
	bool agent_has_keys, agent_tried;
	char agent_note[200];
	size_t next_identity;
	struct greta_buf tried;  /* for the message */
	struct ssh_stream *streams;
	bool *gone;              /* set when a callback destroyed the connection under pump() */
};

static void pump(struct ssh_conn *c);

/* ---- endings */

static const char *conn_name(const struct ssh_conn *c)
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

static void conn_fail(struct ssh_conn *c, enum transport_failure kind, const struct greta_err *why)
{
	struct greta_err named = *why;

	if (c->state == CONN_FAILED)
		return;
	c->state = CONN_FAILED;
	conn_stop_watching(c);
	ssh_gate_leave(&c->gate);
	greta_err_wrap(&named, "%s", conn_name(c));
	c->ev->failed(c->arg, kind, &named);
}

static void conn_fail_text(struct ssh_conn *c, enum transport_failure kind, enum greta_code code, const char *text)
{
	struct greta_err why = {0};
	const char *proxy = dial_said(c->dial);

	greta_err_set(&why, code, "%s%s%s%s", text, *proxy ? " (the jump host's ssh said: " : "", proxy,
		      *proxy ? ")" : "");
	conn_fail(c, kind, &why);
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

static void set_state(struct ssh_conn *c, enum conn_state state, int64_t deadline_ms)
{
	c->state = state;
	greta_watch_remove(c->deadline);
	c->deadline = deadline_ms ? greta_loop_timer(c->loop, deadline_ms, 0, on_deadline, c) : NULL;
}

/* ---- CONFIG */

static void begin_dial(void *arg);

static void config_end(struct ssh_conn *c)
{
	struct greta_err why = {0};

	if (c->config_io || c->config_child)
		return; /* both the output's end and the exit status are needed */
	close(c->config_fd);
	c->config_fd = -1;
	if (!WIFEXITED(c->config_status) || WEXITSTATUS(c->config_status) != 0) {
		for (char *at = c->config_out.data; at && *at; at++)
			if (*at == '\n' || *at == '\r')
				*at = ' ';
		greta_err_set(&why, GRETA_EINVAL, "the ssh configuration is not usable: %.300s",
			      greta_buf_str(&c->config_out));
		conn_fail(c, TRANSPORT_REFUSED, &why);
		return;
	}
	if (ssh_settings_parse(&c->node, greta_buf_str(&c->config_out), c->config_out.len, &c->settings, &why) < 0) {
		conn_fail(c, TRANSPORT_REFUSED, &why);
		return;
	}
	greta_buf_release(&c->config_out);
	ssh_gate_leave(&c->gate);
	set_state(c, CONN_GATE, 0);
	ssh_gate_enter(&c->gate, c->pool, ssh_settings_bastion(&c->settings), begin_dial, c);
}

static void on_config_out(struct greta_watch *w, uint32_t events, void *arg)
{
	struct ssh_conn *c = arg;
	ssize_t n = read(c->config_fd, greta_buf_reserve(&c->config_out, 16384), 16384);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0 && c->config_out.len < (1 << 20)) {
		c->config_out.len += (size_t)n;
		c->config_out.data[c->config_out.len] = '\0';
		return;
	}
	greta_watch_remove(w);
	c->config_io = NULL;
	config_end(c);
}

static void on_config_end(struct greta_watch *w, uint32_t status, void *arg)
{
	struct ssh_conn *c = arg;

	(void)w;
	c->config_child = NULL;
	c->config_pid = 0;
	c->config_status = (int)status;
	config_end(c);
}

static void begin_config(void *arg)
{
	struct ssh_conn *c = arg;
	cleanup_strs struct greta_strs argv = {0};
	struct greta_err why = {0};
	int fds[2];

	set_state(c, CONN_CONFIG, CONFIG_DEADLINE_MS);
	ssh_settings_command(&c->node, &argv);
	if (pipe2(fds, O_CLOEXEC) < 0) {
		greta_err_sys(&why, "pipe");
		conn_fail(c, TRANSPORT_RETRY, &why);
		return;
	}
	c->config_pid = greta_child_spawn(&(struct greta_child_spec){
		.argv = (const char *const *)argv.items,
		.fds = (const struct greta_child_fd[]){{fds[1], 1}, {fds[1], 2}},
		.n_fds = 2,
		.new_session = true,
	}, &why);
	close(fds[1]);
	c->config_fd = fds[0];
	if (c->config_pid < 0 || greta_fs_set_nonblock(c->config_fd, &why) < 0) {
		conn_fail(c, TRANSPORT_RETRY, &why);
		return;
	}
	c->config_io = greta_loop_fd(c->loop, c->config_fd, EPOLLIN, on_config_out, c);
	c->config_child = greta_loop_child(c->loop, c->config_pid, on_config_end, c);
}

/* ---- DIAL */

static void on_io(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w;
	(void)events;
	pump(arg);
}

/* The types that known_hosts has for this host come first, or a server with several keys would show us one we can't
 * compare. */
static int offer_host_keys(struct ssh_conn *c, struct greta_err *e)
{
	static const char usual[] = "ssh-ed25519,ecdsa-sha2-nistp521,ecdsa-sha2-nistp384,ecdsa-sha2-nistp256,"
				    "rsa-sha2-512,rsa-sha2-256";
	cleanup_buf struct greta_buf types = {0}, offer = {0};
	const struct greta_strs *lists[] = {&c->settings.user_known_hosts, &c->settings.global_known_hosts};

	for (size_t l = 0; l < GRETA_COUNT(lists); l++) {
		for (size_t i = 0; i < lists[l]->n; i++) {
			const struct known_hosts *k = ssh_pool_known_hosts(c->pool, lists[l]->items[i], e);

			if (!k)
				return -1;
			known_hosts_types(k, c->settings.key_name, c->settings.port, &types);
		}
	}
	for (const char *at = greta_buf_str(&types); *at;) {
		size_t n = strcspn(at, ",");

		if (n == 7 && !strncmp(at, "ssh-rsa", n))
			greta_buf_adds(&offer, "rsa-sha2-512,rsa-sha2-256,");
		else if (memmem(usual, sizeof usual - 1, at, n))
			greta_buf_addf(&offer, "%.*s,", (int)n, at);
		at += n + (at[n] == ',');
	}
	greta_buf_adds(&offer, usual);
	if (ssh_options_set(c->session, SSH_OPTIONS_HOSTKEYS, greta_buf_str(&offer)) != SSH_OK)
		return greta_err_set(e, GRETA_EFAIL, "%s", ssh_get_error(c->session));
	return 0;
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
	return offer_host_keys(c, e);
}

static void begin_handshake(void *arg, int fd, const struct greta_err *why)
{
	struct ssh_conn *c = arg;
	struct greta_err err = {0};
	int theirs;

	if (fd < 0) {
		const char *said = dial_said(c->dial);

		greta_err_set(&err, why->code, "can't connect to %s%s%s", why->text, *said ? ": " : "", said);
		conn_fail(c, TRANSPORT_RETRY, &err);
		return;
	}
	c->fd = fd;
	c->session = ssh_new();
	theirs = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (!c->session || theirs < 0) {
		greta_err_sys(&err, "an SSH session");
		conn_fail(c, TRANSPORT_RETRY, &err);
		return;
	}
	ssh_set_blocking(c->session, 0);
	if (set_options(c, theirs, &err) < 0) {
		close(theirs);
		conn_fail(c, TRANSPORT_REFUSED, &err);
		return;
	}
	set_state(c, CONN_HANDSHAKE, HANDSHAKE_DEADLINE_MS);
	c->io = greta_loop_fd(c->loop, c->fd, EPOLLIN, on_io, c);
	pump(c);
}

static void begin_dial(void *arg)
{
	struct ssh_conn *c = arg;

	set_state(c, CONN_DIAL, DIAL_DEADLINE_MS);
	c->dial = dial_start(c->loop, &c->settings, &c->node, begin_handshake, c);
}

/* ---- host key */

static const char *key_type_name(ssh_key key)
{
	const char *curve = ssh_pki_key_ecdsa_name(key);

	return curve && *curve && ssh_key_type(key) >= SSH_KEYTYPE_ECDSA_P256 &&
			       ssh_key_type(key) <= SSH_KEYTYPE_ECDSA_P521
		       ? curve
		       : ssh_key_type_to_char(ssh_key_type(key));
}

static enum known_hosts_verdict check_files(struct ssh_conn *c, const char *key, const char **file, int *line,
					    struct greta_err *e)
{
	const struct greta_strs *lists[] = {&c->settings.user_known_hosts, &c->settings.global_known_hosts};
	enum known_hosts_verdict all = KNOWN_HOSTS_UNKNOWN;

	for (size_t l = 0; l < GRETA_COUNT(lists); l++) {
		for (size_t i = 0; i < lists[l]->n; i++) {
			const struct known_hosts *k = ssh_pool_known_hosts(c->pool, lists[l]->items[i], e);
			enum known_hosts_verdict one;
			int at = 0;

			if (!k)
				return KNOWN_HOSTS_UNKNOWN;
			one = known_hosts_check(k, c->settings.key_name, c->settings.port, key, &at);
			if (one == KNOWN_HOSTS_UNKNOWN || (all == KNOWN_HOSTS_MATCH && one != KNOWN_HOSTS_REVOKED))
				continue;
			all = one;
			*file = lists[l]->items[i];
			*line = at;
			if (all == KNOWN_HOSTS_REVOKED)
				return all;
		}
	}
	return all;
}

static int trust_first(struct ssh_conn *c, const char *type, const char *key, struct greta_err *e)
{
	if (!c->settings.user_known_hosts.n)
		return 0;
	greta_info("%s: %s key %s trusted at first sight and remembered in %s", conn_name(c), type, c->host_key,
		   c->settings.user_known_hosts.items[0]);
	return known_hosts_remember(c->settings.user_known_hosts.items[0], c->settings.key_name, c->settings.port,
				    type, key, e);
}

static int judge_host_key(struct ssh_conn *c, const char *type, const char *key, struct greta_err *e)
{
	const char *file = NULL;
	cleanup_free char *name = known_hosts_name(c->settings.key_name, c->settings.port);
	int line = 0;

	switch (check_files(c, key, &file, &line, e)) {
	case KNOWN_HOSTS_MATCH:
		return 0;
	case KNOWN_HOSTS_REVOKED:
		return greta_err_set(e, GRETA_EAUTH, "host key refused: %s is marked @revoked in %s line %d",
				     c->host_key, file, line);
	case KNOWN_HOSTS_CHANGED:
		return greta_err_set(e, GRETA_EAUTH,
				     "host key refused: the server shows %s key %s, but %s line %d has another one for "
				     "%s. Someone may be listening in; if the host was installed anew, remove the old "
				     "key (ssh-keygen -R '%s')", type, c->host_key, file, line, name, name);
	case KNOWN_HOSTS_UNKNOWN:
		break;
	}
	if (e->code)
		return -1;
	if (c->settings.accept_new)
		return trust_first(c, type, key, e);
	return greta_err_set(e, GRETA_EAUTH,
			     "host key refused: %s key %s of %s is in no known_hosts file. Check the fingerprint and "
			     "connect once with ssh, or say --accept-new to `node add`", type, c->host_key, name);
}

static int check_host_key(struct ssh_conn *c, struct greta_err *e)
{
	unsigned char *hash = NULL;
	char *base64 = NULL, *print = NULL;
	ssh_key key = NULL;
	size_t n;
	int rc = -1;

	if (ssh_get_server_publickey(c->session, &key) != SSH_OK || ssh_pki_export_pubkey_base64(key, &base64) != SSH_OK ||
	    ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &n) != 0 ||
	    !(print = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, n))) {
		greta_err_set(e, GRETA_EPROTO, "the server's host key can't be read");
		goto out;
	}
	free(c->host_key);
	c->host_key = greta_strdup(print);
	rc = judge_host_key(c, key_type_name(key), base64, e);
out:
	ssh_string_free_char(print);
	ssh_string_free_char(base64);
	ssh_clean_pubkey_hash(&hash);
	ssh_key_free(key);
	return rc;
}

/* ---- AUTH */

static void on_agent(void *arg, int n_keys, const char *why)
{
	struct ssh_conn *c = arg;

	c->ask = NULL;
	c->agent_has_keys = n_keys > 0;
	greta_str_copy(c->agent_note, sizeof c->agent_note, why);
	set_state(c, CONN_AUTH, AUTH_DEADLINE_MS);
	pump(c);
}

static void begin_agent(struct ssh_conn *c)
{
	const char *socket_path = c->settings.identity_agent ? c->settings.identity_agent : getenv("SSH_AUTH_SOCK");

	set_state(c, CONN_AGENT, AUTH_DEADLINE_MS);
	if (greta_str_eq(socket_path, "none"))
		socket_path = NULL;
	c->ask = ssh_agent_ask(c->pool, socket_path, on_agent, c);
}

static void auth_refused(struct ssh_conn *c)
{
	struct greta_err why = {0};

	greta_err_set(&why, GRETA_EAUTH, "%s refused user %s; tried: %s%s%s", c->settings.host, c->settings.user,
		      c->tried.len ? greta_buf_str(&c->tried) : "nothing (no key file is there, no ssh-agent)",
		      *c->agent_note ? "; " : "", c->agent_note);
	conn_fail(c, TRANSPORT_REFUSED, &why);
}

static void note_tried(struct ssh_conn *c, const char *what)
{
	greta_buf_addf(&c->tried, "%s%s", c->tried.len ? ", " : "", what);
}

/* The next key file that can be used; those that are absent are passed over in silence, as ssh does. */
static ssh_key next_key(struct ssh_conn *c)
{
	while (c->next_identity < c->settings.identities.n) {
		const char *path = c->settings.identities.items[c->next_identity];
		struct greta_err why = {0};
		ssh_key key = ssh_pool_key(c->pool, path, &why);

		if (key)
			return key;
		if (why.code != GRETA_ENOENT)
			note_tried(c, why.text);
		c->next_identity++;
	}
	return NULL;
}

/* One attempt with the next means; SSH_AUTH_DENIED: go on with the one after it. Files that the user named for this
 * host go first, else what the agent holds. */
static int auth_once(struct ssh_conn *c, bool *exhausted)
{
	bool agent_first = !c->settings.identities_only && !c->node.identity;
	bool agent_left = c->agent_has_keys && !c->agent_tried;
	ssh_key key = agent_left && agent_first ? NULL : next_key(c);
	int rc;

	if (key) {
		rc = ssh_userauth_publickey(c->session, NULL, key);
		if (rc != SSH_AUTH_AGAIN) {
			note_tried(c, c->settings.identities.items[c->next_identity]);
			c->next_identity++;
		}
		return rc;
	}
	if (agent_left) {
		rc = ssh_userauth_agent(c->session, NULL);
		if (rc != SSH_AUTH_AGAIN) {
			note_tried(c, "the keys of the ssh-agent");
			c->agent_tried = true;
		}
		return rc;
	}
	*exhausted = true;
	return SSH_AUTH_DENIED;
}

static void session_up(struct ssh_conn *c)
{
	c->event = ssh_event_new();
	ssh_event_add_session(c->event, c->session);
	set_state(c, CONN_UP, 0);
	ssh_gate_leave(&c->gate);
	c->ev->connected(c->arg);
}

static void session_broken(struct ssh_conn *c)
{
	const char *text = ssh_get_error(c->session);
	char line[400];

	snprintf(line, sizeof line, "%s: %s", c->state == CONN_UP ? "the connection broke" : "the SSH handshake failed",
		 text && *text ? text : "closed by the other side");
	conn_fail_text(c, TRANSPORT_RETRY, GRETA_ECLOSED, line);
}

static void step_auth(struct ssh_conn *c)
{
	for (;;) {
		bool exhausted = false;
		int rc = auth_once(c, &exhausted);

		if (rc == SSH_AUTH_AGAIN)
			return;
		if (rc == SSH_AUTH_SUCCESS) {
			session_up(c);
			return;
		}
		/* sshd hangs up after some refusals; that is a refusal too, not a broken line. */
		if (exhausted || (rc == SSH_AUTH_ERROR && strstr(ssh_get_error(c->session), "Too many"))) {
			auth_refused(c);
			return;
		}
		if (rc == SSH_AUTH_ERROR && !ssh_is_connected(c->session)) {
			session_broken(c);
			return;
		}
	}
}

static void step_handshake(struct ssh_conn *c)
{
	struct greta_err why = {0};
	int rc = ssh_connect(c->session);

	if (rc == SSH_AGAIN)
		return;
	if (rc != SSH_OK) {
		session_broken(c);
		return;
	}
	/* libssh makes the socket blocking again. */
	if (greta_fs_set_nonblock(c->fd, &why) < 0)
		conn_fail(c, TRANSPORT_RETRY, &why);
	else if (check_host_key(c, &why) < 0)
		conn_fail(c, TRANSPORT_REFUSED, &why);
	else
		begin_agent(c);
}

/* ---- streams */

static int on_channel_data(ssh_session session, ssh_channel channel, void *data, uint32_t len, int is_stderr, void *arg)
{
	struct ssh_stream *s = arg;

	(void)session;
	(void)channel;
	if (is_stderr) {
		size_t keep = len < SAID_MAX - 1 ? len : SAID_MAX - 1;

		memcpy(s->said, (const char *)data + len - keep, keep);
		s->said[keep] = '\0';
	} else {
		greta_buf_add(&s->in, data, len);
	}
	return (int)len; /* anything less and the channel stalls for ever */
}

static void on_channel_end(ssh_session session, ssh_channel channel, void *arg)
{
	struct ssh_stream *s = arg;

	(void)session;
	(void)channel;
	s->far_closed = true;
}

static void on_channel_exit(ssh_session session, ssh_channel channel, int status, void *arg)
{
	struct ssh_stream *s = arg;

	(void)session;
	(void)channel;
	s->exit_status = status;
}

/* Something may have been received inside a call that was not pump(). */
static void on_soon(struct greta_watch *w, uint32_t events, void *arg)
{
	struct ssh_conn *c = arg;

	(void)events;
	greta_watch_remove(w);
	c->soon = NULL;
	pump(c);
}

static void pump_soon(struct ssh_conn *c)
{
	if (!c->soon)
		c->soon = greta_loop_timer(c->loop, 0, 0, on_soon, c);
}

static bool write_pending(const struct ssh_conn *c)
{
	return ssh_get_poll_flags(c->session) & SSH_WRITE_PENDING;
}

static ssize_t ssh_stream_write(struct stream *base, const void *bytes, size_t n)
{
	struct ssh_stream *s = (struct ssh_stream *)base;
	struct ssh_conn *c = s->conn;
	size_t window;
	int wrote = 0;

	if (c->state != CONN_UP || s->state != STREAM_READY || s->far_closed)
		return -1;
	window = ssh_channel_window_size(s->channel);
	n = n < window ? n : window;
	n = n < UNSENT_MAX ? n : UNSENT_MAX;
	if (n && c->unsent < UNSENT_MAX)
		wrote = ssh_channel_write(s->channel, bytes, (uint32_t)n);
	if (wrote < 0) {
		pump_soon(c); /* which finds the session broken */
		return -1;
	}
	c->unsent += (size_t)wrote;
	s->wants_write = true;
	/* What libssh could not write now waits for the descriptor; what it read meanwhile waits for pump(). */
	pump_soon(c);
	return wrote;
}

static void ssh_stream_close(struct stream *base)
{
	struct ssh_stream *s = (struct ssh_stream *)base;
	struct ssh_stream **at = &s->conn->streams;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	if (s->channel) {
		ssh_remove_channel_callbacks(s->channel, &s->callbacks);
		ssh_channel_free(s->channel);
	}
	if (s->conn->state == CONN_UP)
		pump_soon(s->conn);
	greta_buf_release(&s->in);
	free(s->what);
	free(s);
}

static const struct stream_ops ssh_stream_ops = {ssh_stream_write, ssh_stream_close};

static struct stream *stream_open(struct ssh_conn *c, const char *what, bool subsystem, const struct stream_events *ev,
				  void *arg, struct greta_err *e)
{
	struct ssh_stream *s = greta_alloc(sizeof *s);

	s->base.ops = &ssh_stream_ops;
	s->conn = c;
	s->ev = ev;
	s->arg = arg;
	s->subsystem = subsystem;
	s->exit_status = -1;
	s->channel = ssh_channel_new(c->session);
	if (!s->channel) {
		free(s);
		greta_err_set(e, GRETA_EFAIL, "%s: no channel: %s", conn_name(c), ssh_get_error(c->session));
		return NULL;
	}
	s->what = greta_strdup(what);
	s->callbacks = (struct ssh_channel_callbacks_struct){
		.userdata = s,
		.channel_data_function = on_channel_data,
		.channel_close_function = on_channel_end,
		.channel_exit_status_function = on_channel_exit,
	};
	ssh_callbacks_init(&s->callbacks);
	ssh_set_channel_callbacks(s->channel, &s->callbacks);
	s->next = c->streams;
	c->streams = s;
	pump_soon(c);
	return &s->base;
}

static void stream_end(struct ssh_stream *s)
{
	s->state = STREAM_ENDED;
	for (char *at = s->said; *at; at++)
		if (*at == '\n' || *at == '\r')
			*at = ' ';
	for (size_t n = strlen(s->said); n && s->said[n - 1] == ' '; n--)
		s->said[n - 1] = '\0';
	s->ev->closed(s->arg, s->exit_status, s->said);
}

/* Opens the channel and asks for the program: 1 it runs, 0 not yet, -1 refused (and said why). */
static int stream_begin(struct ssh_stream *s)
{
	int rc = SSH_OK;

	if (s->state == STREAM_OPENING) {
		rc = ssh_channel_open_session(s->channel);
		if (rc == SSH_OK)
			s->state = STREAM_ASKING;
	}
	if (s->state == STREAM_ASKING)
		rc = s->subsystem ? ssh_channel_request_subsystem(s->channel, s->what)
				  : ssh_channel_request_exec(s->channel, s->what);
	if (rc == SSH_AGAIN)
		return 0;
	if (rc != SSH_OK) {
		snprintf(s->said, sizeof s->said, "%s refused: %s", s->what, ssh_get_error(s->conn->session));
		return -1;
	}
	s->state = STREAM_READY;
	return 1;
}

/* Does one thing for a stream, if there is one to do: any callback may close it, or the connection. */
static bool stream_serve(struct ssh_stream *s)
{
	if (s->state == STREAM_ENDED)
		return false;
	if (s->state < STREAM_READY) {
		int begun = stream_begin(s);

		if (begun > 0)
			s->ev->ready(s->arg);
		else if (begun < 0)
			stream_end(s);
		return begun != 0;
	}
	if (s->in.len) {
		struct greta_buf in = s->in;

		s->in = (struct greta_buf){0};
		s->ev->data(s->arg, in.data, in.len);
		greta_buf_release(&in);
		return true;
	}
	if (s->far_closed) {
		stream_end(s);
		return true;
	}
	if (s->wants_write && s->conn->unsent < UNSENT_MAX && ssh_channel_window_size(s->channel) > 0) {
		s->wants_write = false;
		s->ev->writable(s->arg);
		return true;
	}
	return false;
}

static bool serve_one(struct ssh_conn *c)
{
	for (struct ssh_stream *s = c->streams; s; s = s->next)
		if (stream_serve(s))
			return true;
	return false;
}

/* Reads, serves, and reads again until there is nothing left, or enough for one turn. */
static void step_up(struct ssh_conn *c, const bool *gone)
{
	for (int i = 0; i < POLLS_PER_PUMP; i++) {
		int rc = ssh_event_dopoll(c->event, 0);

		if (!write_pending(c))
			c->unsent = 0;
		while (c->state == CONN_UP && serve_one(c))
			if (*gone)
				return;
		if (rc == SSH_ERROR || !ssh_is_connected(c->session)) {
			session_broken(c);
			return;
		}
		if (rc == SSH_AGAIN)
			return;
	}
	pump_soon(c);
}

static void pump(struct ssh_conn *c)
{
	bool gone = false, *outer = c->gone;

	c->gone = &gone;
	if (c->state == CONN_HANDSHAKE)
		step_handshake(c);
	if (!gone && c->state == CONN_AUTH)
		step_auth(c);
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
	for (; *args; args++)
		greta_buf_addf(&command, " %s", *args);
	return stream_open(c, greta_buf_str(&command), false, ev, arg, e);
}

static struct stream *ssh_files_stream(struct transport *t, const struct stream_events *ev, void *arg,
				       struct greta_err *e)
{
	return stream_open((struct ssh_conn *)t, "sftp", true, ev, arg, e);
}

static const char *ssh_host_key(const struct transport *t)
{
	return ((const struct ssh_conn *)t)->host_key;
}

static void on_orphan(struct greta_watch *w, uint32_t status, void *arg)
{
	(void)w;
	(void)status;
	(void)arg;
}

static void config_abandon(struct ssh_conn *c)
{
	greta_watch_remove(c->config_io);
	greta_watch_remove(c->config_child);
	if (c->config_pid > 0) {
		kill(-c->config_pid, SIGKILL);
		greta_loop_child(c->loop, c->config_pid, on_orphan, NULL);
	}
	if (c->config_fd >= 0)
		close(c->config_fd);
	greta_buf_release(&c->config_out);
}

static void ssh_destroy(struct transport *t)
{
	struct ssh_conn *c = (struct ssh_conn *)t;

	if (c->gone)
		*c->gone = true;
	conn_stop_watching(c);
	ssh_gate_leave(&c->gate);
	ssh_agent_ask_cancel(c->ask);
	config_abandon(c);
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
	ssh_gate_enter(&c->gate, pool, "ssh -G", begin_config, c);
	return &c->base;
}
