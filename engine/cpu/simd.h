/* simd: one vector of floats, as wide as the instruction set that the including file is compiled for.
 *
 * Files named isa_*.c are compiled once per instruction set (engine/CMakeLists.txt), with CPU_ISA defined to its name;
 * they share this vocabulary, so that a kernel is written once. Arithmetic is by the compiler's vector types; only what
 * those can't say (half conversion, rounding by exponent, permutes) is by intrinsics, each with a portable twin.
 */
#ifndef ENGINE_CPU_SIMD_H
#define ENGINE_CPU_SIMD_H

#include "engine/quant.h"
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VF_LANES 16
#elif defined(__AVX2__)
#define VF_LANES 8
#else
#define VF_LANES 4
#endif

#define CPU_JOIN_(a, b) a##_##b
#define CPU_JOIN(a, b) CPU_JOIN_(a, b)
#define CPU_SYM(name) CPU_JOIN(name, CPU_ISA) /* the name of a function of this instruction set */
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(VF_LANES * 4)));
typedef int32_t vi __attribute__((vector_size(VF_LANES * 4)));
typedef float vf_unaligned __attribute__((vector_size(VF_LANES * 4), aligned(4), may_alias));
typedef int32_t vi_unaligned __attribute__((vector_size(VF_LANES * 4), aligned(4), may_alias));

INLINE vf vf_load(const float *p)
{
	return *(const vf_unaligned *)p;
}

INLINE void vf_store(float *p, vf v)
{
	*(vf_unaligned *)p = v;
}

INLINE vf vf_zero(void)
{
	return (vf){0};
}

INLINE vf vf_set(float x)
{
	return x - (vf){0}; /* x - 0 is x for every x, so only a broadcast is left */
}

INLINE vi vi_set(int32_t x)
{
	return x - (vi){0};
}

INLINE vi vi_iota(void)
{
	vi v;
	for (int i = 0; i < VF_LANES; i++)
		v[i] = i;
	return v;
}

/* a * b + c, rounded once where the instruction set can. Where several instances of a kernel must give the same bits,
 * this and not an expression, which the compiler fuses or not as it likes. */
INLINE vf vf_fma(vf a, vf b, vf c)
{
#if defined(__AVX512F__)
	return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
	return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
	return a * b + c;
#endif
}

INLINE vf vf_select(vi mask, vf a, vf b) /* lanes of mask are 0 or -1 */
{
	return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

INLINE vf vf_max(vf a, vf b)
{
#if defined(__AVX512F__)
	return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
	return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
	return vf_select(a > b, a, b);
#endif
}

/* Reductions in one fixed order: halves onto halves. */
INLINE float vf_sum(vf v)
{
	float x[VF_LANES];
	vf_store(x, v);
	for (int half = VF_LANES / 2; half > 0; half /= 2)
		for (int i = 0; i < half; i++)
			x[i] += x[i + half];
	return x[0];
}

INLINE float vf_max_lane(vf v)
{
#if defined(__AVX512F__)
	return _mm512_reduce_max_ps((__m512)v);
#else
	float m = v[0];
	for (int i = 1; i < VF_LANES; i++)
		m = v[i] > m ? v[i] : m;
	return m;
#endif
}

INLINE vf vf_load_f16(const void *p)
{
#if defined(__AVX512F__)
	return (vf)_mm512_cvtph_ps(_mm256_loadu_si256(p));
#elif defined(__AVX2__)
	return (vf)_mm256_cvtph_ps(_mm_loadu_si128(p));
#else
	uint16_t h[VF_LANES];
	vf v;
	memcpy(h, p, sizeof h);
	for (int i = 0; i < VF_LANES; i++)
		v[i] = quant_f16_to_f32(h[i]);
	return v;
#endif
}

INLINE vf vf_load_bf16(const void *p)
{
	uint16_t h[VF_LANES];
	vi v;

	memcpy(h, p, sizeof h);
	for (int i = 0; i < VF_LANES; i++)
		v[i] = (int32_t)((uint32_t)h[i] << 16);
	return (vf)v;
}

INLINE void vf_store_f16(uint16_t *p, vf v)
{
#if defined(__AVX512F__)
	_mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__)
	_mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#else
	for (int i = 0; i < VF_LANES; i++)
		p[i] = quant_f32_to_f16(v[i]);
#endif
}

