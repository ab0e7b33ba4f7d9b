/* swizzle: where 16-byte pieces of a tile's rows stand in LDS. Pure functions: tests/kernels/k_swizzle.c enumerates the
 * bank conflicts of every access that is made through them, on both machines. Plain C, for both sides. */
#ifndef KERNELS_ATTN_SWIZZLE_H
#define KERNELS_ATTN_SWIZZLE_H

#if defined(__HIP__) || defined(__CUDACC__)
#define SWIZZLE_FN static inline __attribute__((device))
#else
#define SWIZZLE_FN static inline
#endif

/* K (and on NVIDIA Q and V): rows of 8 or 16 pieces, so the same piece of all rows lies in the same banks. */
SWIZZLE_FN int swizzle_k(int row, int piece)
{
	return piece ^ (row & 7);
}

/* V^T on CDNA: rows of 32 keys are 4 pieces, two rows a turn of the banks. */
SWIZZLE_FN int swizzle_v(int d, int piece)
{
	return piece ^ (((d >> 1) ^ (d >> 3)) & 3);
}

/* Where the keys 4 group .. 4 group + 3 of a tile stand in a row of V^T, in units of 4: so that the 8 keys of one piece
 * are those whose scores one lane holds (4 of an 8-key block, and 4 of the next). */
SWIZZLE_FN int v_place(int group)
{
	return (group & ~3) | (group & 1) << 1 | (group >> 1 & 1);
}

#endif
