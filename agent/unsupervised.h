/* unsupervised: ends an attempt that no supervisor will end. Whoever calls holds its lock. */
#ifndef AGENT_UNSUPERVISED_H
#define AGENT_UNSUPERVISED_H

#include "schemas/msg.h"

/* How far it came, by the events that are left: into *end, whose outcome and reason are the caller's. */
void unsupervised_read(const char *dir, struct greta_end *end);

/* Closes the journal and publishes the outcome. */
int unsupervised_end(const char *dir, struct greta_end *end, struct greta_err *e);

#endif
