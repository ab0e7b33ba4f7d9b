/* vec: what happens to one row between the matrix products. Tails that do not fill a vector go through a padded one, so
 * that they see the same arithmetic. */
#include "engine/cpu/isa.h"
#include <math.h>

INLINE vf load_tail(const float *x, size_t n)
{
	float pad[VF_LANES] = {0};
	memcpy(pad, x, n * sizeof *pad);
	return vf_load(pad);
}

INLINE void store_tail(float *out, vf v, size_t n)
{
	memcpy(out, &v, n * sizeof *out);
}

void CPU_SYM(rms_norm)(const float *x, const float *weight, float eps, size_t n, float *out)
{
	vf sum = vf_zero();
	size_t i = 0;

	for (; i + VF_LANES <= n; i += VF_LANES)
		sum += vf_load(x + i) * vf_load(x + i);
	if (i < n) {
		vf v = load_tail(x + i, n - i);
		sum += v * v;
	}
	float scale = 1.0f / sqrtf(vf_sum(sum) / (float)n + eps);
	for (i = 0; i + VF_LANES <= n; i += VF_LANES)
		vf_store(out + i, vf_load(x + i) * scale * vf_load(weight + i));
	for (; i < n; i++)
		out[i] = x[i] * scale * weight[i];
}

INLINE vf silu(vf x)
{
	return x / (1.0f + vf_exp2(x * -1.44269504f));
}

void CPU_SYM(silu_mul)(float *gate, const float *up, size_t n)
{
	size_t i = 0;

	for (; i + VF_LANES <= n; i += VF_LANES)
		vf_store(gate + i, silu(vf_load(gate + i)) * vf_load(up + i));
	if (i < n)
		store_tail(gate + i, silu(load_tail(gate + i, n - i)) * load_tail(up + i, n - i), n - i);
}

void CPU_SYM(add)(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] += x[i];
}

void CPU_SYM(rope)(float *x, const float *cosine, const float *sine, size_t n_rot)
{
	for (size_t i = 0; i < n_rot / 2; i++) {
		float a = x[2 * i], b = x[2 * i + 1];
		x[2 * i] = a * cosine[i] - b * sine[i];
		x[2 * i + 1] = a * sine[i] + b * cosine[i];
	}
}

void CPU_SYM(to_f16)(const float *x, uint16_t *out, size_t n)
{
	size_t i = 0;

	for (; i + VF_LANES <= n; i += VF_LANES)
		vf_store_f16(out + i, vf_load(x + i));
	for (; i < n; i++)
		out[i] = quant_f32_to_f16(x[i]);
}
