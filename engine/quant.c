/* The portable reference of every format: what a row decodes to, exactly, and a plain encoder for each. Fast kernels
 * live with the forward pass and are tested against these. */
#include "engine/quant.h"

#include <math.h>
#include <strings.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

/* --- half floats --- */

uint16_t quant_f32_to_f16(float f)
{
	uint32_t bits = quant_f32_bits(f), mag = bits & 0x7fffffff;
	uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);

	if (mag > 0x7f800000) /* NaN: quiet, upper payload kept */
		return (uint16_t)(sign | 0x7e00 | (mag >> 13 & 0x1ff));
	if (mag >= 0x477ff000) /* 65520 and above round to infinity */
		return sign | 0x7c00;
	if (mag < 0x38800000) { /* subnormal or zero: adding 0.5 leaves the rounded value in the low bits */
		float shifted = quant_bits_f32(mag) + 0.5f;
		return (uint16_t)(sign | (quant_f32_bits(shifted) - 0x3f000000));
	}
	mag += 0x0fff + (mag >> 13 & 1); /* ties to even; a carry moves on into the exponent */
	return (uint16_t)(sign | (mag - (112u << 23)) >> 13);
}

uint16_t quant_f32_to_bf16(float f)
{
	uint32_t bits = quant_f32_bits(f);

	if ((bits & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(bits >> 16 | 0x40);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void f32_to_f32(const void *row, float *out, size_t n)
{
	memcpy(out, row, n * sizeof *out);
}

static void f32_from_f32(const float *row, void *out, size_t n)
{
	memcpy(out, row, n * sizeof *row);
}

static uint16_t load_u16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static void store_u16(void *p, uint16_t v)
{
	memcpy(p, &v, sizeof v);
}

/* The processor converts halves as these do, eight at a time; NaN payloads apart. */
#ifdef __x86_64__
#define HALVES __attribute__((target("avx,f16c")))

static bool has_f16c(void)
{
	return __builtin_cpu_supports("avx2"); /* every processor with AVX2 has F16C, which clang 14 can't ask for */
}

HALVES static size_t f16_to_f32_vector(const uint8_t *in, float *out, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		_mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(in + 2 * i))));
	return i;
}

HALVES static size_t f16_from_f32_vector(const float *row, uint8_t *to, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		_mm_storeu_si128((__m128i *)(to + 2 * i),
				 _mm256_cvtps_ph(_mm256_loadu_ps(row + i), _MM_FROUND_TO_NEAREST_INT));
	return i;
}
#else
static bool has_f16c(void)
{
	return false;
}

static size_t f16_to_f32_vector(const uint8_t *in, float *out, size_t n)
{
	(void)in, (void)out, (void)n;
	return 0;
}

static size_t f16_from_f32_vector(const float *row, uint8_t *to, size_t n)
{
	(void)row, (void)to, (void)n;
	return 0;
}
#endif

static void f16_to_f32(const void *row, float *out, size_t n)
{
	const uint8_t *in = row;

	for (size_t i = has_f16c() ? f16_to_f32_vector(in, out, n) : 0; i < n; i++)
		out[i] = quant_f16_to_f32(load_u16(in + 2 * i));
}

static void f16_from_f32(const float *row, void *out, size_t n)
{
	uint8_t *to = out;

	for (size_t i = has_f16c() ? f16_from_f32_vector(row, to, n) : 0; i < n; i++)
		store_u16(to + 2 * i, quant_f32_to_f16(row[i]));
}

static void bf16_to_f32(const void *row, float *out, size_t n)
{
	const uint8_t *in = row;

	for (size_t i = 0; i < n; i++)
		out[i] = quant_bf16_to_f32(load_u16(in + 2 * i));
}

static void bf16_from_f32(const float *row, void *out, size_t n)
{
	uint8_t *to = out;

	for (size_t i = 0; i < n; i++)
		store_u16(to + 2 * i, quant_f32_to_bf16(row[i]));
}

