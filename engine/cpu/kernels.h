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

#define GEMM_GROUP 32  /* values that share a scale in the integer path */

/* One tile of the integer path (isa_gemm_i16.c tells what the numbers mean). */
struct gemm_i16 {
	const int16_t *x;  /* [n_groups * GEMM_GROUP / 2][rows][2] */
	const float *sums; /* [n_groups][rows]: of x */
	const float *step; /* [rows] */
	const int16_t *w;  /* [n_groups * GEMM_GROUP / 2][nr][2] */
	const float *scale, *min; /* [n_groups][nr]; min may be NULL */
	size_t n_groups;
	float *y;
	size_t ldy;
	int n_out;
	bool add;
};

struct cpu_kernels {
	const char *name;
	int mr, nr;   /* largest tile of Y: rows of X, outputs */
	int mr_i16;   /* rows of the integer path's tile; 0: there is none, and the *_i16 slots are NULL */

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

	/* The same for quantised formats in integers; pack_w_i16 says whether the format has minima at all. */
	bool (*takes_i16)(enum quant_type type);
	bool (*pack_w_i16)(const struct quant_traits *t, const void *w, size_t row_bytes, int n_rows, size_t k0, size_t kc,
			   int16_t *q, float *scale, float *min);
	void (*pack_x_i16)(const float *x, size_t ldx, int rows, size_t k, int16_t *q, float *sums, float *step);
	void (*gemm_i16)(int rows, const struct gemm_i16 *j);
	void (*gemv_i16)(const struct quant_traits *t, const void *w, size_t row_bytes, size_t n_out, size_t k,
			 const int16_t *x, const float *sums, float step, float *y, bool add);

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
