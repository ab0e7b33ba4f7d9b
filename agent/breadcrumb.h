/* breadcrumb: the page in which an engine's GPU kernels say what executes. The memory is ours, so that it is there when
 * the engine is dead; what stands in it is the engine's word, and is read with care. */
#ifndef AGENT_BREADCRUMB_H
#define AGENT_BREADCRUMB_H

#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>

struct breadcrumb {
	uint64_t place;             /* changes with every kernel that starts */
	uint32_t done, total;       /* blocks of that kernel; total 0: it does not count them */
	char executing[96];         /* "layer 7 attn q_lds"; "" where the engine has no names for what it does */
	char enqueued[96];          /* the last kernel that the host has queued; "" likewise */
};

/* Memory without a file, to be handed to the engine: drivers refuse to pin pages of a disk's file for long, since they
 * could not be written back. -1: none, and nothing will be seen. */
int breadcrumb_page(void);

/* False: no kernel has reported yet. */
bool breadcrumb_read(int page, struct breadcrumb *out);

/* Blocks done since before; 1 when another kernel executes; NAN when this one does not count. */
double breadcrumb_work(const struct breadcrumb *before, const struct breadcrumb *now);

/* As evidence, for people. */
void breadcrumb_tell(const struct breadcrumb *b, struct greta_buf *out);

#endif
