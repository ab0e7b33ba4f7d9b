/* isa_attn: what attention implementations of one instruction set share: reading the cache, and rows whose length is
 * padded to whole vectors. */
#ifndef ENGINE_CPU_ISA_ATTN_H
#define ENGINE_CPU_ISA_ATTN_H

#include "engine/cpu/isa.h"
#include <math.h>

#define LOG2_E 1.4426950408889634f

INLINE int round_up(int n, int step)
{
	return (n + step - 1) / step * step;
}

INLINE int padded(int n) /* to whole vectors */
{
	return round_up(n, VF_LANES);
}

/* n values of the cache to out[padded(n)], zeros behind. */
INLINE void load_row(const void *row, bool half, int n, float *out)
{
	int i = 0;

	for (; i + VF_LANES <= n; i += VF_LANES)
		vf_store(out + i, half ? vf_load_f16((const uint16_t *)row + i) : vf_load((const float *)row + i));
	if (i == n)
		return;
	vf_store(out + i, vf_zero());
	for (; i < n; i++)
		out[i] = half ? quant_f16_to_f32(((const uint16_t *)row)[i]) : ((const float *)row)[i];
}

INLINE const float *q_row(const struct attn_job *job, int token, int head)
{
	return job->q + ((size_t)token * (size_t)job->n_head + (size_t)head) * (size_t)job->head_dim;
}

INLINE float *out_row(const struct attn_job *job, int token, int head)
{
	return job->out + ((size_t)token * (size_t)job->n_head + (size_t)head) * (size_t)job->head_dim;
}

INLINE int kv_head_of(const struct attn_job *job, int head)
{
	return head / (job->n_head / job->n_head_kv);
}

#endif
