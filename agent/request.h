/* request: what a session does for each message of its controller. */
#ifndef AGENT_REQUEST_H
#define AGENT_REQUEST_H

#include "agent/session.h"

/* Acts on m and queues the answer. -1: the conversation can't go on. */
int request_handle(struct session *s, const struct greta_msg *m, struct greta_err *e);

/* Of a pool: tells a controller that has asked before what has changed. */
void request_tell_quarantine(struct session *s);

/* Ends the helpers that still run. */
void request_release(struct session *s);

#endif
