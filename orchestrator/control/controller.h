/* controller: the one process per database that changes it, talks to nodes and listens to commands.
 *
 * It starts with DB.lock, raises the fence, loads what is to be done, listens on DB.sock, and ends when nothing is left
 * to do and nobody is connected. It holds nothing that the database and the nodes do not: kill -9 at any point costs
 * only time. On a signal it ends in order: nodes go on by themselves and are found again by the next controller. */
#ifndef ORCHESTRATOR_CONTROL_CONTROLLER_H
#define ORCHESTRATOR_CONTROL_CONTROLLER_H

#include "base/err.h"

/* Runs to its end. ready_fd: told "ok\n" once it listens, or "CODE text\n" when it can't start; then closed. -1: none.
 * stay: also with nothing to do, until a signal comes (a service). */
int controller_run(const char *db_path, int ready_fd, bool stay, struct greta_err *e);

#endif
