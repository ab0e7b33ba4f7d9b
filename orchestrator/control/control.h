/* control: what commands and the controller say to each other over DB.sock (mode 0600, the same user only).
 *
 * One JSON object a line, both ways. The controller speaks first: {"hello":{"version","pid"}}; whoever is cut off before
 * that came upon one that was just ending, and nothing it sent was read. A request is {"re":N,"op":NAME,...}; its answer
 * {"re":N,"ok":{...}} or {"re":N,"error":{"code","text"}}. Answers to what changes something come after its commit. After `watch` the
 * controller also sends, by itself, {"status":{...}} and one {"end":{...}} for the campaign watched.
 *
 *	op          arguments                                      answer
 *	submit      name text base_dir who [detach]                campaign uuid jobs
 *	rca         attempt [rate budget_runs budget_s settings contexts] who [detach]   as submit
 *	resume      [campaign detach]                              campaigns running
 *	cancel      campaign [variant context repeat]              jobs; repeat from 1
 *	watch       [campaign] period_ms [holds attempts up]       state; attempts: how many a status tells of at most; up: false
 *	                                                           leaves out nodes that are up
 *	leave       [ask]                                          stops: the controller ends, being nobody else's
 *	status      [campaign]                                     status
 *	node_add    name transport settings labels                 name
 *	node_state  name state [reason]                            name state running [released]; up again waits for a node
 *	                                                           that has something in quarantine to let go of it
 *	node_check  name                                           facts and what the link says; waits for the node, while
 *	                                                           other requests are answered
 *	action      name args                                      of the action (action.h)
 *	stop                                                       the controller ends in order; nodes go on
 */
#ifndef ORCHESTRATOR_CONTROL_CONTROL_H
#define ORCHESTRATOR_CONTROL_CONTROL_H

#include "base/err.h"
#include <sys/un.h>

#define CONTROL_LINE_MAX (64u << 20)

/* The socket's address for a database, also where its path is longer than an address may be (by way of *dir_fd, which
 * the caller closes after bind or connect). */
int control_address(const char *db_path, struct sockaddr_un *out, int *dir_fd, struct greta_err *e);

#endif
