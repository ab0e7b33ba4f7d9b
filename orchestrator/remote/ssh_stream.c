/* Streams over a connection: one channel each. What comes is stored by libssh's callbacks and handed on by the pump. */
#include "orchestrator/remote/ssh_conn.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static int on_channel_data(ssh_session session, ssh_channel channel, void *data, uint32_t len, int is_stderr, void *arg)
{
	struct ssh_stream *s = arg;

	(void)session;
	(void)channel;
	if (is_stderr) {
		size_t keep = len < SSH_SAID_MAX - 1 ? len : SSH_SAID_MAX - 1;

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
	n = n < SSH_UNSENT_MAX ? n : SSH_UNSENT_MAX;
	if (n && c->unsent < SSH_UNSENT_MAX)
		wrote = ssh_channel_write(s->channel, bytes, (uint32_t)n);
	if (wrote < 0) {
		ssh_conn_pump_soon(c); /* which finds the session broken */
		return -1;
	}
	c->unsent += (size_t)wrote;
	s->wants_write = true;
	/* What libssh could not write now waits for the descriptor; what it read meanwhile waits for ssh_conn_pump(). */
	ssh_conn_pump_soon(c);
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
		ssh_conn_pump_soon(s->conn);
	greta_buf_release(&s->in);
	free(s->what);
	free(s);
}

static const struct stream_ops ssh_stream_ops = {ssh_stream_write, ssh_stream_close};

struct stream *ssh_stream_open(struct ssh_conn *c, const char *what, bool subsystem, const struct stream_events *ev,
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
		greta_err_set(e, GRETA_EFAIL, "%s: no channel: %s", ssh_conn_name(c), ssh_get_error(c->session));
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
	ssh_conn_pump_soon(c);
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
	if (s->wants_write && s->conn->unsent < SSH_UNSENT_MAX && ssh_channel_window_size(s->channel) > 0) {
		s->wants_write = false;
		s->ev->writable(s->arg);
		return true;
	}
	return false;
}

bool ssh_stream_serve_one(struct ssh_conn *c)
{
	for (struct ssh_stream *s = c->streams; s; s = s->next)
		if (stream_serve(s))
			return true;
	return false;
}
