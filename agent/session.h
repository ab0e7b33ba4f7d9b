/* session: one controller's connection to this node.
 *
 *   -> "GRETA-AGENT <nonce> <protocol>\n"          our first words
 *   <- hello (protocol range, database, fence)     -> hello, or refused and the end
 *   <- start attach ack cancel credit ping list probe gc quarantine, in any order
 *   -> an answer to each that carries `re`: done, refused, pong, attempts, facts, quarantined; and events as they happen
 *   <- end of input                                -> the session ends; supervisors live on
 *
 * It holds no state: everything it knows is in the spool or comes with the next hello. Answers go out before events,
 * and what waits to go out is bounded: events stay in the spool until there is room for them.
 */
#ifndef AGENT_SESSION_H
#define AGENT_SESSION_H

#include "agent/fence.h"
#include "agent/paths.h"
#include "agent/pool_child.h"
#include "agent/relay.h"
#include "base/loop.h"
#include "schemas/msg.h"

struct session {
	struct greta_loop *loop;
	const struct agent_paths *paths; /* borrowed */
	struct greta_watch *in, *out, *notify, *gather;
	bool gathering;           /* events wait for more of them */
	struct greta_buf received;
	int64_t heard_ns;         /* boottime of the last input */
	bool given_up;            /* it came so late that the controller may have another session since */
	struct greta_buf urgent;  /* answers, waiting */
	struct greta_buf sending; /* going out now: whole frames */
	struct relays relays;
	bool greeted;             /* hello was exchanged */
	bool ending;              /* nothing more is read; ends when `urgent` is out */
	char db[GRETA_UUID_LEN + 1];
	struct fence fence;
	struct pending **pending; /* requests that a helper works on */
	size_t n_pending, cap_pending;
	char *quarantine;         /* of a pool: as it was told last; NULL: nobody asked yet */
	struct pool_child *pool;  /* attempts wait for pilots, which somebody looks after; NULL: they run on this machine */
};

/* Speaks on descriptors 0 and 1 until the other side ends it. 0, or -1 with why the session broke. slurm: settings of a
 * pool whose spool the paths name; NULL: this machine. */
int session_run(const struct agent_paths *paths, const char *nonce, const char *slurm, struct greta_err *e);

void session_send(struct session *s, const struct greta_msg *m);
void session_flush(struct session *s);

#endif
