/* logits: what the engine left of the last prompt token's logits, where the campaign compares them: float32, little-endian,
 * in the file that GRETA_LOGITS_FILE names. They go with the attempt as the evidence item "logits". */
#ifndef AGENT_LOGITS_H
#define AGENT_LOGITS_H

#include "agent/supervise.h"

/* Tells the engine where to leave them, if the spec asks for them. */
void logits_ask(struct supervise *s);

/* After a run that is good. What is no such file (none, a link, another size) is not kept, and the gate will say so. */
void logits_keep(struct supervise *s);

#endif
