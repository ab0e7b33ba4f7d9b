/* elements: random 16-bit elements, what they are worth, and their way to the GPU. */
#ifndef TESTS_KERNELS_ELEMENTS_H
#define TESTS_KERNELS_ELEMENTS_H

#include "tests/unit/unit.h"

#include "base/mem.h"
#include "kernels/gpu.h"
#include <math.h>
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

static inline void *uploaded(struct greta_gpu *gpu, const void *src, size_t bytes)
{
	struct greta_err e = { 0 };
	void *p = greta_gpu_alloc(gpu, bytes, "test data", &e);

	if (!p || greta_gpu_upload(gpu, p, src, bytes, &e))
		fail_msg("%s", e.text);
	return p;
}

#endif
