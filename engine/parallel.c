#include "engine/parallel.h"

#include "base/mem.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

struct crew {
	parallel_fn *fn;
	void *arg;
	size_t n_items;
	atomic_size_t next;
	atomic_bool failed;
	pthread_mutex_t lock; /* of err */
	struct greta_err err;
};

struct worker {
	struct crew *crew;
	int number;
	pthread_t thread;
};

static void *work(void *arg)
{
	const struct worker *w = arg;
	struct crew *c = w->crew;
	struct greta_err e;
	size_t item;

	while (!atomic_load(&c->failed) && (item = atomic_fetch_add(&c->next, 1)) < c->n_items) {
		if (!c->fn(c->arg, w->number, item, &e))
			continue;
		pthread_mutex_lock(&c->lock);
		c->err = e;
		pthread_mutex_unlock(&c->lock);
		atomic_store(&c->failed, true);
	}
	return NULL;
}

int parallel_run(size_t n_items, int n_workers, parallel_fn *fn, void *arg, struct greta_err *e)
{
	struct crew c = {.fn = fn, .arg = arg, .n_items = n_items, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct worker *workers = greta_alloc((size_t)n_workers * sizeof *workers);
	int started = 1;

	for (int i = 0; i < n_workers; i++)
		workers[i] = (struct worker){.crew = &c, .number = i};
	while (started < n_workers && !pthread_create(&workers[started].thread, NULL, work, &workers[started]))
		started++;
	work(&workers[0]);
	while (--started > 0)
		pthread_join(workers[started].thread, NULL);
	free(workers);
	if (!c.failed)
		return 0;
	if (e)
		*e = c.err;
	return -1;
}

int parallel_workers(int wanted)
{
	cpu_set_t set;

	if (wanted > 0)
		return wanted;
	return !sched_getaffinity(0, sizeof set, &set) && CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
}
