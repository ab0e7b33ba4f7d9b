/* flash_mma_v2 (v6): what each chip offers beyond flash_mma's tiling. The softmax is shared (softmax.h); the rest is
 * the machine's: flash_mma_v2_hopper.h, flash_mma_v2_cdna.h. */
#ifdef __CUDACC__
#include "kernels/attn/flash_mma_v2_hopper.h"
extern __shared__ __align__(1024) unsigned char flash_mma_v2_lds[];
#define V2_LDS(type, name) type &name = *(type *)flash_mma_v2_lds
#define V2_ARGS const __grid_constant__ attn_v2_args
#else
#include "kernels/attn/flash_mma_v2_cdna.h"
#define V2_LDS(type, name) GPU_LDS(type, name)
#define V2_ARGS attn_v2_args
#endif

#define FLASH_MMA_V2(name, E, HD)                                                                                      \
	GPU_KERNEL((v2_tile<E, HD>::THREADS), 1) void name(V2_ARGS a)                                        \
	{                                                                                                              \
		typedef v2_tile<E, HD>::lds lds;                                                                       \
		V2_LDS(lds, t);                                                                                        \
		flash_mma_v2<E, HD>(a, t);                                                                             \
	}

FLASH_MMA_V2(flash_mma_v2_f16_d64, f16, 64)
FLASH_MMA_V2(flash_mma_v2_f16_d128, f16, 128)
FLASH_MMA_V2(flash_mma_v2_bf16_d64, bf16, 64)
FLASH_MMA_V2(flash_mma_v2_bf16_d128, bf16, 128)
