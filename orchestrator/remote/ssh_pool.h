/* ssh_pool: what all ssh connections of a controller share: bounds on handshakes in flight, key files that were read,
 * known_hosts files that were parsed, and whether the user's ssh-agent answers. */
#ifndef ORCHESTRATOR_REMOTE_SSH_POOL_H
#define ORCHESTRATOR_REMOTE_SSH_POOL_H

#include "base/err.h"
#include "base/loop.h"
#include "orchestrator/remote/known_hosts.h"
#include "orchestrator/remote/ssh_settings.h"
#include <libssh/libssh.h>

struct ssh_pool;
struct greta_loop *ssh_pool_loop(struct ssh_pool *p);

/* A place among the handshakes in flight: some 64 in all, 8 through one bastion (sshd's MaxStartups begins to refuse
 * at 10). enter calls fn once there is a place; leave gives it (or the wish for one) back. */
struct ssh_gate {
	struct ssh_pool *pool;
	char *bastion;
	void (*fn)(void *arg);
	void *arg;
	bool waiting, inside;
	struct ssh_gate *next;
};
void ssh_gate_enter(struct ssh_gate *g, struct ssh_pool *p, const char *bastion, void (*fn)(void *arg), void *arg);
void ssh_gate_leave(struct ssh_gate *g);

/* Borrowed until the file changes; NULL with *e when it can't be used (absent: ENOENT; encrypted: EAUTH). */
ssh_key ssh_pool_key(struct ssh_pool *p, const char *path, struct greta_err *e);

/* Borrowed until the file changes; re-read when it did. */
const struct known_hosts *ssh_pool_known_hosts(struct ssh_pool *p, const char *path, struct greta_err *e);

/* Asks the ssh-agent how many keys it has; fn gets the number, 0 also when it does not answer within 1.5 s (*why says
 * so) or there is none. The answer is kept for some seconds. A stopped agent would otherwise hold the whole loop.
 * Calls at most once per ask; ask_cancel forgets. */
typedef void ssh_agent_fn(void *arg, int n_keys, const char *why);
struct ssh_agent_ask;
struct ssh_agent_ask *ssh_agent_ask(struct ssh_pool *p, const char *socket_path, ssh_agent_fn *fn, void *arg);
void ssh_agent_ask_cancel(struct ssh_agent_ask *a);

#endif
