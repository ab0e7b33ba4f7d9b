/* transport: a way to a node, and byte streams over it.
 *
 *	struct transport   one connection to a node: local (a child process) or ssh. Opens once, closes once.
 *	struct stream      one byte stream over it: the agent's session, or an SFTP server for uploads.
 *
 * Everything is non-blocking and reports through callbacks, which the loop calls. A callback may destroy the object
 * that calls it. What `data` is given must be consumed: a stream has no pushing back, the protocol above does that
 * with credit. A transport knows nothing about the protocol, nodes or jobs.
 */
#ifndef ORCHESTRATOR_REMOTE_TRANSPORT_H
#define ORCHESTRATOR_REMOTE_TRANSPORT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/str.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct stream;
struct stream_ops {
	ssize_t (*write)(struct stream *s, const void *bytes, size_t n); /* what it took, maybe 0: then wait for
									    `writable`; -1: it will close */
	void (*close)(struct stream *s);                                 /* frees it; no callback comes after */
};
struct stream {
	const struct stream_ops *ops;
};
struct stream_events {
	void (*ready)(void *arg);                                  /* may be written to */
	void (*data)(void *arg, const char *bytes, size_t n);
	void (*writable)(void *arg);                               /* after a short write */
	/* The far end is gone; the stream must still be closed. exit_status: of the program there, -1: not known.
	 * said: the last it wrote to stderr. */
	void (*closed)(void *arg, int exit_status, const char *said);
};

/* Why a connection failed decides whether trying again can help. */
enum transport_failure {
	TRANSPORT_RETRY,     /* unreachable, timed out, cut: later */
	TRANSPORT_REFUSED,   /* host key, user, settings: a person has to act */
};

struct transport;
struct transport_events {
	void (*connected)(void *arg);
	void (*failed)(void *arg, enum transport_failure kind, const struct greta_err *why); /* must still be destroyed */
};
struct transport_ops {
	const char *name;
	bool uploads;                           /* files have to be brought there through `files` */
	/* Runs the agent with these arguments (NULL-terminated). */
	struct stream *(*agent)(struct transport *t, const char *const *args, const struct stream_events *ev, void *arg,
				struct greta_err *e);
	struct stream *(*files)(struct transport *t, const struct stream_events *ev, void *arg, struct greta_err *e);
	/* The accepted host key, "SHA256:..."; NULL where there is none. */
	const char *(*host_key)(const struct transport *t);
	void (*destroy)(struct transport *t);   /* closes; its streams must be closed before */
};
struct transport {
	const struct transport_ops *ops;
};

/* What `node add` said of a node (alias.settings). Strings NULL: as the user's ssh config says. */
struct node_settings {
	char *host;          /* what ssh is told: an alias of ~/.ssh/config or a host name */
	char *user, *identity;
	char *ssh_config;    /* another file than ~/.ssh/config */
	char *store;         /* folder for uploads, relative to the login folder; NULL: .cache/greta/store */
	int64_t port;        /* 0: as configured */
	char *slurm;         /* JSON of struct greta_slurm: attempts run in jobs of Slurm, host is its login node; NULL: no */
	bool accept_new;     /* trust a host key that is seen for the first time, and remember it */
};
int node_settings_parse(const char *json, struct node_settings *out, struct greta_err *e);
void node_settings_print(const struct node_settings *s, struct greta_buf *out);
void node_settings_release(struct node_settings *s);
/* No ssh is needed: the transport is local, or the pool of Slurm has no login node but this machine. */
bool node_settings_is_here(const struct node_settings *s, const char *transport);
const char *node_settings_store(const struct node_settings *s);

/* agent: path of the program here (local), or relative to the login folder there (ssh). */
struct transport *transport_local(struct greta_loop *loop, const char *agent, const struct transport_events *ev,
				  void *arg);

/* Shared by all ssh connections: bounds on handshakes in flight, loaded keys, parsed known_hosts. */
struct ssh_pool;
struct ssh_pool *ssh_pool_create(struct greta_loop *loop);
void ssh_pool_destroy(struct ssh_pool *p);
struct transport *transport_ssh(struct ssh_pool *pool, const struct node_settings *settings, const char *agent,
				const struct transport_events *ev, void *arg);
const char *transport_ssh_library(void); /* the version of libssh */

#endif
