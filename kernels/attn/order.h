/* order: which tile of which head a block of flash_mma_v2 does. Pure: tests/kernels/k_swizzle.c walks it.
 *
 * Blocks start in the order of their index. Within a group of heads the longest tiles (the last queries) come first for
 * all heads, so that blocks end together; groups follow each other, so that only a group's K and V want the cache.
 * On MI300X blocks are dealt to the dies in turn, each with its own 4 MB cache: index % n_xcd is the die, and a die gets
 * whole heads (where there are fewer heads than dies they share them).
 */
#ifndef KERNELS_ATTN_ORDER_H
#define KERNELS_ATTN_ORDER_H

#include "kernels/attn/swizzle.h"

SWIZZLE_FN void attn_order_of(int block, int n_tiles, int n_heads, int group, int *tile, int *head)
{
	int g = block / (group * n_tiles), first = g * group;
	int heads = n_heads - first < group ? n_heads - first : group;
	int at = block - first * n_tiles;

	*tile = n_tiles - 1 - at / heads;
	*head = first + at % heads;
}

SWIZZLE_FN void attn_order_xcd(int block, int n_tiles, int n_heads, int n_xcd, int *tile, int *head)
{
	int even = n_heads / n_xcd * n_xcd; /* heads that can be dealt whole */

	if (block < even * n_tiles) {
		int xcd = block % n_xcd, at = block / n_xcd;

		*head = xcd + at / n_tiles * n_xcd;
		*tile = n_tiles - 1 - at % n_tiles;
		return;
	}
	block -= even * n_tiles;
	*head = even + block % (n_heads - even);
	*tile = n_tiles - 1 - block / (n_heads - even);
}

#endif
