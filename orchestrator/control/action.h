/* action: a change of the database that a command asks the controller for (baseline, import, ...): the controller is
 * the only writer. Where no controller runs, one is started for it, and ends when nothing is left to do.
 *
 * A cmd_NAME.c that needs one exports a const struct action and adds a line to action_list.c; the command's exec calls
 * client_action (client.h) with the name and the arguments as a JSON object. `run` is executed in the controller's
 * process: it has the same user and file system, but another working folder, so paths in args are absolute. It blocks
 * the controller while it runs: no sleeping, no network.
 */
#ifndef ORCHESTRATOR_CONTROL_ACTION_H
#define ORCHESTRATOR_CONTROL_ACTION_H

#include "base/err.h"
#include "base/jsonw.h"
#include "db/db.h"
#include "schemas/json.h"

struct action {
	const char *name;  /* "baseline_set" */
	/* Writes the members of its answer into reply, which stands inside an open object. */
	int (*run)(struct greta_db *db, const struct greta_json_val *args, struct greta_jsonw *reply,
		   struct greta_err *e);
};

extern const struct action *const action_list[]; /* ends with NULL; action_list.c */
const struct action *action_find(const char *name);

#endif
