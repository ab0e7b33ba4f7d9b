#include "orchestrator/plan/placing.h"

#include "base/cleanup.h"
#include "base/mem.h"

#include <string.h>

static bool label_matches(const char *labels, const char *wanted)
{
	struct greta_json *j = greta_json_parse("labels", labels, strlen(labels), NULL);
	const char *equal = strchr(wanted, '='), *value = NULL;
	cleanup_free char *key = greta_strndup(wanted, equal ? (size_t)(equal - wanted) : strlen(wanted));
	bool matches = j && greta_json_str(greta_json_get(greta_json_root(j), key), &value) == 0 &&
		       (!equal || greta_str_eq(value, equal + 1));

	greta_json_destroy(j);
	return matches;
}

bool placing_names(const struct greta_strs *names, const char *node)
{
	return names->n == 0 || greta_strs_has(names, node);
}

bool placing_allows(const struct greta_campaign *c, const char *node, const char *labels)
{
	if (!placing_names(&c->nodes, node))
		return false;
	for (size_t i = 0; i < c->labels.n; i++)
		if (!label_matches(labels, c->labels.items[i]))
			return false;
	return true;
}
