/* elements: random 16-bit elements, and what they are worth. */
#ifndef TESTS_KERNELS_ELEMENTS_H
#define TESTS_KERNELS_ELEMENTS_H

#include "base/mem.h"
#include "kernels/gpu.h"
#include <math.h>
#include <stdint.h>
#include <string.h>

static uint64_t seed;

static inline float uniform(void)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (float)(seed >> 40) / (float)(1 << 24);
}

static inline float normal(void)
{
	return sqrtf(-2 * logf(uniform() + 1e-9f)) * cosf(6.2831853f * uniform());
}

static inline uint16_t element(enum greta_gpu_dtype t, float f)
{
	union {
		float f;
		uint32_t u;
	} x = { f };
	_Float16 h = (_Float16)f;
	uint16_t bits;

	if (t == GRETA_GPU_BF16)
		return (uint16_t)((x.u + 0x7fff + (x.u >> 16 & 1)) >> 16);
	memcpy(&bits, &h, sizeof bits);
	return bits;
}

static inline double value(enum greta_gpu_dtype t, uint16_t bits)
{
	union {
		uint32_t u;
		float f;
	} x = { (uint32_t)bits << 16 };
	_Float16 h;

	memcpy(&h, &bits, sizeof h);
	return t == GRETA_GPU_BF16 ? (double)x.f : (double)h;
}

static inline uint16_t *random_elements(size_t n, enum greta_gpu_dtype t)
{
	uint16_t *p = greta_alloc(n * sizeof *p);

	for (size_t i = 0; i < n; i++)
		p[i] = element(t, normal());
	return p;
}

#endif
