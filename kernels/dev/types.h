/* types: what the host and the kernels agree on. Every kernel takes one struct by value, the same on every machine. */
#ifndef KERNELS_DEV_TYPES_H
#define KERNELS_DEV_TYPES_H

#include "base/gpu_page.h"
#include <stdint.h>

/* The first block of a kernel writes what executes to the page at entry; attention blocks count themselves in as they
 * end. */
struct gpu_crumb {
	struct greta_gpu_page *page; /* as the device sees it; null: no breadcrumbs */
	uint32_t *counter;           /* device memory, zeroed before the launch; null: blocks are not counted */
	uint64_t executing;          /* as in the page */
};

/* O = softmax(scale * Q K^T, causal) V per head; query i stands at position pos0 + i and sees keys 0 .. pos0 + i.
 * Layouts: q[i][head][d], k[j][kv_head][d], v alike, o[i][head][d]; strides in elements between tokens, rows of a head
 * are contiguous. kv_head = head / (n_heads / n_kv_heads). */
struct attn_args {
	struct gpu_crumb crumb;
	const uint16_t *q, *k, *v;
	void *o;                /* elements like q's, or float where o_f32 */
	int64_t q_stride, kv_stride, o_stride;
	int32_t n;              /* queries */
	int32_t pos0;
	int32_t n_heads, n_kv_heads;
	int32_t head_dim;
	int32_t o_f32;
	float scale_log2;       /* scale * log2(e): the kernels exponentiate by base 2 */
	int32_t n_xcd;          /* dies that blocks are dealt to in turn; 1 where there is one */
};

/* flash_mma_v2 also takes Hopper's tensor maps of q, k and v (unused on AMD), and how many heads' blocks run side by side
 * so that their K and V stay in the cache. */
struct attn_v2_args {
	struct attn_args a;
	int32_t head_group;
	uint8_t map_q[128] __attribute__((aligned(64)));
	uint8_t map_k[128] __attribute__((aligned(64)));
	uint8_t map_v[128] __attribute__((aligned(64)));
};

/* One query of each head, at position a.pos0; a.n is 1. parts: what each split of a head's keys found (decode_split.h). */
struct attn_decode_args {
	struct attn_args a;
	float *parts;
	int32_t split_keys, n_splits;
};

/* C[i,j] (+)= sum_k X[i,k] W[j,k]: X [m][k] activations, W [n][k] weights, both 16-bit, rows on 16 bytes, k a multiple of
 * GPU_K_MULTIPLE (zeros fill up). */
enum { GPU_K_MULTIPLE = 64 };
enum gemm_out { GEMM_OUT_ELEMENT, GEMM_OUT_F32, GEMM_OUT_ADD_F32 };
struct gemm_args {
	struct gpu_crumb crumb;
	const uint16_t *x, *w;
	void *c;
	int64_t ldx, ldw, ldc;
	int32_t m, n, k;
	int32_t out; /* enum gemm_out */
};

/* The kernel for many rows also takes Hopper's tensor maps of x and w, and how many tiles of rows run side by side so that
 * theirs of x stay in the cache (both unused on AMD). */
struct gemm_tiled_args {
	struct gemm_args a;
	int32_t band;
	uint8_t map_x[128] __attribute__((aligned(64)));
	uint8_t map_w[128] __attribute__((aligned(64)));
};

/* x[i,:] = table[tokens[i],:], as float32 */
struct embed_args {
	struct gpu_crumb crumb;
	const uint16_t *table;
	const int32_t *tokens;
	float *x;
	int64_t ld_table, ldx;
	int32_t n_embd;
};

/* y[i,:] = x[i,:] / sqrt(mean(x[i,:]^2) + eps) * w, zeros up to n_pad */
struct norm_args {
	struct gpu_crumb crumb;
	const float *x, *w;
	uint16_t *y;
	int64_t ldx, ldy;
	int32_t n_embd, n_pad;
	float eps;
};

/* Splits rows of (q heads, k heads, v heads), adds the bias, turns pairs (2i, 2i+1) of the first n_rot values of q and k
 * by the angles of their position, writes q and the caches of k and v. table[pos][i] = (cos, sin). */
struct rope_args {
	struct gpu_crumb crumb;
	const uint16_t *qkv;
	const float *bias; /* null: none */
	const float *table;
	uint16_t *q, *k, *v;
	int64_t ld_qkv, ldq, ld_kv;
	int32_t pos0, n_heads, n_kv_heads, head_dim, n_rot;
};

/* h[i,j] = silu(gu[i,j]) gu[i, n_ff + j], zeros up to n_pad */
struct swiglu_args {
	struct gpu_crumb crumb;
	const uint16_t *gu;
	uint16_t *h;
	int64_t ld_gu, ldh;
	int32_t n_ff, n_pad;
};

/* x[i,:] += bias */
struct bias_args {
	struct gpu_crumb crumb;
	float *x;
	const float *bias;
	int64_t ldx;
	int32_t n;
};

/* Runs until *stop is not 0: for testing what notices a kernel that never ends. */
struct spin_args {
	struct gpu_crumb crumb;
	const uint32_t *stop;
};

/* Rows of a GGUF number format become 16-bit elements, zeros up to ld. One block a row. */
enum convert_from { CONVERT_F32, CONVERT_16, CONVERT_Q8_0, CONVERT_Q4_K };
struct convert_args {
	struct gpu_crumb crumb;
	const uint8_t *src;
	uint16_t *dst;
	int64_t row_bytes, ld;
	int32_t n_in;
	int32_t from; /* enum convert_from */
};

#endif
