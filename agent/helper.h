/* helper: runs a subcommand of this program beside the session's loop, for work that may block (a device read can hang
 * in the kernel), and hands over its output. */
#ifndef AGENT_HELPER_H
#define AGENT_HELPER_H

#include "base/buf.h"
#include "base/loop.h"

struct helper;

/* out: its standard output; e: what went wrong, or code GRETA_OK. The helper is gone after the call. */
typedef void helper_fn(void *arg, struct greta_buf *out, const struct greta_err *e);

struct helper *helper_start(struct greta_loop *loop, const char *const *args, int64_t deadline_ms, size_t max_output,
			    helper_fn *fn, void *arg, struct greta_err *e);
void helper_cancel(struct helper *h); /* kills it, without a call */

#endif
