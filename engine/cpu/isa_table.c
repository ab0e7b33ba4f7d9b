#include "engine/cpu/isa.h"

#define STRING_(x) #x
#define STRING(x) STRING_(x)

const struct cpu_kernels CPU_SYM(cpu_kernels) = {
	.name = STRING(CPU_ISA),
#if defined(__AVX512F__)
	.mr = 14,
#else
	.mr = 6,
#endif
	.nr = 2 * VF_LANES,
	.pack_w = CPU_SYM(pack_w),
	.pack_x = CPU_SYM(pack_x),
	.gemm_f32 = CPU_SYM(gemm_f32),
	.gemv = CPU_SYM(gemv),
#if defined(__AVX512VNNI__)
	.mr_i16 = 7,
	.takes_i16 = CPU_SYM(takes_i16),
	.pack_w_i16 = CPU_SYM(pack_w_i16),
	.pack_x_i16 = CPU_SYM(pack_x_i16),
	.gemm_i16 = CPU_SYM(gemm_i16),
	.gemv_i16 = CPU_SYM(gemv_i16),
#endif
	.rms_norm = CPU_SYM(rms_norm),
	.silu_mul = CPU_SYM(silu_mul),
	.add = CPU_SYM(add),
	.rope = CPU_SYM(rope),
	.to_f16 = CPU_SYM(to_f16),
	.attn = {
#define X(name, what) [ATTN_##name] = &CPU_SYM(attn_##name),
		ATTN_IMPLS(X)
#undef X
	},
};
