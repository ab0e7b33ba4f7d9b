/* gpu_page: the page that an engine's GPU kernels write and its supervisor reads: what executes now, what is queued
 * behind it, and how far the kernel is that executes. The supervisor keeps the memory, so it reads on when the engine is
 * dead; GRETA_GPU_PAGE names its file. docs/protocol.md has the layout for engines other than greta-infer. */
#ifndef BASE_GPU_PAGE_H
#define BASE_GPU_PAGE_H

#include <stdint.h>

enum { GRETA_GPU_PAGE_BYTES = 4096, GRETA_GPU_PAGE_OPS = 32, GRETA_GPU_PAGE_OP_NAME = 64 };

/* A place in the model is one word, so that it is never seen half written: sequence << 32 | layer << 16 | op. Zero is
 * nowhere. */
struct greta_gpu_page {
	/* by the GPU: block 0 of a kernel as it starts, and blocks as they end */
	uint64_t executing;
	uint32_t blocks_done;
	uint32_t blocks;      /* that it will count to; 0: this kernel does not count */
	/* by the engine's host side, on a cache line of its own */
	uint64_t enqueued __attribute__((aligned(64))); /* the last kernel queued */
	char ops[GRETA_GPU_PAGE_OPS][GRETA_GPU_PAGE_OP_NAME]; /* what each op is called; "": it has no name */
};

#endif
