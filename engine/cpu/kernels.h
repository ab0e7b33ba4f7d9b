/* kernels: the inner loops of the CPU backend, as one table per instruction set.
 *
 * Built for `generic` (what the compiler's target has: SSE2, NEON), `avx2` (with FMA and F16C) and `avx512` (F, BW, DQ,
 * VL, VNNI); the best one that the processor has is chosen at run time. Shapes: X is activations [n][k], W weights as in
 * the file [n_out][k], Y = X W^T [n][n_out]; float32, rows contiguous.
 *
 * Every gemm_* output is one chain of multiply-adds in order of k, from zero per block of GEMM_KC, whatever rows stand
 * beside it: this is what deterministic mode rests on.
 */
#ifndef ENGINE_CPU_KERNELS_H
#define ENGINE_CPU_KERNELS_H

#include "engine/cpu/attn.h"
#include "engine/quant.h"
#include <stdbool.h>
#include <stddef.h>

#define GEMM_KC 512    /* values of k per packed strip of W: a multiple of every format's block */
#define GEMM_MAX_MR 16 /* bounds on the tiles of any instruction set */
#define GEMM_MAX_NR 64

struct cpu_kernels {
	const char *name;
	int mr, nr; /* largest tile of Y: rows of X, outputs */

	/* W rows w .. w + n_rows - 1 (n_rows <= nr; missing ones are zeros), columns k0 .. k0 + kc - 1, to out[kc][nr].
	 * kc <= GEMM_KC; k0 and kc are whole blocks of the format. */
	void (*pack_w)(const struct quant_traits *t, const void *w, size_t row_bytes, int n_rows, size_t k0, size_t kc,
		       float *out);
	/* rows <= mr rows of X to out[k][rows]. */
	void (*pack_x)(const float *x, size_t ldx, int rows, size_t k, float *out);
	/* y[rows][n_out] = (add ? y : 0) + x w, from packed x and w. */
	void (*gemm_f32)(int rows, size_t kc, const float *x, const float *w, float *y, size_t ldy, int n_out, bool add);
	/* y[i] = (add ? y[i] : 0) + w[i] . x, for n_out rows as in the file; sums in an order of its own. */
	void (*gemv)(const struct quant_traits *t, const void *w, size_t row_bytes, size_t n_out, size_t k, const float *x,
		     float *y, bool add);

	void (*rms_norm)(const float *x, const float *weight, float eps, size_t n, float *out);
	void (*silu_mul)(float *gate, const float *up, size_t n); /* gate = silu(gate) * up */
	void (*add)(float *y, const float *x, size_t n);          /* y += x */
	/* Rotates pairs (2i, 2i+1) of the first n_rot values by cos[i], sin[i]. */
	void (*rope)(float *x, const float *cos, const float *sin, size_t n_rot);
	void (*to_f16)(const float *x, uint16_t *out, size_t n);

	const struct attn_impl *attn[ATTN_COUNT];
};

extern const struct cpu_kernels cpu_kernels_generic;
#if defined(__x86_64__)
extern const struct cpu_kernels cpu_kernels_avx2, cpu_kernels_avx512;
#endif

/* The best table that this processor can run; or, by name, NULL if it is not built in or the processor lacks it. */
const struct cpu_kernels *cpu_kernels_best(void);
const struct cpu_kernels *cpu_kernels_named(const char *name);

#endif