/* --- blocks to floats ---
 * Blocks are copied out of the file before use: they may lie at any address. */

/* for each block b of a row, with `out` at its values */
#define FOR_BLOCKS(row, n, block_n, type, b)                                                                           \
	for (size_t at_ = 0; at_ < (n); at_ += (block_n), out += (block_n))                                            \
		for (struct type b, *once_ = memcpy(&b, (const char *)(row) + at_ / (block_n) * sizeof b, sizeof b);   \
		     once_; once_ = NULL)

static void q8_0_to_f32(const void *row, float *out, size_t n)
{
	FOR_BLOCKS(row, n, 32, quant_q8_0, b)
	{
		float d = quant_f16_to_f32(b.d);
		for (int i = 0; i < 32; i++)
			out[i] = d * b.q[i];
	}
}

static void q4_0_to_f32(const void *row, float *out, size_t n)
{
	FOR_BLOCKS(row, n, 32, quant_q4_0, b)
	{
		float d = quant_f16_to_f32(b.d);
		for (int i = 0; i < 16; i++) {
			out[i] = d * ((b.q[i] & 15) - 8);
			out[i + 16] = d * ((b.q[i] >> 4) - 8);
		}
	}
}

static void q4_1_to_f32(const void *row, float *out, size_t n)
{
	FOR_BLOCKS(row, n, 32, quant_q4_1, b)
	{
		float d = quant_f16_to_f32(b.d), m = quant_f16_to_f32(b.m);
		for (int i = 0; i < 16; i++) {
			out[i] = d * (b.q[i] & 15) + m;
			out[i + 16] = d * (b.q[i] >> 4) + m;
		}
	}
}

/* The fifth bit of value i (0..31), at its place above a nibble. */
static int fifth_bit(const uint8_t high[4], int i)
{
	return (high[i / 8] >> (i % 8) & 1) << 4;
}

static void q5_0_to_f32(const void *row, float *out, size_t n)
{
	FOR_BLOCKS(row, n, 32, quant_q5_0, b)
	{
		float d = quant_f16_to_f32(b.d);
		for (int i = 0; i < 16; i++) {
			out[i] = d * (((b.q[i] & 15) | fifth_bit(b.high, i)) - 16);
			out[i + 16] = d * ((b.q[i] >> 4 | fifth_bit(b.high, i + 16)) - 16);
		}
	}
}

static void q5_1_to_f32(const void *row, float *out, size_t n)
{
	FOR_BLOCKS(row, n, 32, quant_q5_1, b)
	{
		float d = quant_f16_to_f32(b.d), m = quant_f16_to_f32(b.m);
		for (int i = 0; i < 16; i++) {
			out[i] = d * ((b.q[i] & 15) | fifth_bit(b.high, i)) + m;
			out[i + 16] = d * (b.q[i] >> 4 | fifth_bit(b.high, i + 16)) + m;
		}
	}
}

/* Nibble of value l of group j in a K block: two groups share 32 bytes. */
static int k_nibble(const uint8_t q[128], int j, int l)
{
	return q[j / 2 * 32 + l] >> (j & 1) * 4 & 15;
}

static void q4_k_to_f32(const void *row, float *out, size_t n)
{
	FOR_BLOCKS(row, n, 256, quant_q4_k, b)
	{
		float d = quant_f16_to_f32(b.d), dmin = quant_f16_to_f32(b.dmin);
		for (int j = 0; j < 8; j++) {
			uint8_t scale, min;
			quant_k_scale_min(b.scales, j, &scale, &min);
			for (int l = 0; l < 32; l++)
				out[j * 32 + l] = d * scale * k_nibble(b.q, j, l) - dmin * min;
		}
	}
}

