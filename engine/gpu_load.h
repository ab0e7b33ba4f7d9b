/* gpu_load: bytes of a model's file onto a GPU, through a ring of pinned slots. Threads fill slots piece by piece, in order,
 * and go on into the next slot without waiting for each other; the caller's thread queues the copy of each slot that is
 * full. So reading, copying and converting go on together, and the slowest of them sets the pace. */
#ifndef ENGINE_GPU_LOAD_H
#define ENGINE_GPU_LOAD_H

#include "engine/model.h"
#include "kernels/gpu.h"
#include <stdbool.h>

#define GPU_LOAD_SLOTS 8
#define GPU_LOAD_SLOT_BYTES ((size_t)8 << 20) /* on an H200, half of it costs a third of the speed, twice of it a tenth */

/* What one slot takes to the device. */
struct gpu_batch {
	const uint8_t *from;         /* the first byte */
	size_t bytes;                /* from there on */
	const struct weight *decode; /* rows of this weight, made float32 in the slot; NULL: taken as they are */
	size_t rows;                 /* of the weight; 0: a vector */
	void *dst;                   /* on the device; NULL: convert says where */
	struct convert_args convert; /* src is the slot's */
};

struct gpu_load {
	struct gpu_batch *batches;
	size_t n, cap;
	void **owned;                /* memory that batches point to, freed with the list */
	size_t n_owned, cap_owned;
};

typedef void gpu_load_fn(void *arg, uint64_t bytes); /* that have been queued, since the last call */

/* All of it, to the last byte on the device. Bytes inside gguf's mapping are read from its file (-1: from the mapping). */
int gpu_load_run(const struct gpu_load *l, struct greta_gpu *g, enum greta_gpu_dtype dtype, const struct gguf *gguf, int n_threads,
		 gpu_load_fn *fn, void *arg, struct greta_err *e);
void gpu_load_release(struct gpu_load *l);

#endif
