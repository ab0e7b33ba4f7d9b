/* gpu_feed: weights from host memory to the GPU through a ring of pinned slots, so that filling one slot, copying another
 * and converting a third go on together. */
#include "base/mem.h"
#include "kernels/gpu_internal.h"
#include <stdlib.h>

enum { N_SLOTS = 4, MAPPED = 2 | 1 /* mapped, portable: the same flags for both drivers */ };

struct greta_gpu_feed {
	struct greta_gpu *gpu;
	size_t slot_bytes;
	struct slot {
		void *host, *device;
		gpu_event free;
		bool used;
	} slots[N_SLOTS];
	int at; /* the slot that was handed out */
};

void greta_gpu_feed_close(struct greta_gpu_feed *f)
{
	if (!f)
		return;
	f->gpu->api.stream_sync(f->gpu->stream);
	for (int i = 0; i < N_SLOTS; i++) {
		if (f->slots[i].host)
			f->gpu->api.host_free(f->slots[i].host);
		greta_gpu_free(f->gpu, f->slots[i].device);
		if (f->slots[i].free)
			f->gpu->api.event_destroy(f->slots[i].free);
	}
	free(f);
}

int greta_gpu_feed_open(struct greta_gpu *g, struct greta_gpu_feed **out, size_t slot_bytes, struct greta_err *e)
{
	struct greta_gpu_feed *f = greta_alloc(sizeof *f);

	f->gpu = g;
	f->slot_bytes = slot_bytes;
	f->at = -1;
	for (int i = 0; i < N_SLOTS; i++) {
		struct slot *s = &f->slots[i];

		if (gpu_check(&g->api, g->api.host_alloc(&s->host, slot_bytes, MAPPED), e, "pinned memory to load through") ||
		    !(s->device = greta_gpu_alloc(g, slot_bytes, "memory to load through", e)) ||
		    gpu_check(&g->api, g->api.event_create(&s->free, 0), e, "creating an event")) {
			greta_gpu_feed_close(f);
			return -1;
		}
	}
	*out = f;
	return 0;
}

void *greta_gpu_feed_slot(struct greta_gpu_feed *f, struct greta_err *e)
{
	struct slot *s;

	f->at = (f->at + 1) % N_SLOTS;
	s = &f->slots[f->at];
	if (s->used && gpu_check(&f->gpu->api, f->gpu->api.event_sync(s->free), e, "copying to the GPU"))
		return NULL;
	s->used = true;
	return s->host;
}

static int release(struct greta_gpu_feed *f, struct greta_err *e)
{
	const struct gpu_api *a = &f->gpu->api;

	return gpu_check(a, a->event_record(f->slots[f->at].free, f->gpu->stream), e, "recording an event");
}

int greta_gpu_feed_raw(struct greta_gpu_feed *f, void *dst, size_t bytes, struct greta_err *e)
{
	const struct gpu_api *a = &f->gpu->api;

	if (gpu_check(a, a->copy_to_device(dst, f->slots[f->at].host, bytes, f->gpu->stream), e, "copying to the GPU"))
		return -1;
	return release(f, e);
}

int greta_gpu_feed_convert(struct greta_gpu_feed *f, enum greta_gpu_dtype t, struct convert_args c, int64_t rows,
			   struct greta_err *e)
{
	const struct gpu_api *a = &f->gpu->api;
	struct slot *s = &f->slots[f->at];

	c.src = s->device;
	if (gpu_check(a, a->copy_to_device(s->device, s->host, (size_t)(rows * c.row_bytes), f->gpu->stream), e,
		      "copying to the GPU") ||
	    greta_gpu_convert(f->gpu, t, &c, rows, e))
		return -1;
	return release(f, e);
}
