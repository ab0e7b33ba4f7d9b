/* parallel: a number of items, done by a number of threads, in order of their numbers as far as they are taken up. */
#ifndef ENGINE_PARALLEL_H
#define ENGINE_PARALLEL_H

#include "base/err.h"
#include <stddef.h>

/* worker: 0 .. n_workers - 1, for scratch memory of its own. */
typedef int parallel_fn(void *arg, int worker, size_t item, struct greta_err *e);

/* Runs until all items are done or one has failed (no further one is begun then; *e tells of one that failed). The
 * calling thread is worker 0; fewer threads than asked for is no error. */
int parallel_run(size_t n_items, int n_workers, parallel_fn *fn, void *arg, struct greta_err *e);

int parallel_workers(int wanted); /* one for each core if wanted is 0 */

#endif
