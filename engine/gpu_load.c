#include "engine/gpu_load.h"

#include "base/mem.h"
#include "base/trace.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)512 << 10) /* that one thread fills at a time */
#define QUEUED 2                      /* copies that the device has before it while we wait for one */
#define MAX_THREADS 16

struct ring {
	const struct gpu_load *load;
	const struct gguf *gguf;
	struct greta_gpu_feed *feed;
	int fd; /* of the model's file: reading into a slot is faster than faulting the mapping in; -1: there is none */
	pthread_mutex_t lock;
	pthread_cond_t opened, filled;
	uint8_t *slots[GPU_LOAD_SLOTS];
	size_t unfilled[GPU_LOAD_SLOTS]; /* pieces of the batch that a slot holds */
	size_t n_open;                   /* batches that have got their slot */
	size_t batch, piece;             /* who comes next takes this one */
	bool ended;
	pthread_t threads[MAX_THREADS];
	int n_threads;
};

/* ---- filling */

/* Rows of a weight that is decoded come in pieces of whole rows. */
static size_t rows_of_a_piece(const struct gpu_batch *b)
{
	size_t n = PIECE_BYTES / (b->decode->n_in * sizeof(float));

	return n ? n : 1;
}

static size_t n_pieces(const struct gpu_batch *b)
{
	size_t n = b->decode ? b->rows : b->bytes, piece = b->decode ? rows_of_a_piece(b) : PIECE_BYTES;

	return (n + piece - 1) / piece;
}

static void copy_piece(const struct ring *r, const struct gpu_batch *b, size_t piece, uint8_t *slot)
{
	size_t at = piece * PIECE_BYTES, n = b->bytes - at < PIECE_BYTES ? b->bytes - at : PIECE_BYTES;
	off_t offset = b->from + at - gguf_bytes(r->gguf);

	if (r->fd < 0 || b->rows == 0 || pread(r->fd, slot + at, n, offset) != (ssize_t)n)
		memcpy(slot + at, b->from + at, n);
}

static void decode_piece(const struct gpu_batch *b, size_t piece, uint8_t *slot)
{
	const struct weight *w = b->decode;
	size_t step = rows_of_a_piece(b), row = piece * step, end = row + step < b->rows ? row + step : b->rows;

	for (; row < end; row++)
		w->traits->to_f32(b->from + row * w->row_bytes, (float *)slot + row * w->n_in, w->n_in);
}

/* With the lock held; false: there is nothing more to fill. */
static bool take_piece(struct ring *r, size_t *batch, size_t *piece)
{
	while (!r->ended && r->batch < r->load->n && r->batch == r->n_open)
		pthread_cond_wait(&r->opened, &r->lock);
	if (r->ended || r->batch == r->load->n)
		return false;
	*batch = r->batch;
	*piece = r->piece++;
	if (r->piece == n_pieces(&r->load->batches[r->batch])) {
		r->batch++;
		r->piece = 0;
	}
	return true;
}

