/* log_grep: lines that match, over all logs or some.
 *
 * First the chunks are listed that may hold a match, by the index of logs, in the order of their lines. The list is cut
 * into jobs where no line goes over the cut. Threads take jobs, each with a reader of its own, and keep what they find;
 * the caller's thread does so too, and hands out what was found, job by job. What is not sealed yet may be sealed
 * meanwhile, under another id: only the caller's thread, which sees one state of the database throughout, reads that. */
#include "base/cleanup.h"
#include "base/mem.h"
#include "db/log_index.h"
#include "db/log_internal.h"
#include "db/log_match.h"
#include <pthread.h>
#include <sched.h>

#define JOB_CHUNKS 32 /* some 8 MB of output, some 10 ms */
#define THREADS_MAX 16
#define AHEAD 4 /* jobs for each thread that may wait to be handed out */

struct item { /* a chunk to look into */
	int64_t attempt_id, offset, id;
	bool is_loose;
};

struct found { /* a hit; its line is in the job's text */
	int64_t attempt_id, offset;
	enum greta_stream stream;
	size_t at, n;
};

enum job_state { FREE, TAKEN, DONE };

struct job {
	size_t from, to; /* of items */
	bool is_local;	 /* for the caller's thread */
	enum job_state state;
	int rc;
	struct greta_err e;
	int64_t n_chunks, bytes;
	struct found *hits;
	size_t n_hits, cap_hits;
	struct greta_buf text;
};

struct grep {
	struct greta_db *db;
	const struct greta_grep *g;
	greta_grep_fn *fn;
	void *arg;
	struct greta_grep_stats *stats;
	struct log_spans spans;
	int64_t *loose; /* ids, ascending */
	size_t n_loose, cap_loose;
	struct item *items;
	size_t n_items, cap_items;
	struct job *jobs;
	size_t n_jobs, cap_jobs;
	/* what threads share, under the lock; `jobs[i].state` too */
	pthread_mutex_t lock;
	pthread_cond_t moved;
	size_t at, ahead; /* the job that is handed out next; jobs that may be begun from there on */
	bool stop;
};

static void job_clear(struct job *j)
{
	free(j->hits);
	j->hits = NULL;
	greta_buf_release(&j->text);
}

static void grep_release(struct grep *s)
{
	for (size_t i = 0; i < s->n_jobs; i++)
		job_clear(&s->jobs[i]);
	log_spans_release(&s->spans);
	free(s->loose);
	free(s->items);
	free(s->jobs);
}

/* ---- which chunks */

static int by_id(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static int list_loose(struct grep *s, struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(s->db, e, "SELECT id FROM log_chunk WHERE zstd IS NULL AND dropped = 0", "");
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e))
		*GRETA_PUSH(s->loose, s->n_loose, s->cap_loose) = greta_query_i64(q, 0);
	if (s->n_loose)
		qsort(s->loose, s->n_loose, sizeof *s->loose, by_id);
	return rc;
}

static void add_item(struct grep *s, struct greta_query *q, bool is_loose)
{
	*GRETA_PUSH(s->items, s->n_items, s->cap_items) = (struct item){.attempt_id = greta_query_i64(q, 0),
									.offset = greta_query_i64(q, 1),
									.id = greta_query_i64(q, 2),
									.is_loose = is_loose};
}

/* Of all chunks asked for, those that may match. The list is read from an index, which has no more than its columns. */
static int list_of(struct grep *s, struct greta_query *q, struct greta_err *e)
{
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e)) {
		int64_t id = greta_query_i64(q, 2);
		bool is_loose = s->n_loose && bsearch(&id, s->loose, s->n_loose, sizeof id, by_id);

		s->stats->n_chunks++;
		if (is_loose || log_spans_have(&s->spans, id))
			add_item(s, q, is_loose);
	}
	return rc;
}

#define LIST "SELECT c.attempt_id, c.offset, c.id FROM log_chunk c"
#define OF_CAMPAIGN "SELECT a.id FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = ?"

static struct greta_query *open_list(struct grep *s, struct greta_err *e)
{
	const struct greta_grep *g = s->g;

	if (g->attempt_id)
		return greta_query_open(s->db, e, LIST " WHERE c.attempt_id = ? ORDER BY c.offset", "i", g->attempt_id);
	if (g->campaign_id)
		return greta_query_open(s->db, e,
					LIST " WHERE c.attempt_id IN (" OF_CAMPAIGN " AND (NOT ? OR j.counted_attempt ="
					     " a.id)) ORDER BY c.attempt_id, c.offset",
					"ii", g->campaign_id, (int64_t)g->counted_only);
	return greta_query_open(s->db, e,
				LIST " WHERE NOT ? OR c.attempt_id IN (SELECT counted_attempt FROM job)"
				     " ORDER BY c.attempt_id, c.offset",
				"i", (int64_t)g->counted_only);
}

static int list_span(struct grep *s, const struct log_span *span, struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(s->db, e, LIST " WHERE c.id BETWEEN ? AND ? AND c.zstd IS NOT NULL", "ii", span->first,
				 span->last);
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e))
		add_item(s, q, false);
	return rc;
}