static void q5_k_to_f32(const void *row, float *out, size_t n)
{
	FOR_BLOCKS(row, n, 256, quant_q5_k, b)
	{
		float d = quant_f16_to_f32(b.d), dmin = quant_f16_to_f32(b.dmin);
		for (int j = 0; j < 8; j++) {
			uint8_t scale, min;
			quant_k_scale_min(b.scales, j, &scale, &min);
			for (int l = 0; l < 32; l++) {
				int q = k_nibble(b.q, j, l) | (b.high[l] >> j & 1) << 4;
				out[j * 32 + l] = d * scale * q - dmin * min;
			}
		}
	}
}

static void q6_k_to_f32(const void *row, float *out, size_t n)
{
	FOR_BLOCKS(row, n, 256, quant_q6_k, b)
	{
		float d = quant_f16_to_f32(b.d);
		for (int i = 0; i < 256; i++) {
			int half = i / 128, k = i % 128 / 32, l = i % 32;
			int low = b.low[half * 64 + (k & 1) * 32 + l] >> (k / 2) * 4 & 15;
			int high = b.high[half * 32 + l] >> 2 * k & 3;
			out[i] = d * b.scales[i / 16] * ((low | high << 4) - 32);
		}
	}
}

/* --- floats to blocks ---
 * One pass, nearest value, no search for better scales. */

static int clamp_int(int v, int low, int high)
{
	return v < low ? low : v > high ? high : v;
}

/* The value of greatest magnitude, with its sign: the one that a symmetric format maps to its most negative code. */
static float signed_max(const float *x, int n)
{
	float best = 0, magnitude = 0;

	for (int i = 0; i < n; i++) {
		float a = fabsf(x[i]);
		if (a > magnitude) {
			magnitude = a;
			best = x[i];
		}
	}
	return best;
}

static void min_max(const float *x, int n, float *min, float *max)
{
	*min = *max = x[0];
	for (int i = 1; i < n; i++) {
		*min = x[i] < *min ? x[i] : *min;
		*max = x[i] > *max ? x[i] : *max;
	}
}

static float inverse(float d)
{
	return d != 0 ? 1 / d : 0;
}

/* for each block b, zeroed before and stored after, with `row` at its values */
#define TO_BLOCKS(n, block_n, type, b)                                                                                 \
	for (size_t at_ = 0; at_ < (n); at_ += (block_n), row += (block_n))                                            \
		for (struct type b, *once_ = memset(&b, 0, sizeof b); once_;                                           \
		     memcpy((char *)out + at_ / (block_n) * sizeof b, &b, sizeof b), once_ = NULL)

static void q8_0_from_f32(const float *row, void *out, size_t n)
{
	TO_BLOCKS(n, 32, quant_q8_0, b)
	{
		float d = fabsf(signed_max(row, 32)) / 127, id = inverse(d);
		b.d = quant_f32_to_f16(d);
		for (int i = 0; i < 32; i++)
			b.q[i] = (int8_t)roundf(row[i] * id);
	}
}

static void q4_0_from_f32(const float *row, void *out, size_t n)
{
	TO_BLOCKS(n, 32, quant_q4_0, b)
	{
		float d = signed_max(row, 32) / -8, id = inverse(d);
		b.d = quant_f32_to_f16(d);
		for (int i = 0; i < 16; i++) {
			int low = clamp_int((int)(row[i] * id + 8.5f), 0, 15);
			int high = clamp_int((int)(row[i + 16] * id + 8.5f), 0, 15);
			b.q[i] = (uint8_t)(low | high << 4);
		}
	}
}

static void q4_1_from_f32(const float *row, void *out, size_t n)
{
	TO_BLOCKS(n, 32, quant_q4_1, b)
	{
		float min, max;
		min_max(row, 32, &min, &max);
		float d = (max - min) / 15, id = inverse(d);
		b.d = quant_f32_to_f16(d);
		b.m = quant_f32_to_f16(min);
		for (int i = 0; i < 16; i++) {
			int low = clamp_int((int)((row[i] - min) * id + 0.5f), 0, 15);
			int high = clamp_int((int)((row[i + 16] - min) * id + 0.5f), 0, 15);
			b.q[i] = (uint8_t)(low | high << 4);
		}
	}
}

