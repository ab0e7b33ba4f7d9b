/* kernel_list: every kernel there is, once. The host's table, the emulator's and the checks are made from it.
 *
 * X(object, name, argument struct, threads on AMD, threads on NVIDIA, LDS bytes beyond static on NVIDIA)
 * AMD kernels have static LDS only (64 KB there); NVIDIA's static limit is 48 KB, what is larger is asked for.
 */
#ifndef KERNELS_KERNEL_LIST_H
#define KERNELS_KERNEL_LIST_H

#define KERNELS_NAIVE(X, e)                                                                                            \
	X(flash_v2_naive, flash_v2_naive_##e##_to32, attn_args, 64, 32, 0)                                             \
	X(flash_v2_naive, flash_v2_naive_##e##_d64, attn_args, 64, 32, 0)                                              \
	X(flash_v2_naive, flash_v2_naive_##e##_to64, attn_args, 64, 32, 0)                                             \
	X(flash_v2_naive, flash_v2_naive_##e##_d128, attn_args, 64, 32, 0)                                             \
	X(flash_v2_naive, flash_v2_naive_##e##_to128, attn_args, 64, 32, 0)                                            \
	X(flash_v2_naive, flash_v2_naive_##e##_to256, attn_args, 64, 32, 0)

#define KERNELS_Q_LDS(X, e)                                                                                            \
	X(q_lds, q_lds_##e##_d64, attn_args, 32, 32, 0)                                                                \
	X(q_lds, q_lds_##e##_d128, attn_args, 32, 32, 0)                                                               \
	X(q_lds, q_lds_v2_##e##_d64, attn_args, 32, 32, 0)                                                             \
	X(q_lds, q_lds_v2_##e##_d128, attn_args, 32, 32, 0)

#define KERNELS_FLASH_MMA(X, e)                                                                                        \
	X(flash_mma, flash_mma_##e##_d64, attn_args, 256, 128, 49152)                                                  \
	X(flash_mma, flash_mma_##e##_d128, attn_args, 256, 128, 98304)

/* NVIDIA: 5 tiles of 128 rows and 9 barriers */
#define KERNELS_FLASH_MMA_V2(X, e)                                                                                     \
	X(flash_mma_v2, flash_mma_v2_##e##_d64, attn_v2_args, 512, 384, 82048)                                         \
	X(flash_mma_v2, flash_mma_v2_##e##_d128, attn_v2_args, 512, 384, 163968)

#define KERNELS_FLASH_DECODE(X, e)                                                                                     \
	X(flash_decode, flash_decode_##e##_to32, attn_decode_args, 128, 128, 0)                                        \
	X(flash_decode, flash_decode_##e##_d64, attn_decode_args, 128, 128, 0)                                         \
	X(flash_decode, flash_decode_##e##_to64, attn_decode_args, 128, 128, 0)                                        \
	X(flash_decode, flash_decode_##e##_d128, attn_decode_args, 128, 128, 0)                                        \
	X(flash_decode, flash_decode_##e##_to128, attn_decode_args, 128, 128, 0)                                       \
	X(flash_decode, flash_decode_##e##_to256, attn_decode_args, 128, 128, 0)                                       \
	X(flash_decode, flash_decode_merge_##e, attn_decode_args, 128, 128, 0)

#define KERNELS_MODEL(X, e)                                                                                            \
	X(gemm, gemm_##e, gemm_tiled_args, 256, 384, 196672) /* 4 stages of 384 rows and 8 barriers */                 \
	X(gemm, gemv_##e, gemm_args, 256, 256, 0)                                                                      \
	X(model, embed_##e, embed_args, 256, 256, 0)                                                                   \
	X(model, norm_##e, norm_args, 256, 256, 0)                                                                     \
	X(model, rope_##e, rope_args, 256, 256, 0)                                                                     \
	X(model, swiglu_##e, swiglu_args, 256, 256, 0)                                                                 \
	X(model, convert_##e, convert_args, 256, 256, 0)

#define GPU_KERNEL_LIST(X)                                                                                             \
	KERNELS_NAIVE(X, f16)                                                                                          \
	KERNELS_NAIVE(X, bf16)                                                                                         \
	KERNELS_Q_LDS(X, f16)                                                                                          \
	KERNELS_Q_LDS(X, bf16)                                                                                         \
	KERNELS_FLASH_MMA(X, f16)                                                                                      \
	KERNELS_FLASH_MMA(X, bf16)                                                                                     \
	KERNELS_FLASH_MMA_V2(X, f16)                                                                                   \
	KERNELS_FLASH_MMA_V2(X, bf16)                                                                                  \
	KERNELS_FLASH_DECODE(X, f16)                                                                                   \
	KERNELS_FLASH_DECODE(X, bf16)                                                                                  \
	KERNELS_MODEL(X, f16)                                                                                          \
	KERNELS_MODEL(X, bf16)                                                                                         \
	X(model, add_bias, bias_args, 256, 256, 0)                                                                     \
	X(model, spin, spin_args, 256, 256, 0)

/* X(object): the code objects, one a source. */
#define GPU_OBJECT_LIST(X)                                                                                             \
	X(flash_v2_naive)                                                                                              \
	X(q_lds)                                                                                                       \
	X(flash_mma)                                                                                                   \
	X(flash_mma_v2)                                                                                                \
	X(flash_decode)                                                                                                \
	X(gemm)                                                                                                        \
	X(model)

#endif
