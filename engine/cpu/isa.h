/* isa: what the files of one instruction set share. Each isa_*.c defines functions under CPU_SYM names, isa_table.c puts
 * them into the table of kernels.h. */
#ifndef ENGINE_CPU_ISA_H
#define ENGINE_CPU_ISA_H

#include "engine/cpu/kernels.h"
#include "engine/cpu/simd.h"

/* How far ahead of itself a gemv that reads `rows` rows side by side fetches: the processor does not see through several
 * short streams. Short rows: the same place in the next rows; long ones: further along. Fetching beyond the end is
 * harmless. */
INLINE size_t gemv_ahead(size_t row_bytes, size_t rows)
{
	return row_bytes <= 4096 ? rows * row_bytes : 4096;
}

void CPU_SYM(gemm_f32)(int rows, size_t kc, const float *x, const float *w, float *y, size_t ldy, int n_out, bool add);
void CPU_SYM(pack_w)(const struct quant_traits *t, const void *w, size_t row_bytes, int n_rows, size_t k0, size_t kc,
		     float *out);
void CPU_SYM(pack_x)(const float *x, size_t ldx, int rows, size_t k, float *out);
void CPU_SYM(gemv)(const struct quant_traits *t, const void *w, size_t row_bytes, size_t n_out, size_t k, const float *x,
		   float *y, bool add);
bool CPU_SYM(takes_i16)(enum quant_type type);
bool CPU_SYM(pack_w_i16)(const struct quant_traits *t, const void *w, size_t row_bytes, int n_rows, size_t k0, size_t kc,
			 int16_t *q, float *scale, float *min);
void CPU_SYM(pack_x_i16)(const float *x, size_t ldx, int rows, size_t k, int16_t *q, float *sums, float *step);
void CPU_SYM(gemm_i16)(int rows, const struct gemm_i16 *j);
void CPU_SYM(gemv_i16)(const struct quant_traits *t, const void *w, size_t row_bytes, size_t n_out, size_t k, const int16_t *x,
		       const float *sums, float step, float *y, bool add);
void CPU_SYM(rms_norm)(const float *x, const float *weight, float eps, size_t n, float *out);
void CPU_SYM(silu_mul)(float *gate, const float *up, size_t n);
void CPU_SYM(add)(float *y, const float *x, size_t n);
void CPU_SYM(rope)(float *x, const float *cosine, const float *sine, size_t n_rot);
void CPU_SYM(to_f16)(const float *x, uint16_t *out, size_t n);

#define X(name, what) extern const struct attn_impl CPU_SYM(attn_##name);
ATTN_IMPLS(X)
#undef X

#endif
