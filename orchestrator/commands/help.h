/* help: what a terminal is told about the commands, from their table. */
#ifndef ORCHESTRATOR_COMMANDS_HELP_H
#define ORCHESTRATOR_COMMANDS_HELP_H

#include "base/buf.h"
#include <stdbool.h>

struct cmd;

void help_overview(struct greta_buf *out);
/* The commands that begin with this word ("node"); false: none does. */
bool help_family(const char *word, struct greta_buf *out);
void help_command(const struct cmd *c, struct greta_buf *out);
void help_markdown(struct greta_buf *out); /* every page: docs/commands.md */

#endif
