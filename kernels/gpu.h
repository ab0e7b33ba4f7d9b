/* gpu: one GPU, through whichever driver is there. Pure C; what is vendor-specific ends here.
 *
 * A GPU has one compute stream, in which everything below is ordered, and launches return before they are done;
 * errors of an asynchronous launch show at the next greta_gpu_sync. Addresses of device memory are plain pointers that
 * the host must not follow.
 */
#ifndef KERNELS_GPU_H
#define KERNELS_GPU_H

#include "base/err.h"
#include "kernels/dev/types.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct greta_gpu;

struct greta_gpu_options {
	const char *driver;    /* "cuda", "hip"; NULL: whichever is there, CUDA first */
	int ordinal;           /* among the visible devices */
	const char *kfd_root;  /* NULL: /sys/class/kfd/kfd/topology/nodes (for tests) */
};

struct greta_gpu_info {
	char name[96];
	char arch[16];         /* "gfx942", "sm_90a": of the code objects in use */
	char driver[288];      /* "CUDA 13.0 (libcuda.so.1)" */
	char pci[32];
	int n_units;           /* compute units or multiprocessors, as this partition has them */
	int wave;              /* lanes */
	int n_xcd;             /* dies that blocks are dealt to in turn */
	size_t vram_bytes;
};

/* EUNSUPPORTED, in plain words, where there is no driver, no device (e->sys is ENODEV), no code for its architecture. */
int greta_gpu_open(struct greta_gpu **out, const struct greta_gpu_options *o, struct greta_err *e);
void greta_gpu_close(struct greta_gpu *g); /* NULL is fine; frees what was allocated with it, sync or not */
const struct greta_gpu_info *greta_gpu_info(const struct greta_gpu *g);
int greta_gpu_sync(struct greta_gpu *g, struct greta_err *e);

/* ENOMEM says how much was asked and how much is free. `what` names it for that message. */
void *greta_gpu_alloc(struct greta_gpu *g, size_t bytes, const char *what, struct greta_err *e);
void greta_gpu_free(struct greta_gpu *g, void *p); /* NULL is fine */
int greta_gpu_mem(struct greta_gpu *g, size_t *free_bytes, size_t *peak_used, struct greta_err *e);
int greta_gpu_upload(struct greta_gpu *g, void *dst, const void *src, size_t bytes, struct greta_err *e);   /* waits */
int greta_gpu_download(struct greta_gpu *g, void *dst, const void *src, size_t bytes, struct greta_err *e); /* waits */
int greta_gpu_fill(struct greta_gpu *g, void *p, int byte, size_t bytes, struct greta_err *e);

/* Seconds that the stream took between two marks; greta_gpu_mark(g, i) for i < GRETA_GPU_MARKS. */
enum { GRETA_GPU_MARKS = 8 };
int greta_gpu_mark(struct greta_gpu *g, int i, struct greta_err *e);
int greta_gpu_seconds(struct greta_gpu *g, int from, int to, double *s, struct greta_err *e); /* waits */

int greta_gpu_busy(struct greta_gpu *g, bool *busy, struct greta_err *e); /* whether the stream has work left */

/* The page that kernels given `device` as crumb.page write; *page is its host side, zeroed. path: the file to keep it in,
 * NULL: none. One per GPU, valid until it is closed or this is called again. */
int greta_gpu_watch(struct greta_gpu *g, const char *path, struct greta_gpu_page **page, struct greta_gpu_page **device,
		    struct greta_err *e);

/* --- element types ------------------------------------------------------------------------------------------------ */

enum greta_gpu_dtype { GRETA_GPU_F16, GRETA_GPU_BF16 };
const char *greta_gpu_dtype_name(enum greta_gpu_dtype t); /* "f16", "bf16" */

/* --- attention: the ladder ---------------------------------------------------------------------------------------- */

/* X(id, name): from the baseline up; the names are what --attn takes and results report. */
#define GRETA_ATTN_RUNGS(X)                                                                                            \
	X(FLASH_V2_NAIVE, "flash_v2_naive")                                                                            \
	X(Q_LDS, "q_lds")                                                                                              \
	X(Q_LDS_V2, "q_lds_v2")                                                                                        \
	X(FLASH_MMA, "flash_mma")                                                                                      \
	X(FLASH_MMA_V2, "flash_mma_v2")

enum greta_attn_rung {
#define X(id, name) GRETA_ATTN_##id,
	GRETA_ATTN_RUNGS(X)
#undef X
	GRETA_ATTN_N_RUNGS
};

const char *greta_attn_name(enum greta_attn_rung r);
int greta_attn_by_name(const char *name, enum greta_attn_rung *r, struct greta_err *e); /* EINVAL lists the names */

