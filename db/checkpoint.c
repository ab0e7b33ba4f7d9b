#include "db/checkpoint.h"

#include "base/mem.h"
#include "base/str.h"
#include "db/internal.h"
#include <pthread.h>
#include <signal.h>

#define EVERY_PAGES 4000   /* 16 MiB */
#define FINISH_PAGES 12000 /* then the writer does the rest, and the log begins anew */

struct checkpoint {
	char *path;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool asked, ends; /* under the lock */
	/* the writer's */
	int asked_at;     /* pages that the log held */
	bool finish;
};

/* Reading something makes SQLite open the log. */
static sqlite3 *open_own(const char *path)
{
	sqlite3 *sq = NULL;

	if (sqlite3_open_v2(path, &sq, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
	    sqlite3_exec(sq, "PRAGMA synchronous = FULL; SELECT 1 FROM meta", NULL, NULL, NULL) != SQLITE_OK) {
		sqlite3_close_v2(sq);
		return NULL;
	}
	return sq;
}

static bool wait_until_asked(struct checkpoint *c)
{
	bool ends;

	pthread_mutex_lock(&c->lock);
	while (!c->asked && !c->ends)
		pthread_cond_wait(&c->wake, &c->lock);
	ends = c->ends;
	pthread_mutex_unlock(&c->lock);
	return !ends;
}

static void set_done(struct checkpoint *c)
{
	pthread_mutex_lock(&c->lock);
	c->asked = false;
	pthread_mutex_unlock(&c->lock);
}

static void *run(void *arg)
{
	struct checkpoint *c = arg;
	sqlite3 *sq = open_own(c->path);

	while (wait_until_asked(c)) {
		if (sq)
			sqlite3_wal_checkpoint_v2(sq, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
		set_done(c);
	}
	sqlite3_close_v2(sq);
	return NULL;
}

/* Signals are for the thread that has the loop. */
static bool start(struct checkpoint *c)
{
	sigset_t all, was;

	if (c->has_thread)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	c->has_thread = pthread_create(&c->thread, NULL, run, c) == 0;
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	return c->has_thread;
}

static void ask(struct checkpoint *c)
{
	pthread_mutex_lock(&c->lock);
	c->asked = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
}

static bool is_busy(struct checkpoint *c)
{
	bool asked;

	pthread_mutex_lock(&c->lock);
	asked = c->asked;
	pthread_mutex_unlock(&c->lock);
	return asked;
}

static int on_commit(void *arg, sqlite3 *sq, const char *name, int n_pages)
{
	struct checkpoint *c = arg;

	if (n_pages < c->asked_at)
		c->asked_at = 0; /* it began anew */
	if (n_pages - c->asked_at < EVERY_PAGES && !c->finish)
		return SQLITE_OK;
	if (!start(c))
		c->finish = true;
	else if (is_busy(c))
		return SQLITE_OK;
	if (c->finish) {
		sqlite3_wal_checkpoint_v2(sq, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
		c->finish = false;
	} else {
		c->finish = n_pages >= FINISH_PAGES;
		ask(c);
	}
	c->asked_at = n_pages;
	return SQLITE_OK;
}

void checkpoint_watch(struct greta_db *db)
{
	struct checkpoint *c = greta_alloc(sizeof *c);

	c->path = greta_strdup(db->path);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->wake, NULL);
	db->checkpoint = c;
	sqlite3_wal_hook(db->sq, on_commit, c);
}

void checkpoint_end(struct greta_db *db)
{
	struct checkpoint *c = db->checkpoint;

	if (!c)
		return;
	sqlite3_wal_hook(db->sq, NULL, NULL);
	db->checkpoint = NULL;
	pthread_mutex_lock(&c->lock);
	c->ends = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	if (c->has_thread)
		pthread_join(c->thread, NULL);
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->lock);
	free(c->path);
	free(c);
}
