/* stop: ends an attempt's processes: TERM to the group, a grace, KILL to all, until none is left. */
#ifndef AGENT_STOP_H
#define AGENT_STOP_H

#include "agent/supervise.h"

/* The engine has exited, or its grace has passed: whatever is left is killed. none_left: nothing is. */
void stop_sweep(struct supervise *s, bool none_left);

#endif
