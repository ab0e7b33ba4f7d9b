/* pool: see pool.h.
 *
 * `ticket` holds the generation of the job (upper half) and the number of its items not yet taken (lower half). A
 * thread takes an item by lowering that number; whoever succeeds owns an item of the job that stands in `fn`, `arg` and
 * `n`, and the job can't be replaced before that item is done. The generation keeps a thread that slept through a job
 * from mistaking the next one's ticket for the one it read.
 */
#include "engine/cpu/pool.h"
#include "base/mem.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* About 20 us: a GEMM hands over to the next within that; longer waits are serial work or another phase. */
#define POOL_SPINS 2000

struct pool_worker {
	struct pool *pool;
	pthread_t thread;
	int index;
};

struct pool {
	_Atomic uint64_t ticket;
	_Atomic int64_t n_done;
	_Atomic int n_sleeping; /* workers */
	_Atomic bool caller_sleeps;
	_Atomic bool quit;
	pool_fn *fn;
	void *arg;
	int64_t n;
	pthread_mutex_t mutex;
	pthread_cond_t work, done;
	int n_threads;
	struct pool_worker *workers; /* n_threads - 1 */
	int n_started;
};

static void pool_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static uint32_t pool_left(struct pool *p)
{
	return (uint32_t)atomic_load(&p->ticket);
}

static bool pool_take(struct pool *p, int64_t *item)
{
	uint64_t t = atomic_load(&p->ticket);

	do {
		if ((uint32_t)t == 0)
			return false;
	} while (!atomic_compare_exchange_weak(&p->ticket, &t, t - 1));
	*item = p->n - (int64_t)(uint32_t)t;
	return true;
}

static void pool_work(struct pool *p, int thread)
{
	int64_t item;

	while (pool_take(p, &item)) {
		int64_t n = p->n;
		p->fn(p->arg, item, thread);
		if (atomic_fetch_add(&p->n_done, 1) + 1 == n && atomic_load(&p->caller_sleeps)) {
			pthread_mutex_lock(&p->mutex);
			pthread_cond_signal(&p->done);
			pthread_mutex_unlock(&p->mutex);
		}
	}
}

static void pool_wait_work(struct pool *p)
{
	for (int i = 0; i < POOL_SPINS; i++) {
		if (pool_left(p) || atomic_load(&p->quit))
			return;
		pool_pause();
	}
	pthread_mutex_lock(&p->mutex);
	atomic_fetch_add(&p->n_sleeping, 1);
	while (!pool_left(p) && !atomic_load(&p->quit))
		pthread_cond_wait(&p->work, &p->mutex);
	atomic_fetch_sub(&p->n_sleeping, 1);
	pthread_mutex_unlock(&p->mutex);
}

static void *pool_main(void *arg)
{
	struct pool_worker *w = arg;

	while (!atomic_load(&w->pool->quit)) {
		pool_work(w->pool, w->index);
		pool_wait_work(w->pool);
	}
	return NULL;
}

static void pool_wait_done(struct pool *p)
{
	for (int i = 0; i < POOL_SPINS; i++) {
		if (atomic_load(&p->n_done) == p->n)
			return;
		pool_pause();
	}
	pthread_mutex_lock(&p->mutex);
	atomic_store(&p->caller_sleeps, true);
	while (atomic_load(&p->n_done) != p->n)
		pthread_cond_wait(&p->done, &p->mutex);
	atomic_store(&p->caller_sleeps, false);
	pthread_mutex_unlock(&p->mutex);
}

void pool_run(struct pool *p, int64_t n_items, pool_fn *fn, void *arg)
{
	if (n_items <= 0)
		return;
	if (n_items == 1) { /* half of all jobs of a decode step: not worth waking anyone */
		fn(arg, 0, 0);
		return;
	}
	p->fn = fn;
	p->arg = arg;
	p->n = n_items;
	atomic_store(&p->n_done, 0);
	uint64_t generation = (atomic_load(&p->ticket) >> 32) + 1;
	atomic_store(&p->ticket, generation << 32 | (uint32_t)n_items);
	if (atomic_load(&p->n_sleeping) > 0) {
		pthread_mutex_lock(&p->mutex);
		pthread_cond_broadcast(&p->work);
		pthread_mutex_unlock(&p->mutex);
	}
	pool_work(p, 0);
	pool_wait_done(p);
}

struct pool *pool_create(int n_threads, struct greta_err *e)
{
	struct pool *p = greta_alloc(sizeof *p);

	p->n_threads = n_threads;
	p->workers = greta_alloc((size_t)n_threads * sizeof *p->workers);
	pthread_mutex_init(&p->mutex, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->done, NULL);
	for (int i = 1; i < n_threads; i++) {
		struct pool_worker *w = &p->workers[i - 1];
		w->pool = p;
		w->index = i;
		int rc = pthread_create(&w->thread, NULL, pool_main, w);
		if (rc) {
			greta_err_set(e, GRETA_EFAIL, "thread %d of %d could not be started (error %d): use fewer --threads",
				      i + 1, n_threads, rc);
			pool_destroy(p);
			return NULL;
		}
		p->n_started++;
	}
	return p;
}

void pool_destroy(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->mutex);
	atomic_store(&p->quit, true);
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->mutex);
	for (int i = 0; i < p->n_started; i++)
		pthread_join(p->workers[i].thread, NULL);
	pthread_cond_destroy(&p->done);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->mutex);
	free(p->workers);
	free(p);
}
