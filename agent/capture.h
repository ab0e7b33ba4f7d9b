/* capture: reads the engine's three pipes while it runs, and to their end when it is gone. */
#ifndef AGENT_CAPTURE_H
#define AGENT_CAPTURE_H

#include "agent/supervise.h"

void capture_begin(struct supervise *s);
/* Takes what is in the pipes now; all: until they are empty, which ends only when their writers have. */
void capture_drain(struct supervise *s, bool all);
void capture_end(struct supervise *s); /* closes, and hands on what was held back */

#endif