INLINE vf vf_clamp(vf x, float lo, float hi)
{
	x = vf_max(x, vf_set(lo));
	return -vf_max(-x, vf_set(-hi));
}

/* 2^x for x in -126 .. 127 (clamped to that), error under 2e-7 of the value; exactly 1 at 0. NaN comes out as some
 * number, so what must carry NaN on checks for it elsewhere. */
INLINE vf vf_exp2(vf x)
{
	const vf magic = vf_set(12582912.0f); /* 1.5 * 2^23: adding it rounds to the nearest integer */

	x = vf_clamp(x, -126.0f, 127.0f);
	vf t = x + magic;
	vf f = x - (t - magic); /* -0.5 .. 0.5 */
	vf p = vf_set(1.5403530e-4f); /* ln(2)^k / k! */
	p = p * f + 1.3333558e-3f;
	p = p * f + 9.6181291e-3f;
	p = p * f + 5.5504109e-2f;
	p = p * f + 2.4022651e-1f;
	p = p * f + 6.9314718e-1f;
	p = p * f + 1.0f;
	return (vf)((vi)p + (((vi)t - (vi)magic) << 23));
}

#if defined(__AVX512F__)
/* Rows 4g .. 4g + 3 of 16: quarters of four columns each, o[j] holding columns 4q + j of quarter q. */
INLINE void vf_transpose_quarter(const vf *r, __m512 o[4])
{
	__m512 a = _mm512_unpacklo_ps((__m512)r[0], (__m512)r[1]), b = _mm512_unpackhi_ps((__m512)r[0], (__m512)r[1]);
	__m512 c = _mm512_unpacklo_ps((__m512)r[2], (__m512)r[3]), d = _mm512_unpackhi_ps((__m512)r[2], (__m512)r[3]);

	o[0] = _mm512_shuffle_ps(a, c, 0x44);
	o[1] = _mm512_shuffle_ps(a, c, 0xee);
	o[2] = _mm512_shuffle_ps(b, d, 0x44);
	o[3] = _mm512_shuffle_ps(b, d, 0xee);
}
#endif

/* Transposes VF_LANES rows of VF_LANES floats in place. */
INLINE void vf_transpose(vf r[VF_LANES])
{
#if defined(__AVX512F__)
	__m512 q0[4], q1[4], q2[4], q3[4];

	vf_transpose_quarter(r, q0);
	vf_transpose_quarter(r + 4, q1);
	vf_transpose_quarter(r + 8, q2);
	vf_transpose_quarter(r + 12, q3);
#pragma GCC unroll 4
	for (int j = 0; j < 4; j++) {
		__m512 a = _mm512_shuffle_f32x4(q0[j], q1[j], 0x88), b = _mm512_shuffle_f32x4(q0[j], q1[j], 0xdd);
		__m512 c = _mm512_shuffle_f32x4(q2[j], q3[j], 0x88), d = _mm512_shuffle_f32x4(q2[j], q3[j], 0xdd);
		r[j] = (vf)_mm512_shuffle_f32x4(a, c, 0x88);
		r[j + 8] = (vf)_mm512_shuffle_f32x4(a, c, 0xdd);
		r[j + 4] = (vf)_mm512_shuffle_f32x4(b, d, 0x88);
		r[j + 12] = (vf)_mm512_shuffle_f32x4(b, d, 0xdd);
	}
#elif defined(__AVX2__)
	__m256 t[8], u[8];
	for (int i = 0; i < 8; i += 2) {
		t[i] = _mm256_unpacklo_ps((__m256)r[i], (__m256)r[i + 1]);
		t[i + 1] = _mm256_unpackhi_ps((__m256)r[i], (__m256)r[i + 1]);
	}
	for (int i = 0; i < 8; i += 4) {
		u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
		u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
		u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
		u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
	}
	for (int i = 0; i < 4; i++) {
		r[i] = (vf)_mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
		r[i + 4] = (vf)_mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
	}
#else
	for (int i = 0; i < VF_LANES; i++) {
		for (int j = i + 1; j < VF_LANES; j++) {
			float x = r[i][j];
			r[i][j] = r[j][i];
			r[j][i] = x;
		}
	}
#endif
}

#endif
