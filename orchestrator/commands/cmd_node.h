/* cmd_node: what the files of `node` share. */
#ifndef ORCHESTRATOR_COMMANDS_CMD_NODE_H
#define ORCHESTRATOR_COMMANDS_CMD_NODE_H

#include "orchestrator/cmd.h"
#include "orchestrator/control/client.h"

/* Checks these nodes, and prints what they are; -1: one can't be used. */
int node_check(struct cmd_ctx *ctx, struct client *client, const struct greta_strs *names, struct greta_err *e);

/* A controller's answer: NULL, or NAN, where it has no such member. */
const char *node_text(const struct greta_json_val *o, const char *key);
double node_number(const struct greta_json_val *o, const char *key);

#endif
