/* row8: eight elements of a row at a time, for kernels without matrix cores; rows of any length. */
#ifndef KERNELS_ATTN_ROW8_H
#define KERNELS_ATTN_ROW8_H

#include "kernels/dev/device.h"

/* Eight elements from index d of a row of head_dim, zeros beyond its end. EXACT: d is never beyond it. */
template <bool EXACT> GPU_FN gpu_u4 load_row8(const uint16_t *row, int d, int head_dim)
{
	gpu_u4 x = {{0, 0, 0, 0}};

	if (EXACT)
		return gpu_load16(row + d);
	if (head_dim % 8 == 0) /* rows start on 16 bytes, and a chunk is whole or absent */
		return d < head_dim ? gpu_load16(row + d) : x;
#pragma unroll
	for (int i = 0; i < 8; i++)
		if (d + i < head_dim)
			x.w[i / 2] |= (uint32_t)row[d + i] << (i % 2 * 16);
	return x;
}

template <class E> GPU_FN float dot8(gpu_u4 a, gpu_u4 b, float s)
{
#pragma unroll
	for (int i = 0; i < 4; i++) {
		s = gpu_fma(gpu_lo<E>(a.w[i]), gpu_lo<E>(b.w[i]), s);
		s = gpu_fma(gpu_hi<E>(a.w[i]), gpu_hi<E>(b.w[i]), s);
	}
	return s;
}

/* o[d] = o[d] keep + p v[d] */
template <class E> GPU_FN void fold8(float *o, float keep, float p, gpu_u4 v)
{
#pragma unroll
	for (int i = 0; i < 4; i++) {
		o[2 * i] = gpu_fma(p, gpu_lo<E>(v.w[i]), o[2 * i] * keep);
		o[2 * i + 1] = gpu_fma(p, gpu_hi<E>(v.w[i]), o[2 * i + 1] * keep);
	}
}

#endif