/* Whether rung r can do this head_dim; EUNSUPPORTED names those that can. */
int greta_attn_supports(enum greta_attn_rung r, int head_dim, struct greta_err *e);

/* Queues one attention; args as in types.h, scale_log2 filled in by the caller. */
int greta_gpu_attn(struct greta_gpu *g, enum greta_attn_rung r, enum greta_gpu_dtype t, const struct attn_args *args,
		   struct greta_err *e);

/* Attention of one query (args->n is 1) over a cache, whatever the rung: the keys of a head are split over blocks, then
 * merged. parts: greta_attn_decode_bytes of device memory, written before it is read. Any head_dim to 256. */
size_t greta_attn_decode_bytes(int n_heads, int head_dim);
int greta_gpu_attn_decode(struct greta_gpu *g, enum greta_gpu_dtype t, const struct attn_args *args, float *parts,
			  struct greta_err *e);

/* CPU reference that follows the rung's tiling in float32 (its order of keys, its rounding of P); o is float.
 * wave: lanes of the machine to be compared with, whose tiles it follows. */
void greta_attn_reference(enum greta_attn_rung r, enum greta_gpu_dtype t, int wave, const struct attn_args *args);
void greta_attn_decode_reference(enum greta_gpu_dtype t, const struct attn_args *args);

/* --- matrix products ---------------------------------------------------------------------------------------------- */

/* Opens the vendor's library and fixes its workspace: "library" insists, "own" does without, NULL takes what is there. */
int greta_gpu_gemm_start(struct greta_gpu *g, const char *which, struct greta_err *e);
const char *greta_gpu_gemm_name(const struct greta_gpu *g); /* "cublas", "rocblas", "own" */
int greta_gpu_gemm(struct greta_gpu *g, enum greta_gpu_dtype t, const struct gemm_args *args, struct greta_err *e);

/* --- the rest of a forward pass: types.h says what each computes; n rows ------------------------------------------- */

int greta_gpu_embed(struct greta_gpu *g, enum greta_gpu_dtype t, const struct embed_args *a, int n, struct greta_err *e);
int greta_gpu_norm(struct greta_gpu *g, enum greta_gpu_dtype t, const struct norm_args *a, int n, struct greta_err *e);
int greta_gpu_rope(struct greta_gpu *g, enum greta_gpu_dtype t, const struct rope_args *a, int n, struct greta_err *e);
int greta_gpu_swiglu(struct greta_gpu *g, enum greta_gpu_dtype t, const struct swiglu_args *a, int n, struct greta_err *e);
int greta_gpu_bias(struct greta_gpu *g, const struct bias_args *a, int n, struct greta_err *e);
int greta_gpu_convert(struct greta_gpu *g, enum greta_gpu_dtype t, const struct convert_args *a, int64_t rows,
		      struct greta_err *e);

/* Queues a kernel that never ends (fault injection), with a block to count that never comes; only the process's end frees the GPU of it. */
int greta_gpu_spin(struct greta_gpu *g, struct gpu_crumb crumb, struct greta_err *e);

/* Loading, through a ring of n_slots pinned slots of slot_bytes. Load number i (0, 1, 2 ... in turn) has a slot from
 * greta_gpu_feed_slot on, which waits until the copy of load i - n_slots has ended; what the caller has filled it with is
 * queued as it is or to be converted (args.src is filled in). Errors of a copy show at a later call. */
struct greta_gpu_feed;
struct greta_gpu_feed *greta_gpu_feed_open(struct greta_gpu *g, size_t n_slots, size_t slot_bytes);
void greta_gpu_feed_close(struct greta_gpu_feed *f); /* waits; NULL is fine */
void *greta_gpu_feed_slot(struct greta_gpu_feed *f, size_t i, struct greta_err *e);
int greta_gpu_feed_raw(struct greta_gpu_feed *f, size_t i, void *dst, size_t bytes, struct greta_err *e);
int greta_gpu_feed_convert(struct greta_gpu_feed *f, size_t i, enum greta_gpu_dtype t, struct convert_args args, int64_t rows,
			   struct greta_err *e);

/* --- what is inside ----------------------------------------------------------------------------------------------- */

struct greta_buf;

/* One line for --version: "GPU kernels: gfx942, sm_90a" or why there are none. */
void greta_gpu_built_for(struct greta_buf *out);

/* The resource table of the embedded code objects, as text or JSON. Returns the number of kernels that use scratch
 * memory or break another rule of the static gate (each marked in the table). */
int greta_gpu_resources(struct greta_buf *out, bool json);

#endif
