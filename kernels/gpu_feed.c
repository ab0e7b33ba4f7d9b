/* gpu_feed: a ring of pinned slots between host memory and the GPU. A slot is made when it is first asked for, so that what
 * fills the first ones need not wait until all are pinned. */
#include "base/mem.h"
#include "kernels/gpu_internal.h"
#include <stdlib.h>

enum { MAPPED = 2 | 1 /* mapped, portable: the same flags for both drivers */ };

struct slot {
	void *host;
	void *device; /* where rows wait to be converted; NULL: none have been */
	gpu_event copied;
	bool used;
};

struct greta_gpu_feed {
	struct greta_gpu *gpu;
	size_t slot_bytes, n_slots;
	struct slot slots[];
};

struct greta_gpu_feed *greta_gpu_feed_open(struct greta_gpu *g, size_t n_slots, size_t slot_bytes)
{
	struct greta_gpu_feed *f = greta_alloc(sizeof *f + n_slots * sizeof *f->slots);

	f->gpu = g;
	f->n_slots = n_slots;
	f->slot_bytes = slot_bytes;
	return f;
}

void greta_gpu_feed_close(struct greta_gpu_feed *f)
{
	if (!f)
		return;
	f->gpu->api.stream_sync(f->gpu->stream);
	for (size_t i = 0; i < f->n_slots; i++) {
		if (f->slots[i].host)
			f->gpu->api.host_free(f->slots[i].host);
		greta_gpu_free(f->gpu, f->slots[i].device);
		if (f->slots[i].copied)
			f->gpu->api.event_destroy(f->slots[i].copied);
	}
	free(f);
}

void *greta_gpu_feed_slot(struct greta_gpu_feed *f, size_t i, struct greta_err *e)
{
	const struct gpu_api *a = &f->gpu->api;
	struct slot *s = &f->slots[i % f->n_slots];

	if (!s->host && gpu_check(a, a->host_alloc(&s->host, f->slot_bytes, MAPPED), e, "pinned memory to load through"))
		return NULL;
	if (!s->copied && gpu_check(a, a->event_create(&s->copied, 0), e, "creating an event"))
		return NULL;
	if (s->used && gpu_check(a, a->event_sync(s->copied), e, "copying to the GPU"))
		return NULL;
	s->used = true;
	return s->host;
}

static int note_copied(struct greta_gpu_feed *f, size_t i, struct greta_err *e)
{
	const struct gpu_api *a = &f->gpu->api;

	return gpu_check(a, a->event_record(f->slots[i % f->n_slots].copied, f->gpu->stream), e, "recording an event");
}

int greta_gpu_feed_raw(struct greta_gpu_feed *f, size_t i, void *dst, size_t bytes, struct greta_err *e)
{
	const struct gpu_api *a = &f->gpu->api;

	if (gpu_check(a, a->copy_to_device(dst, f->slots[i % f->n_slots].host, bytes, f->gpu->stream), e, "copying to the GPU"))
		return -1;
	return note_copied(f, i, e);
}

int greta_gpu_feed_convert(struct greta_gpu_feed *f, size_t i, enum greta_gpu_dtype t, struct convert_args c, int64_t rows,
			   struct greta_err *e)
{
	const struct gpu_api *a = &f->gpu->api;
	struct slot *s = &f->slots[i % f->n_slots];

	if (!s->device && !(s->device = greta_gpu_alloc(f->gpu, f->slot_bytes, "memory to load through", e)))
		return -1;
	c.src = s->device;
	if (gpu_check(a, a->copy_to_device(s->device, s->host, (size_t)(rows * c.row_bytes), f->gpu->stream), e,
		      "copying to the GPU") ||
	    greta_gpu_convert(f->gpu, t, &c, rows, e))
		return -1;
	return note_copied(f, i, e);
}
