#include "orchestrator/control/action.h"

#include "base/str.h"

extern const struct action action_baseline_remove;
extern const struct action action_baseline_set;
extern const struct action action_import;
extern const struct action action_prune;

/* One line an action. */
const struct action *const action_list[] = {
	&action_baseline_remove,
	&action_baseline_set,
	&action_import,
	&action_prune,
	NULL,
};

const struct action *action_find(const char *name)
{
	for (size_t i = 0; action_list[i]; i++)
		if (greta_str_eq(action_list[i]->name, name))
			return action_list[i];
	return NULL;
}
