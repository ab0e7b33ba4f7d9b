/* device: one kernel source, three machines.
 *
 *   clang -x hip (gfx942)   AMD: compiler builtins only, so that neither HIP headers nor device libraries are needed
 *   nvcc  -x cu  (sm_90a)   NVIDIA
 *   clang++ (GPU_EMU)       the AMD path on a CPU, one fiber a work-item, for tests (tests/kernels/emu)
 *
 * A wave has 64 lanes on CDNA and 32 on NVIDIA: GPU_WAVE, never a number.
 */
#ifndef KERNELS_DEV_DEVICE_H
#define KERNELS_DEV_DEVICE_H

#include "kernels/dev/types.h"

#if defined(__HIP__)
#define GPU_METHOD __attribute__((device, always_inline))
#define GPU_AMD 1
#define GPU_WAVE 64
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define GPU_FN static inline __attribute__((device, always_inline))
/* waves_per_eu keeps the compiler from trading occupancy for nothing: min_blocks is per compute unit (four SIMDs) */
#define GPU_KERNEL(threads, min_blocks)                                                                                \
	extern "C" __attribute__((global, amdgpu_flat_work_group_size(threads, threads),                               \
				  amdgpu_waves_per_eu(GPU_WAVES_EU(threads, min_blocks))))
#define GPU_WAVES_EU(threads, min_blocks) ((threads) * (min_blocks) < 256 ? 1 : (threads) * (min_blocks) / 256)
#define GPU_LDS(type, name) __shared__ type name
GPU_FN int gpu_tid() { return (int)__builtin_amdgcn_workitem_id_x(); }
GPU_FN int gpu_block_x() { return (int)__builtin_amdgcn_workgroup_id_x(); }
GPU_FN int gpu_block_y() { return (int)__builtin_amdgcn_workgroup_id_y(); }
GPU_FN int gpu_block_z() { return (int)__builtin_amdgcn_workgroup_id_z(); }
GPU_FN float gpu_exp2(float x) { return __builtin_amdgcn_exp2f(x); }
GPU_FN float gpu_rcp(float x) { return 1.0f / x; }
GPU_FN float gpu_rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
GPU_FN float gpu_max(float a, float b) { return __builtin_fmaxf(a, b); }
GPU_FN float gpu_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
GPU_FN void gpu_sync()
{
	__builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
	__builtin_amdgcn_s_barrier();
	__builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
GPU_FN float gpu_shfl_xor(float v, int mask)
{
	int lane = (int)__builtin_amdgcn_mbcnt_hi(~0u, __builtin_amdgcn_mbcnt_lo(~0u, 0));
	return __builtin_bit_cast(float, __builtin_amdgcn_ds_bpermute((lane ^ mask) << 2, __builtin_bit_cast(int, v)));
}
GPU_FN void gpu_store_system(uint64_t *p, uint64_t v) { __hip_atomic_store(p, v, __ATOMIC_RELEASE, __HIP_MEMORY_SCOPE_SYSTEM); }
GPU_FN void gpu_store_system(uint32_t *p, uint32_t v) { __hip_atomic_store(p, v, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_SYSTEM); }
GPU_FN uint32_t gpu_count(uint32_t *p) { return __hip_atomic_fetch_add(p, 1u, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT); }

/* Bounds a phase for the scheduler, at this priority from here on. */
template <int PRIORITY> GPU_FN void gpu_phase()
{
	__builtin_amdgcn_sched_barrier(0);
	__builtin_amdgcn_s_setprio(PRIORITY);
}
/* Four bytes a lane straight into LDS, to lds_wave_base + 4 * lane; there after a wait. In assembly, since clang 19 fails on
 * the builtin with an address it does not know; m0 holds the base: the compiler itself sets m0 right before each use. */
GPU_FN void gpu_copy_lds4(const void *global, const void *lds_wave_base)
{
	uint32_t base = (uint32_t)(uintptr_t)(__attribute__((address_space(3))) const char *)lds_wave_base;

	base = (uint32_t)__builtin_amdgcn_readfirstlane((int)base);
	asm volatile("s_mov_b32 m0, %0\n\ts_nop 0\n\tglobal_load_lds_dword %1, off" ::"s"(base), "v"(global) : "memory");
}
template <int LEFT> GPU_FN void gpu_wait_copies() { asm volatile("s_waitcnt vmcnt(%0)" ::"n"(LEFT) : "memory"); }

#elif defined(__CUDACC__)
#define GPU_METHOD __device__ __forceinline__
#define GPU_NVIDIA 1
#define GPU_WAVE 32
#define GPU_FN static __device__ __forceinline__
#define GPU_KERNEL(threads, min_blocks) extern "C" __global__ __launch_bounds__(threads, min_blocks)
#define GPU_LDS(type, name) __shared__ type name
GPU_FN int gpu_tid() { return (int)threadIdx.x; }
GPU_FN int gpu_block_x() { return (int)blockIdx.x; }
GPU_FN int gpu_block_y() { return (int)blockIdx.y; }
GPU_FN int gpu_block_z() { return (int)blockIdx.z; }
GPU_FN float gpu_exp2(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
GPU_FN float gpu_rcp(float x) { return 1.0f / x; }
GPU_FN float gpu_rsqrt(float x) { return 1.0f / sqrtf(x); }
GPU_FN float gpu_max(float a, float b) { return fmaxf(a, b); }
GPU_FN float gpu_fma(float a, float b, float c) { return fmaf(a, b, c); }
GPU_FN void gpu_sync() { __syncthreads(); }
GPU_FN float gpu_shfl_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
/* Loads below are not hoisted above: ptxas would fill more registers than there are. */
#define gpu_load_fence() __syncwarp()
GPU_FN void gpu_store_system(uint64_t *p, uint64_t v) { asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory"); }
GPU_FN void gpu_store_system(uint32_t *p, uint32_t v) { asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory"); }
GPU_FN uint32_t gpu_count(uint32_t *p) { return atomicAdd(p, 1u); }

#else
#include "tests/kernels/emu/emu_device.h"
#endif

/* Hides from the compiler that x does not change, so that what is computed from it in a loop is not hoisted out of it
 * into more registers than there are. x is the same in all lanes. */
GPU_FN void gpu_opaque(int &x)
{
#ifdef GPU_AMD
	asm volatile("" : "+s"(x));
#else
	asm volatile("" : "+r"(x));
#endif
}

#ifndef gpu_load_fence
#define gpu_load_fence() ((void)0)
#endif

/* The same for a value that each lane has its own of. */
GPU_FN void gpu_opaque(uint32_t &x)
{
#ifdef GPU_AMD
	asm volatile("" : "+v"(x));
#else
	asm volatile("" : "+r"(x));
#endif
}

GPU_FN int gpu_lane() { return gpu_tid() % GPU_WAVE; }
GPU_FN int gpu_wave() { return gpu_tid() / GPU_WAVE; }

/* --- elements: f16 and bf16 live in memory as 16-bit patterns ------------------------------------------------------ */

struct gpu_u4 {
	uint32_t w[4];
} __attribute__((aligned(16)));

struct gpu_u2 {
	uint32_t w[2];
} __attribute__((aligned(8)));

GPU_FN uint32_t gpu_bits(float f)
{
#ifdef GPU_NVIDIA
	return __float_as_uint(f);
#else
	return __builtin_bit_cast(uint32_t, f);
#endif
}

GPU_FN float gpu_float(uint32_t bits)
{
#ifdef GPU_NVIDIA
	return __uint_as_float(bits);
#else
	return __builtin_bit_cast(float, bits);
#endif
}

struct bf16 {
	static constexpr bool is_bf16 = true;
	GPU_FN float up(uint16_t x) { return gpu_float((uint32_t)x << 16); }
	GPU_FN uint16_t down(float f) /* to nearest, ties to even; a NaN stays one */
	{
		uint32_t b = gpu_bits(f);

		if ((b & 0x7fffffffu) > 0x7f800000u)
			return (uint16_t)(b >> 16 | 0x40);
		return (uint16_t)((b + 0x7fffu + (b >> 16 & 1)) >> 16);
	}
	GPU_FN uint32_t down2(float lo, float hi)
	{
#ifdef GPU_NVIDIA
		uint32_t r;
		asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
		return r;
#else
		return down(lo) | (uint32_t)down(hi) << 16;
#endif
	}
};

struct f16 {
	static constexpr bool is_bf16 = false;
#ifdef GPU_NVIDIA
	GPU_FN float up(uint16_t x) { float f; asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x)); return f; }
	GPU_FN uint16_t down(float f) { uint16_t h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f)); return h; }
	GPU_FN uint32_t down2(float lo, float hi)
	{
		uint32_t r;
		asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
		return r;
	}
#else
	GPU_FN float up(uint16_t x) { return (float)__builtin_bit_cast(_Float16, x); }
	GPU_FN uint16_t down(float f) { return __builtin_bit_cast(uint16_t, (_Float16)f); }
	GPU_FN uint32_t down2(float lo, float hi) { return down(lo) | (uint32_t)down(hi) << 16; }
#endif
};

