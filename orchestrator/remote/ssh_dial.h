/* ssh_dial: a connected, non-blocking socket to an sshd: by name look-up and TCP, or through a proxy command.
 *
 * Name look-ups block, so each has a thread of its own; giving up on one leaves the thread to end by itself. */
#ifndef ORCHESTRATOR_REMOTE_SSH_DIAL_H
#define ORCHESTRATOR_REMOTE_SSH_DIAL_H

#include "base/err.h"
#include "base/loop.h"
#include "base/str.h"
#include "orchestrator/remote/ssh_settings.h"

struct dial;

/* fd: the callee's to close; -1: *why says what failed. Called once, from the loop. */
typedef void dial_fn(void *arg, int fd, const struct greta_err *why);

struct dial *dial_start(struct greta_loop *loop, const struct ssh_settings *s, const struct node_settings *node,
			dial_fn *fn, void *arg);

/* What the proxy command last wrote to stderr; "" if nothing, or if there is none. */
const char *dial_said(struct dial *d);

/* Also ends the proxy command: only when the connection is no longer needed. */
void dial_destroy(struct dial *d);

#endif