/* Stores five-bit codes as nibbles and a bit field. */
static void store_five_bits(const uint8_t code[32], uint8_t high[4], uint8_t q[16])
{
	for (int i = 0; i < 16; i++)
		q[i] = (uint8_t)((code[i] & 15) | (code[i + 16] & 15) << 4);
	for (int i = 0; i < 32; i++)
		high[i / 8] |= (uint8_t)((code[i] >> 4) << i % 8);
}

static void q5_0_from_f32(const float *row, void *out, size_t n)
{
	TO_BLOCKS(n, 32, quant_q5_0, b)
	{
		float d = signed_max(row, 32) / -16, id = inverse(d);
		uint8_t code[32];
		b.d = quant_f32_to_f16(d);
		for (int i = 0; i < 32; i++)
			code[i] = (uint8_t)clamp_int((int)(row[i] * id + 16.5f), 0, 31);
		store_five_bits(code, b.high, b.q);
	}
}

static void q5_1_from_f32(const float *row, void *out, size_t n)
{
	TO_BLOCKS(n, 32, quant_q5_1, b)
	{
		float min, max;
		uint8_t code[32];
		min_max(row, 32, &min, &max);
		float d = (max - min) / 31, id = inverse(d);
		b.d = quant_f32_to_f16(d);
		b.m = quant_f32_to_f16(min);
		for (int i = 0; i < 32; i++)
			code[i] = (uint8_t)clamp_int((int)((row[i] - min) * id + 0.5f), 0, 31);
		store_five_bits(code, b.high, b.q);
	}
}

/* A Q4_K or Q5_K block before packing: x ~ d * scale[j] * code - dmin * min[j]. */
struct k_codes {
	float d, dmin; /* as they read back from their halves */
	uint8_t scale[8], min[8];
	uint8_t code[256];
};

/* levels: greatest code, 15 or 31. Scales and mins are rounded first; codes are then fitted to what was stored. */
static void k_encode(const float *x, int levels, struct k_codes *k)
{
	float scale[8], min[8], max_scale = 0, max_min = 0;

	for (int j = 0; j < 8; j++) {
		float low, high;
		min_max(x + 32 * j, 32, &low, &high);
		low = low > 0 ? 0 : low; /* the stored min cannot be negative */
		scale[j] = (high - low) / (float)levels;
		min[j] = -low;
		max_scale = scale[j] > max_scale ? scale[j] : max_scale;
		max_min = min[j] > max_min ? min[j] : max_min;
	}
	k->d = quant_f16_to_f32(quant_f32_to_f16(max_scale / 63));
	k->dmin = quant_f16_to_f32(quant_f32_to_f16(max_min / 63));
	for (int j = 0; j < 8; j++) {
		k->scale[j] = (uint8_t)clamp_int((int)(scale[j] * inverse(k->d) + 0.5f), 0, 63);
		k->min[j] = (uint8_t)clamp_int((int)(min[j] * inverse(k->dmin) + 0.5f), 0, 63);
		float id = inverse(k->d * k->scale[j]), m = k->dmin * k->min[j];
		for (int l = 0; l < 32; l++)
			k->code[32 * j + l] = (uint8_t)clamp_int((int)((x[32 * j + l] + m) * id + 0.5f), 0, levels);
	}
}

/* The inverse of quant_k_scale_min. */
static void k_pack_scales(const struct k_codes *k, uint8_t scales[12])
{
	for (int j = 0; j < 4; j++) {
		scales[j] = (uint8_t)(k->scale[j] | (k->scale[j + 4] >> 4) << 6);
		scales[j + 4] = (uint8_t)(k->min[j] | (k->min[j + 4] >> 4) << 6);
		scales[j + 8] = (uint8_t)((k->scale[j + 4] & 15) | (k->min[j + 4] & 15) << 4);
	}
}

