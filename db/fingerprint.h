/* fingerprint: what a hang is known by, so that it is known again when it is met on another node: its class, where the
 * engine was, the frames of the stack that is stuck, and lines of the kernel's and the engine's logs that speak of trouble.
 * Addresses, offsets, sizes, process ids, folders, GPUs and layers' numbers are taken out; names stay, also with numbers
 * in them. Pure: text in, text out.
 *
 * "3f9a1c2e gpu_kernel at prefill, layer * attn q_lds in hipStreamSynchronize < forward": hex digits of a hash over all of
 * it, then what people read. A node without a debugger knows less and gives another fingerprint. */
#ifndef DB_FINGERPRINT_H
#define DB_FINGERPRINT_H

#include "base/buf.h"
#include <stdint.h>

#define FINGERPRINT_HASH 8 /* digits in front */

/* Evidence as the agent gathers it (agent/evidence.h); NULL or "": there is none. */
struct fingerprint_facts {
	const char *class_;                 /* "host_spin" */
	const char *phase, *at;             /* "prefill", "layer 7 attn q_lds" */
	const char *verdict;                /* its words, which may name the thread that is stuck */
	const char *debugger, *threads;     /* backtraces; where threads wait, for when there are none */
	const char *kernel_log, *log_tail;
};

void fingerprint_make(const struct fingerprint_facts *f, struct greta_buf *out);

/* One line without what differs from run to run; appended. */
void fingerprint_normalise(const char *line, size_t n, struct greta_buf *out);

#endif
