/* verify_there: tries builds that only nodes have, on a node: a campaign of one short job a variant, in a database of its
 * own that is thrown away, so that planning leaves nothing behind in the user's. Slots are locked on the node as ever,
 * so the trial waits its turn there. */
#ifndef ORCHESTRATOR_COMMANDS_VERIFY_THERE_H
#define ORCHESTRATOR_COMMANDS_VERIFY_THERE_H

#include "base/buf.h"
#include "db/db.h"
#include "orchestrator/commands/verify.h"
#include "orchestrator/print/term.h"

struct verify_trial {
	const struct greta_campaign *campaign;
	const struct greta_buf *text;      /* the campaign's file */
	double deadline_s;                 /* of a build */
	const struct term *term;           /* how it goes is drawn there; NULL: nowhere */
};

/* Takes on those of builds (one a variant) that have not been tried; those that no node could try stay UNKNOWN, with the
 * reason. db: where the nodes are; NULL: none are known. True when Ctrl-C ended it. */
bool verify_there(struct greta_db *db, const struct verify_trial *trial, struct verify_result *builds);

#endif