template <class E> GPU_FN float gpu_lo(uint32_t w) { return E::up((uint16_t)w); }
template <class E> GPU_FN float gpu_hi(uint32_t w) { return E::up((uint16_t)(w >> 16)); }

GPU_FN gpu_u4 gpu_load16(const uint16_t *p) { return *(const gpu_u4 *)p; }
GPU_FN gpu_u2 gpu_load8(const uint16_t *p) { return *(const gpu_u2 *)p; }

/* --- breadcrumbs -------------------------------------------------------------------------------------------------- */

GPU_FN bool gpu_first_block() { return (gpu_block_x() | gpu_block_y() | gpu_block_z()) == 0; }

GPU_FN void gpu_crumb_enter(const gpu_crumb &c, uint32_t blocks)
{
	if (!c.page || !gpu_first_block() || gpu_tid() != 0)
		return;
	gpu_store_system(&c.page->blocks_done, 0u);
	gpu_store_system(&c.page->blocks, c.counter ? blocks : 0u);
	gpu_store_system(&c.page->executing, c.executing);
}

/* Every block, as it ends. The page is written for one block in 16 and for the last: a store across the bus for each
 * would cost more than it tells. */
GPU_FN void gpu_crumb_leave(const gpu_crumb &c, uint32_t blocks)
{
	uint32_t done;

	if (!c.counter || gpu_tid() != 0)
		return;
	done = gpu_count(c.counter) + 1;
	if (c.page && (done % 16 == 0 || done == blocks))
		gpu_store_system(&c.page->blocks_done, done);
}

#endif