static void *fill(void *arg)
{
	struct ring *r = arg;
	size_t batch, piece;

	pthread_mutex_lock(&r->lock);
	while (take_piece(r, &batch, &piece)) {
		const struct gpu_batch *b = &r->load->batches[batch];
		size_t slot = batch % GPU_LOAD_SLOTS;

		pthread_mutex_unlock(&r->lock);
		if (b->decode)
			decode_piece(b, piece, r->slots[slot]);
		else
			copy_piece(r, b, piece, r->slots[slot]);
		pthread_mutex_lock(&r->lock);
		if (--r->unfilled[slot] == 0)
			pthread_cond_signal(&r->filled);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* ---- queueing, on the caller's thread */

/* Gives slots to batches up to this one; waits for the copies that those slots were last queued for. */
static int open_up_to(struct ring *r, size_t last, struct greta_err *e)
{
	for (size_t i = r->n_open; i <= last && i < r->load->n; i++) {
		uint8_t *slot = greta_gpu_feed_slot(r->feed, i, e);

		if (!slot)
			return -1;
		pthread_mutex_lock(&r->lock);
		r->slots[i % GPU_LOAD_SLOTS] = slot;
		r->unfilled[i % GPU_LOAD_SLOTS] = n_pieces(&r->load->batches[i]);
		r->n_open++;
		pthread_cond_broadcast(&r->opened);
		pthread_mutex_unlock(&r->lock);
	}
	return 0;
}

static void wait_filled(struct ring *r, size_t batch)
{
	pthread_mutex_lock(&r->lock);
	while (r->unfilled[batch % GPU_LOAD_SLOTS])
		pthread_cond_wait(&r->filled, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

static int queue(const struct ring *r, enum greta_gpu_dtype dtype, size_t i, struct greta_err *e)
{
	const struct gpu_batch *b = &r->load->batches[i];

	if (b->dst)
		return greta_gpu_feed_raw(r->feed, i, b->dst, b->bytes, e);
	return greta_gpu_feed_convert(r->feed, i, dtype, b->convert, (int64_t)b->rows, e);
}

static int queue_all(struct ring *r, enum greta_gpu_dtype dtype, gpu_load_fn *fn, void *arg, struct greta_err *e)
{
	for (size_t i = 0; i < r->load->n; i++) {
		/* In the first round slots are pinned one by one, each while the one before is filled and copied. */
		if (open_up_to(r, i + 1 < GPU_LOAD_SLOTS ? i + 1 : i, e))
			return -1;
		wait_filled(r, i);
		if (queue(r, dtype, i, e))
			return -1;
		fn(arg, r->load->batches[i].bytes);
		if (i + 1 >= GPU_LOAD_SLOTS && open_up_to(r, i + GPU_LOAD_SLOTS - QUEUED, e))
			return -1;
	}
	return 0;
}

/* ---- the whole */

static int begin(struct ring *r, int n_threads, struct greta_err *e)
{
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->opened, NULL);
	pthread_cond_init(&r->filled, NULL);
	for (int i = 0; i < n_threads && i < MAX_THREADS; i++)
		if (pthread_create(&r->threads[r->n_threads], NULL, fill, r) == 0)
			r->n_threads++;
	return r->n_threads ? 0 : greta_err_set(e, GRETA_EAGAIN, "no thread can be started to load the model");
}

static void end(struct ring *r)
{
	pthread_mutex_lock(&r->lock);
	r->ended = true;
	pthread_cond_broadcast(&r->opened);
	pthread_mutex_unlock(&r->lock);
	for (int i = 0; i < r->n_threads; i++)
		pthread_join(r->threads[i], NULL);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->opened);
	pthread_cond_destroy(&r->filled);
	greta_gpu_feed_close(r->feed);
	if (r->fd >= 0)
		close(r->fd);
}

int gpu_load_run(const struct gpu_load *l, struct greta_gpu *g, enum greta_gpu_dtype dtype, const struct gguf *gguf, int n_threads,
		 gpu_load_fn *fn, void *arg, struct greta_err *e)
{
	struct ring r = { .load = l, .gguf = gguf, .fd = open(gguf_path(gguf), O_RDONLY | O_CLOEXEC),
			  .feed = greta_gpu_feed_open(g, GPU_LOAD_SLOTS, GPU_LOAD_SLOT_BYTES) };
	int64_t begun = greta_trace_region_begin();
	int rc = begin(&r, n_threads, e) || queue_all(&r, dtype, fn, arg, e) || greta_gpu_sync(g, e) ? -1 : 0;

	greta_trace_region_end("gpu load", begun);
	end(&r);
	return rc;
}

void gpu_load_release(struct gpu_load *l)
{
	for (size_t i = 0; i < l->n_owned; i++)
		free(l->owned[i]);
	free(l->owned);
	free(l->batches);
	*l = (struct gpu_load){ 0 };
}
