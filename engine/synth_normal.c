/* Box-Muller over a counter: each group of 64 values comes from 32 pairs of hashed counters, cosines first, sines
 * after. Everything is plain float and 32-bit arithmetic in loops over 32 lanes, which the compiler turns into vectors;
 * without contraction to fused operations (see CMakeLists.txt) every machine computes the same bits. About 1 ns a value
 * with AVX2, so that two cores keep up with a disk of 2 GB/s. */
#include "engine/synth_normal.h"

#include "engine/quant.h"
#include <math.h>

#define LANES (SYNTH_NORMAL_GROUP / 2)

uint64_t synth_normal_key(uint64_t seed, uint64_t number)
{
	uint64_t z = seed + (number + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline __attribute__((always_inline)) uint32_t mix(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x7feb352d;
	x ^= x >> 15;
	x *= 0x846ca68b;
	return x ^ x >> 16;
}

/* Natural logarithm of u in (0, 1], to about 2e-7: u = 2^k m with m in [sqrt(1/2), sqrt(2)), log m by its atanh series
 * in s = (m - 1) / (m + 1), |s| < 0.172. */
static inline __attribute__((always_inline)) float log_unit(float u)
{
	uint32_t bits = quant_f32_bits(u) - 0x3f3504f3;
	float k = (float)((int32_t)bits >> 23);
	float m = quant_bits_f32((bits & 0x007fffff) + 0x3f3504f3);
	float s = (m - 1) / (m + 1), z = s * s;
	float series = 2.0f + z * (0.66666667f + z * (0.4f + z * (0.28571429f + z * 0.22222222f)));

	return k * 0.69314718f + s * series;
}

/* Taylor's polynomials on [-pi/4, pi/4], to about 4e-7. */
static inline __attribute__((always_inline)) float sin_small(float x)
{
	float z = x * x;
	return x * (1 + z * (-1.6666667e-1f + z * (8.3333333e-3f + z * -1.9841270e-4f)));
}

static inline __attribute__((always_inline)) float cos_small(float x)
{
	float z = x * x;
	return 1 + z * (-0.5f + z * (4.1666667e-2f + z * (-1.3888889e-3f + z * 2.4801587e-5f)));
}

static inline __attribute__((always_inline)) void group(uint32_t key0, uint32_t key1, uint32_t counter, float mean,
							float deviation, float *restrict out)
{
	for (uint32_t j = 0; j < LANES; j++) {
		uint32_t a = mix(mix(counter + j + key0) ^ key1);
		uint32_t b = mix(a + 0x9e3779b9 + key0);
		float u = (float)((int32_t)(a >> 8) + 1) * 0x1p-24f;
		float radius = sqrtf(-2 * log_unit(u)) * deviation;
		/* The angle in quarter turns: its top two bits choose the quadrant, the rest the place within. */
		float x = (float)((int32_t)(b << 2) >> 2) * (1.57079633f * 0x1p-30f);
		float s = sin_small(x), c = cos_small(x);
		uint32_t quadrant = b >> 30;
		float sine = quadrant & 1 ? c : s, cosine = quadrant & 1 ? s : c;
		out[j] = mean + radius * ((quadrant + 1) & 2 ? -cosine : cosine);
		out[j + LANES] = mean + radius * (quadrant & 2 ? -sine : sine);
	}
}

typedef void fill_fn(uint64_t key, uint64_t first, size_t n, float mean, float deviation, float *out);

static inline __attribute__((always_inline)) void fill(uint64_t key, uint64_t first, size_t n, float mean,
						       float deviation, float *out)
{
	for (size_t i = 0; i < n; i += SYNTH_NORMAL_GROUP)
		group((uint32_t)key, (uint32_t)(key >> 32), (uint32_t)((first + i) / 2), mean, deviation, out + i);
}

static void fill_portable(uint64_t key, uint64_t first, size_t n, float mean, float deviation, float *out)
{
	fill(key, first, n, mean, deviation, out);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void fill_avx2(uint64_t key, uint64_t first, size_t n, float mean,
						      float deviation, float *out)
{
	fill(key, first, n, mean, deviation, out);
}
#endif

void synth_normal(uint64_t key, uint64_t first, size_t n, float mean, float deviation, float *out)
{
	fill_fn *best = fill_portable;

#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		best = fill_avx2;
#endif
	best(key, first, n, mean, deviation, out);
}
