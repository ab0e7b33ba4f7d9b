/* pool_child: `greta-agent pool` beside a session. It calls programs that may block for long; a session must not. It ends
 * when the session does, by the end of its input. */
#ifndef AGENT_POOL_CHILD_H
#define AGENT_POOL_CHILD_H

#include "base/err.h"
#include "base/loop.h"

struct pool_child;
typedef void pool_news_fn(void *arg, const char *line);

struct pool_child *pool_child_start(struct greta_loop *loop, const char *slurm, pool_news_fn *news, void *arg,
				    struct greta_err *e);
const char *pool_child_settings(const struct pool_child *c); /* as given */
void pool_child_end(struct pool_child *c);                   /* NULL is fine */

#endif