static int by_place(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->attempt_id != y->attempt_id)
		return x->attempt_id < y->attempt_id ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* The few chunks of a rare pattern, without a look at the others. */
static int list_spans(struct grep *s, struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(s->db, e, LIST " WHERE c.zstd IS NULL AND c.dropped = 0", "");
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e))
		add_item(s, q, true);
	for (size_t i = 0; i < s->spans.n && !rc; i++)
		rc = list_span(s, &s->spans.items[i], e);
	if (!rc && s->n_items)
		qsort(s->items, s->n_items, sizeof *s->items, by_place);
	s->stats->n_chunks = s->spans.n_chunks + (int64_t)s->n_loose;
	return rc;
}

static bool are_few(const struct log_spans *s)
{
	int64_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		n += s->items[i].last - s->items[i].first + 1;
	return n < s->n_chunks / 16;
}

static int list_items(struct grep *s, struct greta_err *e)
{
	cleanup_query struct greta_query *q = NULL;

	if (!s->g->attempt_id && !s->g->campaign_id && !s->g->counted_only && are_few(&s->spans))
		return list_spans(s, e);
	q = open_list(s, e);
	return list_of(s, q, e);
}

/* ---- jobs */

static int ends_line(struct grep *s, const struct item *item, bool *yes, struct greta_err *e)
{
	int64_t value = 0;

	if (db_get_i64(s->db, &value, e, "SELECT ends_line FROM log_chunk WHERE id = ?", "i", item->id) < 0)
		return -1;
	*yes = value;
	return 0;
}

/* Between attempts always; inside one where enough has come together, behind a chunk that ends a line. */
static int make_jobs(struct grep *s, struct greta_err *e)
{
	struct job *j = NULL;

	for (size_t i = 0; i < s->n_items; i++) {
		bool cut = !j;

		if (j && j->to - j->from >= JOB_CHUNKS) {
			cut = s->items[i].attempt_id != s->items[i - 1].attempt_id;
			if (!cut && ends_line(s, &s->items[i - 1], &cut, e))
				return -1;
		}
		if (cut) {
			j = GRETA_PUSH(s->jobs, s->n_jobs, s->cap_jobs);
			j->from = i;
		}
		j->to = i + 1;
		j->is_local |= s->items[i].is_loose;
	}
	return 0;
}

static int keep_hit(void *arg, const struct greta_grep_hit *hit, struct greta_err *e)
{
	struct job *j = arg;

	(void)e;
	*GRETA_PUSH(j->hits, j->n_hits, j->cap_hits) = (struct found){.attempt_id = hit->attempt_id,
								      .offset = hit->offset,
								      .stream = hit->stream,
								      .at = j->text.len,
								      .n = hit->n};
	greta_buf_add(&j->text, hit->line, hit->n);
	return 0;
}

/* A chunk that is not there any more was pruned. */
static int look_into(struct job *j, const struct item *item, struct greta_db *db, struct log_match *m,
		     struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e,
		"SELECT raw_bytes, streams, raw, zstd FROM log_chunk WHERE id = ? AND attempt_id = ? AND offset = ?"
		" AND dropped = 0",
		"iii", item->id, item->attempt_id, item->offset);
	int rc = q ? greta_query_step(q, e) : -1;

	if (rc <= 0)
		return rc;
	j->n_chunks++;
	j->bytes += greta_query_i64(q, 0);
	return log_match_take(m, db, item->attempt_id, item->offset, q, 0, e);
}

static void job_run(struct grep *s, struct job *j, struct greta_db *db)
{
	cleanup_with(log_match_release) struct log_match m = {0};

	j->rc = log_match_init(&m, s->g, keep_hit, j, &j->e);
	for (size_t i = j->from; i < j->to && !j->rc; i++)
		j->rc = look_into(j, &s->items[i], db, &m, &j->e);
	if (!j->rc)
		j->rc = log_match_flush(&m, &j->e);
}

/* ---- threads. Each call has the lock, but for the running of a job. */

static struct job *take_job(struct grep *s, bool local_too)
{
	for (size_t i = s->at; i < s->n_jobs && i < s->at + s->ahead; i++)
		if (s->jobs[i].state == FREE && (local_too || !s->jobs[i].is_local)) {
			s->jobs[i].state = TAKEN;
			return &s->jobs[i];
		}
	return NULL;
}

static void run_taken(struct grep *s, struct job *j, struct greta_db *db)
{
	pthread_mutex_unlock(&s->lock);
	job_run(s, j, db);
	pthread_mutex_lock(&s->lock);
	j->state = DONE;
	pthread_cond_broadcast(&s->moved);
}

