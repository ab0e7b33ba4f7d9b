/* emu_planted: X(name, threads, LDS bytes) of each kernel with a bug. */
#ifndef EMU_PLANTED_H
#define EMU_PLANTED_H

#define EMU_PLANTED(X)                                                                                                 \
	X(sound, 128, 512)                                                                                             \
	X(lds_read, 128, 512)                                                                                          \
	X(large_lds, 128, 65540)                                                                                       \
	X(absent_lanes, 32, 0)                                                                                         \
	X(divergence, 128, 0)                                                                                          \
	X(short_wait, 64, 512)                                                                                         \
	X(no_wait, 64, 512)

/* Runs kernel number `which`; as emu_run. Found by dlsym. */
typedef int emu_planted_fn(int which, float out[128]);

#endif
