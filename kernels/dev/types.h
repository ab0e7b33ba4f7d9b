/* types: what the host and the kernels agree on. Every kernel takes one struct by value, the same on every machine. */
#ifndef KERNELS_DEV_TYPES_H
#define KERNELS_DEV_TYPES_H

#include <stdint.h>

/* What is executing now, in a page that the host (and the supervisor, which maps the same file) reads while kernels
 * run. The first block of a kernel writes it at entry; attention blocks count themselves in as they end. */
struct greta_gpu_page {
	uint64_t executing;   /* sequence << 32 | layer << 16 | op */
	uint32_t blocks_done; /* of that kernel, where it counts them */
	uint32_t blocks;      /* it will count to */
};

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

#endif
