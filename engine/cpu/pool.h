/* pool: a fixed set of threads that share the items of one loop at a time.
 *
 * Items are handed out one by one, so threads that are slowed down by other work simply take fewer. Nothing may depend
 * on which thread takes which item, or in what order: results are the same for any number of threads because each item
 * computes its own outputs. Threads that find nothing to do spin for some microseconds, then sleep.
 */
#ifndef ENGINE_CPU_POOL_H
#define ENGINE_CPU_POOL_H

#include "base/err.h"
#include <stdint.h>

struct pool;

typedef void pool_fn(void *arg, int64_t item, int thread); /* thread: 0 .. n_threads - 1 */

struct pool *pool_create(int n_threads, struct greta_err *e); /* the caller of pool_run counts as one of them */
void pool_destroy(struct pool *p);                            /* NULL is fine */

/* Runs fn for each item of 0..n_items-1 and returns when all are done. n_items < 2^32. Not reentrant. */
void pool_run(struct pool *p, int64_t n_items, pool_fn *fn, void *arg);

#endif
