/* mma_cdna: CDNA3's matrix instruction, and its twin on the emulator. Layout: tile_cdna.h. */
#ifndef KERNELS_DEV_MMA_CDNA_H
#define KERNELS_DEV_MMA_CDNA_H

#include "kernels/dev/device.h"

typedef float gpu_f32x16 __attribute__((ext_vector_type(16)));
typedef short gpu_s16x4 __attribute__((ext_vector_type(4)));
typedef _Float16 gpu_f16x4 __attribute__((ext_vector_type(4)));

template <class E> GPU_FN gpu_f32x16 gpu_mfma_32x32x8(gpu_u2 a, gpu_u2 b, gpu_f32x16 c)
{
#ifdef GPU_AMD
	if constexpr (E::is_bf16)
		return __builtin_amdgcn_mfma_f32_32x32x8bf16_1k(__builtin_bit_cast(gpu_s16x4, a),
								__builtin_bit_cast(gpu_s16x4, b), c, 0, 0, 0);
	else
		return __builtin_amdgcn_mfma_f32_32x32x8f16(__builtin_bit_cast(gpu_f16x4, a),
							    __builtin_bit_cast(gpu_f16x4, b), c, 0, 0, 0);
#else
	float d[16];

	memcpy(d, &c, sizeof d);
	emu_mfma_32x32x8((const uint16_t *)&a, (const uint16_t *)&b, d, E::is_bf16);
	memcpy(&c, d, sizeof d);
	return c;
#endif
}

GPU_FN gpu_u2 gpu_low8(gpu_u4 x) { return { { x.w[0], x.w[1] } }; }
GPU_FN gpu_u2 gpu_high8(gpu_u4 x) { return { { x.w[2], x.w[3] } }; }

#endif
