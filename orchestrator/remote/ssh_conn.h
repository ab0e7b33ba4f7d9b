/* What the files of the ssh transport share: a connection and its streams.
 *
 *	transport_ssh.c   the states of a connection, its endings, the pump        ssh_auth.c     who we are
 *	ssh_config.c      CONFIG: `ssh -G`, or what it said (ssh_answers.h)        ssh_stream.c   channels
 *	ssh_hostkey.c     who the server is
 */
#ifndef ORCHESTRATOR_REMOTE_SSH_CONN_H
#define ORCHESTRATOR_REMOTE_SSH_CONN_H

#include "base/str.h"
#include "orchestrator/remote/ssh_answers.h"
#include "orchestrator/remote/ssh_dial.h"
#include "orchestrator/remote/ssh_pool.h"
#include "orchestrator/remote/ssh_settings.h"
#include "orchestrator/remote/transport.h"

#include <libssh/callbacks.h>
#include <libssh/libssh.h>

#define SSH_SAID_MAX 300
#define SSH_UNSENT_MAX (256 * 1024)

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
	char said[SSH_SAID_MAX];     /* the end of its stderr */
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
	struct ssh_question question;
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

const char *ssh_conn_name(const struct ssh_conn *c);
void ssh_conn_state(struct ssh_conn *c, enum conn_state state, int64_t deadline_ms);
void ssh_conn_fail(struct ssh_conn *c, enum transport_failure kind, const struct greta_err *why);
void ssh_conn_dial(void *conn);
void ssh_conn_up(struct ssh_conn *c);
void ssh_conn_broken(struct ssh_conn *c);
void ssh_conn_pump(struct ssh_conn *c);      /* may destroy it, by way of a callback */
void ssh_conn_pump_soon(struct ssh_conn *c);

void ssh_config_begin(void *conn);
void ssh_config_abandon(struct ssh_conn *c);

int ssh_hostkey_offer(struct ssh_conn *c, struct greta_err *e);
int ssh_hostkey_check(struct ssh_conn *c, struct greta_err *e);

void ssh_auth_begin(struct ssh_conn *c);
void ssh_auth_step(struct ssh_conn *c);

struct stream *ssh_stream_open(struct ssh_conn *c, const char *what, bool subsystem, const struct stream_events *ev,
			       void *arg, struct greta_err *e);
bool ssh_stream_serve_one(struct ssh_conn *c); /* true: something was done, ask again */

#endif
