/* verify: does an engine's build run, and does it keep the contract? Tried here, on the controller's machine, with a
 * tiny prefill: what `plan` prints before a campaign burns node hours. A build that only nodes have is tried there
 * (verify_there.h); where that can't be, it is said to be so: unknown is not good. */
#ifndef ORCHESTRATOR_COMMANDS_VERIFY_H
#define ORCHESTRATOR_COMMANDS_VERIFY_H

#include "base/sha256.h"
#include "schemas/campaign.h"

#define VERIFY_CONTEXT 16 /* tokens of the trial prefill */
#define VERIFY_DEADLINE_S 30.0 /* of one build, loading its model included; `plan --verify-timeout` sets another */

#define VERIFY_STATES(X)            \
	X(UNKNOWN, "not verified")  \
	X(GOOD,    "verified")      \
	X(BAD,     "does not work")

enum verify_state {
#define X(id, name) VERIFY_##id,
	VERIFY_STATES(X)
#undef X
};
const char *verify_state_name(enum verify_state s);

struct verify_result {
	enum verify_state state;
	char sha256[GRETA_SHA256_HEX + 1]; /* of the executable; "" if it was not found */
	char text[400];                    /* what was seen, for people */
	bool late;                         /* UNKNOWN, since it had not ended in time: not to be tried elsewhere */
};

void verify_build(const struct greta_campaign *c, size_t variant, double deadline_s, struct verify_result *out);

#endif
