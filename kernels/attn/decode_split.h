/* decode_split: how flash_decode splits the keys of a head over blocks, and where each leaves what it found. Plain C, for
 * both sides.
 *
 * A function of the number of keys alone, so that the same cache gives the same bits on every machine. 128 keys of 128
 * values are 64 KB of K and V, some 2 us of a compute unit's share of the memory: enough to be worth a block, and at 4096
 * keys and 32 heads there are a thousand. Up to 256 keys a block a head is done before a second kernel would have started.
 * The number of splits is bounded: the memory that they leave their parts in is set aside once.
 */
#ifndef KERNELS_ATTN_DECODE_SPLIT_H
#define KERNELS_ATTN_DECODE_SPLIT_H

#include "kernels/attn/swizzle.h"
#include <stdint.h>

enum { DECODE_SPLIT_KEYS = 128, DECODE_ALONE_KEYS = 256, DECODE_MAX_SPLITS = 64 };

/* Keys of a split; the last one may have fewer. */
SWIZZLE_FN int decode_split_keys(int keys)
{
	int n = (keys + DECODE_SPLIT_KEYS - 1) / DECODE_SPLIT_KEYS;

	if (keys <= DECODE_ALONE_KEYS)
		return keys;
	return (n + DECODE_MAX_SPLITS - 1) / DECODE_MAX_SPLITS * DECODE_SPLIT_KEYS;
}

/* What a split of a head found: m, l, then head_dim outputs. */
SWIZZLE_FN float *decode_part(float *parts, int head, int split, int n_splits, int head_dim)
{
	return parts + ((int64_t)head * n_splits + split) * (2 + head_dim);
}

#endif
