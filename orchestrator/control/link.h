/* link: a standing connection to the agent of one node.
 *
 *	CONNECTING -> GREETING -> UP          -> (cut) WAITING -> CONNECTING ...
 *	     \           |  \                    backoff with jitter
 *	      \          |   PLACING            the agent is not there yet, or of another version: upload it, once
 *	       \         v
 *	        -----> REFUSED                  host key, user, settings, protocol: a person has to act
 *
 * It greets, pings every 5 s and takes a peer that was silent for 10 s for dead (TCP alone notices a black hole in
 * minutes, libssh never), reconnects, and measures round trip and clock offset. It knows frames, not jobs: attempts,
 * credit and acknowledgements are its owner's business, who re-attaches at every `up`.
 */
#ifndef ORCHESTRATOR_CONTROL_LINK_H
#define ORCHESTRATOR_CONTROL_LINK_H

#include "base/loop.h"
#include "orchestrator/remote/agent_bundle.h"
#include "orchestrator/remote/transport.h"
#include "schemas/msg.h"

#define LINK_STATES(X)                   \
	X(IDLE,       "idle")            \
	X(CONNECTING, "connecting")      \
	X(PLACING,    "uploading agent") \
	X(GREETING,   "greeting")        \
	X(UP,         "up")              \
	X(WAITING,    "down")            \
	X(REFUSED,    "refused")

enum link_state {
#define X(id, name) LINK_##id,
	LINK_STATES(X)
#undef X
};
const char *link_state_name(enum link_state s);

struct link_events {
	void (*up)(void *arg, const struct greta_msg *hello);
	void (*down)(void *arg, const struct greta_err *why); /* was up, or never came up; see link_state for what next */
	void (*pong)(void *arg, double rtt_s);
	/* All but hello and pong; released by the link. bytes: the whole frame's, as credit counts them. */
	void (*message)(void *arg, struct greta_msg *m, size_t bytes);
};

struct link_config {
	struct greta_loop *loop;
	struct ssh_pool *pool;
	const char *transport;         /* "local", "ssh", "slurm" */
	const struct node_settings *settings;
	const struct agent_bundle *bundle; /* borrowed for the link's life */
	const char *db;                /* uuid; "" for a look without a database */
	int64_t fence;
	const char *peer;              /* host:pid of ours */
};

/* How links reach their nodes, instead of what the nodes' transport says: for benches whose nodes are simulated.
 * NULL: as usual. */
typedef struct transport *link_open_fn(struct greta_loop *loop, const struct node_settings *settings,
				       const struct transport_events *ev, void *arg);
void link_open_by(link_open_fn *open);

struct link;
struct link *link_create(const struct link_config *c, const struct link_events *ev, void *arg);
void link_destroy(struct link *l);             /* not from inside its callbacks */
void link_start(struct link *l);               /* from IDLE, WAITING or REFUSED: connects now; else nothing */
void link_stop(struct link *l);                /* to IDLE, without a `down` */

enum link_state link_state(const struct link *l);
const char *link_why(const struct link *l);    /* the last failure; "" if none since it was up */
double link_rtt_s(const struct link *l);       /* NAN: not known */
double link_clock_offset_s(const struct link *l); /* node's wall clock minus ours; NAN: not known */
const char *link_host_key(const struct link *l);  /* NULL: none */
const char *link_agent_version(const struct link *l);
bool link_knows(const struct link *l, int protocol); /* up, and both sides speak that one */

/* Queues a frame; false when the link is not up, or there is none (NULL). */
bool link_send(struct link *l, struct greta_msg *m);
int64_t link_ask(struct link *l, struct greta_msg *m); /* wants an answer, which repeats the m->re that is set and returned;
							  0: not up */

void link_ping(struct link *l);                /* now, while up: `pong` follows, or `down` */

/* For uploads beside the session, while up. */
struct transport *link_transport(struct link *l);

#endif
