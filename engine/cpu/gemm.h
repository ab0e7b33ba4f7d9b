/* gemm: matrix products of packed activations with weights as the file has them, on all threads.
 *
 * Activations X[n][k] are packed into panels of a few rows, panel by panel, each [k][rows]; the n rows are divided evenly,
 * so no panel is nearly empty. For few tokens panels have one row and are plain vectors. A task takes GEMM_NC outputs: it
 * unpacks a strip of W of GEMM_KC x GEMM_NC in its own scratch (512 KB: half of a Zen 5 core's L2) and runs all panels
 * over it. So W is read from memory once per block of tokens, whatever its format, and nothing of it is kept.
 *
 * There are two kinds of product: float32 on dequantised weights, for every format, and 15-bit integers (isa_gemm_i16.c)
 * for quantised weights, where the processor has it and the caller did not ask for float32.
 */
#ifndef ENGINE_CPU_GEMM_H
#define ENGINE_CPU_GEMM_H

#include "engine/cpu/kernels.h"
#include "engine/cpu/pool.h"
#include "engine/model.h"

#define GEMM_NC 256 /* outputs per task at most; a multiple of every nr */

struct cpu { /* what the CPU backend's parts share */
	const struct cpu_kernels *k;
	struct pool *pool;
	int n_threads;
	bool deterministic;  /* no path that sums in another order for few tokens */
	bool float_only;     /* no integer products */
	void **scratch;      /* per thread, scratch_bytes each, aligned to 64 */
	size_t scratch_bytes;
};

enum gemm_kind { GEMM_F32 = 1, GEMM_I16 = 2 }; /* may be or-ed, as what a set of weights wants */

struct acts { /* packed activations, in one form or in both; buffers are the caller's */
	int n;
	size_t k;
	float *f32;    /* [n * k] */
	int16_t *i16;  /* [n * k] */
	float *sums;   /* [n * k / GEMM_GROUP] */
	float *step;   /* [n] */
};

struct gemm_out { /* y = (add ? y : 0) + X W^T + bias */
	const struct weight *w;
	float *y;
	size_t ldy;
	bool add;
};

enum gemm_kind gemm_kind(const struct cpu *cpu, const struct weight *w);

/* Rows x[n][k], at a distance of ldx, into the forms that `kinds` names; normalised on the way if norm is not NULL. */
void gemm_pack(const struct cpu *cpu, unsigned kinds, const float *x, size_t ldx, const float *norm, float eps,
	       struct acts *a); /* a->n, a->k and the buffers are given */
void gemm_run(const struct cpu *cpu, const struct acts *x, const struct gemm_out *outs, int n_outs);

/* h = silu(X gate^T) * (X up^T): packed as float32 into packed, or as rows [n][n_ff] into rows; the other is NULL. */
void gemm_swiglu(const struct cpu *cpu, const struct acts *x, const struct weight *gate, const struct weight *up,
		 float *packed, float *rows);

size_t gemm_scratch_bytes(const struct cpu *cpu, int max_n, size_t max_k);

#endif
