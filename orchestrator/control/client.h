/* client: a command's side of the controller's socket.
 *
 * Every command that changes something goes through the one controller of its database. Where none runs, client_open
 * starts one: a process of its own, which survives the terminal and the command, and ends by itself when there is
 * nothing left to do. control.h tells what is said over the socket.
 */
#ifndef ORCHESTRATOR_CONTROL_CLIENT_H
#define ORCHESTRATOR_CONTROL_CLIENT_H

#include "base/buf.h"
#include "base/err.h"
#include "orchestrator/control/status.h"
#include "schemas/json.h"
#include <stdbool.h>
#include <sys/types.h>

struct client;

/* start: start a controller if none runs; else EAGAIN says that none does. */
struct client *client_open(const char *db_path, bool start, struct greta_err *e);
void client_close(struct client *c);
pid_t client_pid(const struct client *c);     /* of the controller */
int client_fd(const struct client *c);

/* One request, its answer, whose members stand in the member "ok" of the root: the members of args (a JSON object's
 * text, or NULL) go with it. The answer's document is the caller's (greta_json_destroy); the error is the controller's
 * own. Several may be asked before the first is answered: client_ask returns the number that client_answer waits for,
 * -1 when the controller is gone. */
struct greta_json *client_call(struct client *c, const char *op, const char *args, struct greta_err *e);
int64_t client_ask(struct client *c, const char *op, const char *args, struct greta_err *e);
struct greta_json *client_answer(struct client *c, int64_t re, struct greta_err *e);

/* The next line the controller sends by itself (after op "watch"): 1 with a document, 0 within timeout_ms nothing (or a
 * signal), -1. */
int client_next(struct client *c, int timeout_ms, struct greta_json **out, struct greta_err *e);

/* Open, one action (action.h), close: what `baseline set` and `import` need. */
struct greta_json *client_action(const char *db_path, const char *name, const char *args, struct greta_err *e);

#endif
