/* gemm: matrix products of packed activations with weights as the file has them, on all threads.
 *
 * Activations X[n][k] are packed into panels of at most `mr` rows, panel by panel, each [k][rows]; the n rows are divided
 * evenly, so no panel is nearly empty. For n = 1 a packed X is a plain vector. A task takes `GEMM_NC` outputs: it unpacks
 * a strip of W of GEMM_KC x GEMM_NC to float32 in its own scratch (512 KB: half of a Zen 5 core's L2) and runs all
 * panels over it. So W is read from memory once per block of tokens, whatever its format, and nothing of it is kept.
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
	void **scratch;      /* per thread, scratch_bytes each */
	size_t scratch_bytes;
};

struct gemm_out { /* y = (add ? y : 0) + X W^T + bias */
	const struct weight *w;
	float *y;
	size_t ldy;
	bool add;
};

struct panels { /* how n rows are divided */
	int n, n_panels;
};

struct panels panels_of(const struct cpu *cpu, int n);
int panels_row(const struct panels *p, int panel);  /* first row of a panel; of panel n_panels: n */

/* Floats of packed activations: n * k. */
void gemm_pack(const struct cpu *cpu, const float *x, size_t ldx, int n, size_t k, float *packed);
/* As gemm_pack, of rows normalised on the way. */
void gemm_pack_norm(const struct cpu *cpu, const float *x, size_t ldx, int n, size_t k, const float *weight, float eps,
		    float *packed);
void gemm_run(const struct cpu *cpu, const float *packed, int n, const struct gemm_out *outs, int n_outs);
/* packed_out = silu(X gate^T) * (X up^T), packed in its turn. */
void gemm_swiglu(const struct cpu *cpu, const float *packed, int n, const struct weight *gate, const struct weight *up,
		 float *packed_out);

size_t gemm_scratch_bytes(const struct cpu *cpu, int max_n, size_t max_k);

#endif
