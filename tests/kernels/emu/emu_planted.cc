/* emu_planted: kernels with bugs that hardware may forgive and the emulator must not (tests/kernels/k_emu.c). */
#include "kernels/dev/device.h"
#include "tests/kernels/emu/emu.h"
#include "tests/kernels/emu/emu_planted.h"

struct planted_args {
	float *out; /* a value a thread */
	const uint32_t *in;
};

struct planted_lds {
	float x[128];
};

GPU_KERNEL(128, 1) void planted_sound(planted_args a)
{
	GPU_LDS(planted_lds, t);

	t.x[gpu_tid()] = (float)gpu_tid();
	gpu_sync();
	a.out[gpu_tid()] = t.x[127 - gpu_tid()] + gpu_shfl_xor(1, 1);
}

/* Reads what no thread has written: zero, or what the block before left, on hardware. */
GPU_KERNEL(128, 1) void planted_lds_read(planted_args a)
{
	GPU_LDS(planted_lds, t);

	if (gpu_tid() < 100)
		t.x[gpu_tid()] = 1;
	gpu_sync();
	a.out[gpu_tid()] = t.x[gpu_tid()];
}

struct planted_large {
	float x[65536 / 4 + 1];
};

GPU_KERNEL(128, 1) void planted_large_lds(planted_args a)
{
	GPU_LDS(planted_large, t);

	a.out[gpu_tid()] = t.x[0];
}

/* A block of half a wave takes from lanes that are not there: stale registers on hardware. */
GPU_KERNEL(32, 1) void planted_absent_lanes(planted_args a)
{
	a.out[gpu_tid()] = gpu_shfl_xor(1, 32);
}

/* Half of the wave at a shuffle, half at the barrier. */
GPU_KERNEL(128, 1) void planted_divergence(planted_args a)
{
	float x = 1;

	if (gpu_lane() < 32)
		x = gpu_shfl_xor(x, 1);
	else
		gpu_sync();
	a.out[gpu_tid()] = x;
}

/* Waits for all copies but the last one, and reads them all. */
GPU_KERNEL(64, 1) void planted_short_wait(planted_args a)
{
	GPU_LDS(planted_lds, t);

	gpu_copy_lds4(a.in + gpu_tid(), &t.x[0]);
	gpu_copy_lds4(a.in + 64 + gpu_tid(), &t.x[64]);
	gpu_wait_copies<1>();
	gpu_sync();
	a.out[gpu_tid()] = t.x[gpu_tid()] + t.x[64 + gpu_tid()];
	gpu_wait_copies<0>();
}

GPU_KERNEL(64, 1) void planted_no_wait(planted_args a)
{
	GPU_LDS(planted_lds, t);

	gpu_copy_lds4(a.in + gpu_tid(), &t.x[0]);
	a.out[gpu_tid()] = 1;
}

#define PLANTED(name, threads, lds)                                                                                    \
	static void run_##name(void *args) { planted_##name(*(planted_args *)args); }                                  \
	static const emu_launch launch_##name = {{1, 1, 1}, threads, lds, run_##name, nullptr};
EMU_PLANTED(PLANTED)

extern "C" int emu_planted(int which, float out[128])
{
	static const emu_launch *const launches[] = {
#define ADDRESS(name, threads, lds) &launch_##name,
		EMU_PLANTED(ADDRESS)
	};
	static uint32_t in[128]; /* zeros are 0.0f */
	planted_args args = {out, in};
	emu_launch l = *launches[which];

	l.args = &args;
	return emu_run(&l);
}