/* One that gets no reader leaves its share to the others. */
static void *helper(void *arg)
{
	struct grep *s = arg;
	struct greta_db *db = greta_db_open_reader(s->db->path, NULL);

	pthread_mutex_lock(&s->lock);
	while (db && !s->stop) {
		struct job *j = take_job(s, false);

		if (j)
			run_taken(s, j, db);
		else
			pthread_cond_wait(&s->moved, &s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	greta_db_close(db);
	return NULL;
}

static int hand_out(struct grep *s, struct job *j, struct greta_err *e)
{
	struct greta_grep_stats *t = s->stats;
	int64_t before = t->bytes_read;
	int rc = 0;

	if (j->rc < 0) {
		if (e)
			*e = j->e;
		return -1;
	}
	t->n_chunks_read += j->n_chunks;
	t->bytes_read += j->bytes;
	if (s->g->progress && t->bytes_read / GRETA_GREP_PROGRESS > before / GRETA_GREP_PROGRESS)
		s->g->progress(s->arg, t);
	for (size_t i = 0; i < j->n_hits && !rc; i++) {
		const struct found *f = &j->hits[i];
		const struct greta_grep_hit hit = {.attempt_id = f->attempt_id,
						   .offset = f->offset,
						   .stream = f->stream,
						   .line = greta_buf_str(&j->text) + f->at,
						   .n = f->n};

		t->n_hits++;
		rc = s->fn(s->arg, &hit, e);
	}
	job_clear(j);
	return rc;
}

/* Job by job: does what nobody else has begun while the next one is not done. */
static int run_jobs(struct grep *s, struct greta_err *e)
{
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	while (s->at < s->n_jobs && !rc) {
		struct job *next = &s->jobs[s->at], *j;

		if (next->state == DONE) {
			pthread_mutex_unlock(&s->lock);
			rc = hand_out(s, next, e);
			pthread_mutex_lock(&s->lock);
			s->at++;
			pthread_cond_broadcast(&s->moved);
		} else if ((j = take_job(s, true))) {
			run_taken(s, j, s->db);
		} else {
			pthread_cond_wait(&s->moved, &s->lock);
		}
	}
	s->stop = true;
	pthread_cond_broadcast(&s->moved);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/* A writer may be in a transaction, of which nobody else sees anything. */
static size_t helpers_for(const struct grep *s)
{
	cpu_set_t cpus;
	size_t n = 1;

	if (s->db->writer || sched_getaffinity(0, sizeof cpus, &cpus))
		return 0;
	n = (size_t)CPU_COUNT(&cpus);
	n = n < THREADS_MAX ? n : THREADS_MAX;
	return (n < s->n_jobs ? n : s->n_jobs ? s->n_jobs : 1) - 1;
}

static int search(struct grep *s, struct greta_err *e)
{
	pthread_t threads[THREADS_MAX];
	size_t want = helpers_for(s), n = 0;
	int rc;

	s->ahead = AHEAD * (want + 1);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->moved, NULL);
	while (n < want && !pthread_create(&threads[n], NULL, helper, s))
		n++;
	rc = run_jobs(s, e);
	for (size_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	pthread_cond_destroy(&s->moved);
	pthread_mutex_destroy(&s->lock);
	return rc < 0 ? -1 : 0;
}

/* ---- all of it */

static int all_bytes(struct grep *s, struct greta_err *e)
{
	const struct greta_grep *g = s->g;
	int64_t loose = 0;

	if (g->attempt_id)
		return db_get_i64(s->db, &s->stats->bytes, e, "SELECT log_bytes FROM attempt WHERE id = ?", "i",
				  g->attempt_id);
	if (g->campaign_id)
		return db_get_i64(s->db, &s->stats->bytes, e,
				  "SELECT coalesce(sum(log_bytes), 0) FROM attempt WHERE id IN (" OF_CAMPAIGN ")", "i",
				  g->campaign_id);
	s->stats->bytes = s->spans.raw_bytes;
	if (db_get_i64(s->db, &loose, e,
		       "SELECT coalesce(sum(raw_bytes), 0) FROM log_chunk WHERE zstd IS NULL AND dropped = 0", "") < 0)
		return -1;
	s->stats->bytes += loose;
	return 0;
}

static int grep_run(struct grep *s, const struct greta_buf *literal, struct greta_err *e)
{
	if (list_loose(s, e) || log_index_find(s->db, greta_buf_str(literal), literal->len, &s->spans, e) ||
	    list_items(s, e) || all_bytes(s, e) < 0 || make_jobs(s, e))
		return -1;
	s->stats->n_candidates = (int64_t)s->n_items;
	return search(s, e);
}

int greta_logs_grep(struct greta_db *db, const struct greta_grep *g, greta_grep_fn *fn, void *arg,
		    struct greta_grep_stats *stats, struct greta_err *e)
{
	struct greta_grep_stats own;
	cleanup_with(grep_release) struct grep s = {
		.db = db, .g = g, .fn = fn, .arg = arg, .stats = stats ? stats : &own};
	cleanup_with(log_match_release) struct log_match m = {0};
	bool in_txn = !sqlite3_get_autocommit(db->sq);
	int rc;

	*s.stats = (struct greta_grep_stats){0};
	if (log_match_init(&m, g, fn, arg, e) || (!in_txn && db_script(db, "BEGIN", e)))
		return -1;
	rc = grep_run(&s, &m.literal, e);
	if (!in_txn)
		db_script(db, "COMMIT", NULL);
	return rc;
}
