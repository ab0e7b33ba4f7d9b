/* take: waits until the attempt's slot is free, and says for whom. */
#ifndef AGENT_TAKE_H
#define AGENT_TAKE_H

#include "agent/supervise.h"

void take_begin(struct supervise *s); /* ends in supervise_start, or in supervise_fail_start */

#endif
