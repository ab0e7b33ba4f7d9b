/* emu_device: the AMD side of kernels/dev/device.h on a CPU, one fiber a work-item (emu.cc).
 *
 * It means to be harder than the hardware: LDS and the lanes that no work-item fills hold NaN, LDS ends at 64 KB,
 * device memory ends at a page that can't be touched, data brought straight into LDS arrives only at the wait that asks
 * for it, and waves run in three orders. What it does not show: time, bank conflicts, MFMA's rounding, memory models.
 */
#ifndef EMU_DEVICE_H
#define EMU_DEVICE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define GPU_WAVE 64
#define GPU_FN static inline __attribute__((always_inline))
#define GPU_METHOD inline __attribute__((always_inline))
#define GPU_KERNEL(threads, min_blocks) extern "C"
#define GPU_LDS(type, name) type &name = *(type *)emu_lds(sizeof(type))

struct emu_index {
	unsigned x, y, z;
};

extern "C" {
/* Of the running work-item and block. */
extern emu_index emu_block;
extern int emu_thread;

void *emu_lds(size_t bytes);      /* fails the launch where it differs from the code object's figure */
void emu_barrier(const char *op);
float emu_shfl_xor(float v, int mask);

/* D = A B + C, one wave: v_mfma_f32_32x32x8 of f16 or bf16. a, b: four 16-bit elements a lane. d: 16 floats. */
void emu_mfma_32x32x8(const uint16_t a[4], const uint16_t b[4], float d[16], int is_bf16);
/* v_mfma_f32_16x16x16 likewise, d: 4 floats. */
void emu_mfma_16x16x16(const uint16_t a[4], const uint16_t b[4], float d[4], int is_bf16);

/* global_load_lds_dword: 4 bytes a lane to lds_wave_base + 4 * lane, landing at a wait. */
void emu_copy_lds4(const void *global, void *lds_wave_base);
void emu_wait_copies(int left); /* s_waitcnt vmcnt(left) */
}

GPU_FN int gpu_tid() { return emu_thread; }
GPU_FN int gpu_block_x() { return (int)emu_block.x; }
GPU_FN int gpu_block_y() { return (int)emu_block.y; }
GPU_FN int gpu_block_z() { return (int)emu_block.z; }
GPU_FN float gpu_exp2(float x) { return exp2f(x); }
GPU_FN float gpu_rcp(float x) { return 1.0f / x; }
GPU_FN float gpu_rsqrt(float x) { return 1.0f / sqrtf(x); }
GPU_FN float gpu_max(float a, float b) { return fmaxf(a, b); }
GPU_FN float gpu_fma(float a, float b, float c) { return fmaf(a, b, c); }
GPU_FN void gpu_sync() { emu_barrier("barrier"); }
GPU_FN float gpu_shfl_xor(float v, int mask) { return emu_shfl_xor(v, mask); }
GPU_FN void gpu_store_system(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
GPU_FN void gpu_store_system(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
GPU_FN uint32_t gpu_count(uint32_t *p) { return __atomic_fetch_add(p, 1u, __ATOMIC_RELAXED); }
template <int PRIORITY> GPU_FN void gpu_phase() {}
GPU_FN void gpu_copy_lds4(const void *global, void *lds_wave_base) { emu_copy_lds4(global, lds_wave_base); }
template <int LEFT> GPU_FN void gpu_wait_copies() { emu_wait_copies(LEFT); }

#endif
