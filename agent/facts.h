/* facts: what a node says of itself: identity, devices, and the configuration that results depend on.
 *
 * Environment rows are configuration only, as key = value; what varies from moment to moment is telemetry. */
#ifndef AGENT_FACTS_H
#define AGENT_FACTS_H

#include "agent/paths.h"
#include "schemas/msg.h"

void facts_gather(const struct agent_paths *paths, struct greta_facts *out);

/* The environment rows alone; root: "" or a test's folder in front of /etc and /opt. */
void facts_environment(const char *sys, const char *proc, const char *root, struct greta_facts *out);

#endif
