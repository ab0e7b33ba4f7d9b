/* verify: checks the files of a spec against the hashes it states, asks for the engine's kernels where the spec wants
 * them, and takes the model's hash, before a slot is taken. */
#ifndef AGENT_VERIFY_H
#define AGENT_VERIFY_H

#include "agent/supervise.h"

/* Goes on to take_begin, or ends the attempt: as infra naming the file that differs, as invalid by a gate. Hashing runs in
 * a child, so that a cancel is heard meanwhile. */
void verify_begin(struct supervise *s);
void verify_cancel(struct supervise *s);

#endif