static void k_pack_nibbles(const struct k_codes *k, uint8_t q[128])
{
	for (int i = 0; i < 128; i++) {
		int j = i / 32 * 2, l = i % 32;
		q[i] = (uint8_t)((k->code[j * 32 + l] & 15) | (k->code[(j + 1) * 32 + l] & 15) << 4);
	}
}

static void q4_k_from_f32(const float *row, void *out, size_t n)
{
	TO_BLOCKS(n, 256, quant_q4_k, b)
	{
		struct k_codes k;
		k_encode(row, 15, &k);
		b.d = quant_f32_to_f16(k.d);
		b.dmin = quant_f32_to_f16(k.dmin);
		k_pack_scales(&k, b.scales);
		k_pack_nibbles(&k, b.q);
	}
}

static void q5_k_from_f32(const float *row, void *out, size_t n)
{
	TO_BLOCKS(n, 256, quant_q5_k, b)
	{
		struct k_codes k;
		k_encode(row, 31, &k);
		b.d = quant_f32_to_f16(k.d);
		b.dmin = quant_f32_to_f16(k.dmin);
		k_pack_scales(&k, b.scales);
		k_pack_nibbles(&k, b.q);
		for (int i = 0; i < 256; i++)
			b.high[i % 32] |= (uint8_t)((k.code[i] >> 4) << i / 32);
	}
}

static void q6_k_pack(struct quant_q6_k *b, const uint8_t code[256])
{
	for (int i = 0; i < 256; i++) {
		int half = i / 128, k = i % 128 / 32, l = i % 32;
		b->low[half * 64 + (k & 1) * 32 + l] |= (uint8_t)((code[i] & 15) << (k / 2) * 4);
		b->high[half * 32 + l] |= (uint8_t)((code[i] >> 4) << 2 * k);
	}
}

static void q6_k_from_f32(const float *row, void *out, size_t n)
{
	TO_BLOCKS(n, 256, quant_q6_k, b)
	{
		float scale[16], max_scale = 0;
		uint8_t code[256];
		for (int j = 0; j < 16; j++) {
			scale[j] = signed_max(row + 16 * j, 16) / -32;
			max_scale = fabsf(scale[j]) > fabsf(max_scale) ? scale[j] : max_scale;
		}
		b.d = quant_f32_to_f16(max_scale / -128);
		float d = quant_f16_to_f32(b.d), id = inverse(d);
		for (int j = 0; j < 16; j++) {
			b.scales[j] = (int8_t)clamp_int((int)roundf(scale[j] * id), -128, 127);
			float is = inverse(d * b.scales[j]);
			for (int l = 16 * j; l < 16 * j + 16; l++)
				code[l] = (uint8_t)clamp_int((int)(row[l] * is + 32.5f), 0, 63);
		}
		q6_k_pack(&b, code);
	}
}

/* --- the table --- */

static const struct quant_traits traits[QUANT_ID_LIMIT] = {
#define X(upper, lower, id, n, bytes) [id] = {#upper, QUANT_##upper, n, bytes, lower##_to_f32, lower##_from_f32},
	QUANT_TYPES(X)
#undef X
#define X(upper, id, n, bytes) [id] = {#upper, QUANT_##upper, n, bytes, NULL, NULL},
		QUANT_FOREIGN_TYPES(X)
#undef X
};

const struct quant_traits *quant_traits(uint32_t id)
{
	return id < QUANT_ID_LIMIT && traits[id].name ? &traits[id] : NULL;
}

const struct quant_traits *quant_by_name(const char *name)
{
	for (uint32_t id = 0; id < QUANT_ID_LIMIT; id++)
		if (traits[id].name && !strcasecmp(traits[id].name, name))
			return &traits[id];
	return NULL;
}
