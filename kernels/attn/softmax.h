/* softmax: the online softmax of a tile of scores, for any tile T (tile_*.h).
 *
 *   m' = max(m, scale max_j s[j])   p[j] = 2^(scale s[j] - m')   l' = l 2^(m - m') + sum_j p[j]
 */
#ifndef KERNELS_ATTN_SOFTMAX_H
#define KERNELS_ATTN_SOFTMAX_H

#include "kernels/dev/device.h"

/* Far below any score, yet finite: 2^(masked - m) is 0 and no NaN comes of it. */
#define SOFTMAX_MASKED (-1.0e38f)

/* Queries see keys up to their own position; first: position of the tile's first query, counted from the tile's first
 * key. */
template <class T> GPU_FN void mask_causal(float (&s)[T::NS], int first)
{
#pragma unroll
	for (int r = 0; r < T::NS; r++)
		s[r] = T::s_key(r) <= first + T::query(T::s_row(r)) ? s[r] : SOFTMAX_MASKED;
}

template <class T> struct softmax_rows {
	float m[T::ROWS], l[T::ROWS]; /* l: this lane's share */
	float keep[T::ROWS];          /* what the output so far is multiplied with */

	GPU_METHOD void start()
	{
#pragma unroll
		for (int i = 0; i < T::ROWS; i++) {
			m[i] = SOFTMAX_MASKED;
			l[i] = 0;
		}
	}

	/* s becomes p. The first tile holds key 0, which all queries see: m is real from then on. */
	GPU_METHOD void fold(float (&s)[T::NS], float scale_log2)
	{
		float top[T::ROWS];

#pragma unroll
		for (int i = 0; i < T::ROWS; i++)
			top[i] = SOFTMAX_MASKED;
#pragma unroll
		for (int r = 0; r < T::NS; r++)
			top[T::s_row(r)] = gpu_max(top[T::s_row(r)], s[r]);
#pragma unroll
		for (int i = 0; i < T::ROWS; i++) {
			float m_new = gpu_max(m[i], T::row_max(top[i]) * scale_log2);

			keep[i] = gpu_exp2(m[i] - m_new);
			m[i] = m_new;
			l[i] *= keep[i];
		}
#pragma unroll
		for (int r = 0; r < T::NS; r++) {
			s[r] = gpu_exp2(gpu_fma(s[r], scale_log2, -m[T::s_row(r)]));
			l[T::s_row(r)] += s[r];
		}
	}

	GPU_METHOD void finish(float (&inv)[T::ROWS])
	{
#pragma unroll
		for (int i = 0; i < T::ROWS; i++)
			inv[i] = gpu_rcp(T::row_sum(l[i]));
	}
};

#endif
