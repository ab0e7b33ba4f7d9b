/* emu: runs a kernel's blocks on this thread. */
#ifndef EMU_H
#define EMU_H

#include <stddef.h>
#include <stdint.h>

/* What a test may set, found by dlsym("emu_settings"). Zero is a faithful run. */
struct emu_settings {
	int order;         /* 0: each wave runs as far as it can, first to last; 1: last to first; 2: lock-step */
	int units;         /* compute units that the device reports; 0: 304 */
	int wave;          /* lanes that it reports; 0: 64 */
	/* planted bugs */
	int skip_barrier;  /* 1 + which barrier of a block is left out, for all its threads */
	int skip_wait;     /* waits for copies into LDS do nothing */
	int swap_lanes;    /* MFMA's D comes out transposed: the layout of the other operand */
	int keep_lds;      /* LDS is zero instead of NaN before each block */
	/* what a launch found */
	int n_barriers;    /* most barriers that a thread of the last launch passed */
	uint64_t launches;
	char message[256]; /* of the last failure */
};

typedef void emu_kernel_fn(void *args);

struct emu_launch {
	unsigned grid[3];
	unsigned threads;
	size_t lds_bytes; /* that the code object has */
	emu_kernel_fn *run;
	void *args;
};

/* 0, or -1 with settings.message: diverged wave, deadlock, wrong LDS size. */
int emu_run(const struct emu_launch *l);

#ifdef __cplusplus
extern "C"
#else
extern
#endif
struct emu_settings emu_settings;

#endif
