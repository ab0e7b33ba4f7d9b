/* quant: the number formats of GGUF tensors, and how a row of them becomes float32 and back.
 *
 * A row is stored as blocks of `block_n` values in `block_bytes` bytes. Ids are those of the file format; formats that
 * this engine cannot compute with are known by name and size, so that a file that has them is described and refused by
 * name. Nothing here needs alignment beyond a byte: tensor data is read where the file has it.
 */
#ifndef ENGINE_QUANT_H
#define ENGINE_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* X(name, its functions' prefix, id in the file, values per block, bytes per block): formats with arithmetic. */
#define QUANT_TYPES(X)                                                                                                 \
	X(F32, f32, 0, 1, 4)                                                                                           \
	X(F16, f16, 1, 1, 2)                                                                                           \
	X(Q4_0, q4_0, 2, 32, 18)                                                                                       \
	X(Q4_1, q4_1, 3, 32, 20)                                                                                       \
	X(Q5_0, q5_0, 6, 32, 22)                                                                                       \
	X(Q5_1, q5_1, 7, 32, 24)                                                                                       \
	X(Q8_0, q8_0, 8, 32, 34)                                                                                       \
	X(Q4_K, q4_k, 12, 256, 144)                                                                                    \
	X(Q5_K, q5_k, 13, 256, 176)                                                                                    \
	X(Q6_K, q6_k, 14, 256, 210)                                                                                    \
	X(BF16, bf16, 30, 1, 2)

/* X(name, id, values per block, bytes per block): formats known by name and size only. */
#define QUANT_FOREIGN_TYPES(X)                                                                                         \
	X(Q8_1, 9, 32, 36)                                                                                             \
	X(Q2_K, 10, 256, 84)                                                                                           \
	X(Q3_K, 11, 256, 110)                                                                                          \
	X(Q8_K, 15, 256, 292)                                                                                          \
	X(IQ2_XXS, 16, 256, 66)                                                                                        \
	X(IQ2_XS, 17, 256, 74)                                                                                         \
	X(IQ3_XXS, 18, 256, 98)                                                                                        \
	X(IQ1_S, 19, 256, 50)                                                                                          \
	X(IQ4_NL, 20, 32, 18)                                                                                          \
	X(IQ3_S, 21, 256, 110)                                                                                         \
	X(IQ2_S, 22, 256, 82)                                                                                          \
	X(IQ4_XS, 23, 256, 136)                                                                                        \
	X(I8, 24, 1, 1)                                                                                                \
	X(I16, 25, 1, 2)                                                                                               \
	X(I32, 26, 1, 4)                                                                                               \
	X(I64, 27, 1, 8)                                                                                               \
	X(F64, 28, 1, 8)                                                                                               \
	X(IQ1_M, 29, 256, 56)                                                                                          \
	X(TQ1_0, 34, 256, 54)                                                                                          \
	X(TQ2_0, 35, 256, 66)                                                                                          \
	X(MXFP4, 39, 32, 17)

enum quant_type {
	QUANT_ID_LIMIT = 40, /* ids in files are below this */
#define X(name, prefix, id, n, bytes) QUANT_##name = id,
	QUANT_TYPES(X)
#undef X
#define X(name, id, n, bytes) QUANT_##name = id,
		QUANT_FOREIGN_TYPES(X)
#undef X
};

struct quant_traits {
	const char *name; /* "Q4_K" */
	enum quant_type type;
	uint32_t block_n; /* values in a block; a row has a whole number of blocks */
	uint32_t block_bytes;
	/* n is a multiple of block_n. NULL: no arithmetic (foreign). */
	void (*to_f32)(const void *row, float *out, size_t n);
	void (*from_f32)(const float *row, void *out, size_t n);
};

/* NULL for an id that no version of the format that we know has given out. */
const struct quant_traits *quant_traits(uint32_t id);
const struct quant_traits *quant_by_name(const char *name); /* any case; NULL if there is none */

/* Bytes of n values; n must be a multiple of block_n. */
static inline uint64_t quant_bytes(const struct quant_traits *t, uint64_t n)
{
	return n / t->block_n * t->block_bytes;
}

/* --- blocks, exactly as in the file ---
 * d, m: IEEE half floats. q: the values, little-endian. */

struct quant_q8_0 { /* x[i] = d * q[i] */
	uint16_t d;
	int8_t q[32];
};

struct quant_q4_0 { /* x[i] = d * (nibble - 8); byte j holds x[j] low, x[j + 16] high (so in all 32-value formats) */
	uint16_t d;
	uint8_t q[16];
};

struct quant_q4_1 { /* x[i] = d * nibble + m */
	uint16_t d, m;
	uint8_t q[16];
};

struct quant_q5_0 { /* x[i] = d * (nibble + 16 * bit i of high - 16) */
	uint16_t d;
	uint8_t high[4];
	uint8_t q[16];
};

struct quant_q5_1 { /* x[i] = d * (nibble + 16 * bit i of high) + m */
	uint16_t d, m;
	uint8_t high[4];
	uint8_t q[16];
};

/* Eight groups of 32. Six-bit scale s and min m of group j: j < 4: scales[j] & 63, scales[j + 4] & 63; j >= 4: low four
 * bits in scales[j + 4] (s low nibble, m high), upper two in the top bits of scales[j - 4] (s) and scales[j] (m).
 * x = d * s * q - dmin * m; per 64 values, 32 bytes hold the first group in low nibbles, the second in high. */
struct quant_q4_k {
	uint16_t d, dmin;
	uint8_t scales[12];
	uint8_t q[128];
};

struct quant_q5_k { /* as q4_k, with bit j of high[i] the fifth bit of value i of group j */
	uint16_t d, dmin;
	uint8_t scales[12];
	uint8_t high[32];
	uint8_t q[128];
};

/* Sixteen groups of 16 with signed 8-bit scales; x = d * scale * (q - 32). Two halves of 128 values; in each, with
 * 64 bytes of low and 32 of high bits, value l (0..31) of quarter k: low nibble k / 2 of low[l + 32 * (k & 1)], bits
 * 2k, 2k+1 of high[l]. */
struct quant_q6_k {
	uint8_t low[128];
	uint8_t high[64];
	int8_t scales[16];
	uint16_t d;
};

_Static_assert(sizeof(struct quant_q8_0) == 34, "block layout");
_Static_assert(sizeof(struct quant_q4_0) == 18, "block layout");
_Static_assert(sizeof(struct quant_q4_1) == 20, "block layout");
_Static_assert(sizeof(struct quant_q5_0) == 22, "block layout");
_Static_assert(sizeof(struct quant_q5_1) == 24, "block layout");
_Static_assert(sizeof(struct quant_q4_k) == 144, "block layout");
_Static_assert(sizeof(struct quant_q5_k) == 176, "block layout");
_Static_assert(sizeof(struct quant_q6_k) == 210, "block layout");

/* Scale and min of group j (0..7) of a Q4_K or Q5_K block. */
static inline void quant_k_scale_min(const uint8_t scales[12], int j, uint8_t *scale, uint8_t *min)
{
	if (j < 4) {
		*scale = scales[j] & 63;
		*min = scales[j + 4] & 63;
	} else {
		*scale = (uint8_t)((scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4);
		*min = (uint8_t)((scales[j + 4] >> 4) | (scales[j] >> 6) << 4);
	}
}

/* --- half floats, portable; exact, subnormals, infinities and NaN included --- */

static inline float quant_bits_f32(uint32_t bits)
{
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

static inline uint32_t quant_f32_bits(float f)
{
	uint32_t bits;
	memcpy(&bits, &f, sizeof bits);
	return bits;
}

static inline float quant_bf16_to_f32(uint16_t b)
{
	return quant_bits_f32((uint32_t)b << 16);
}

static inline float quant_f16_to_f32(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = h & 0x7fff;

	if (mag >= 0x7c00) /* infinity and NaN keep their payload */
		return quant_bits_f32(sign | 0x7f800000 | (mag & 0x3ff) << 13);
	if (mag >= 0x0400)
		return quant_bits_f32(sign | ((mag << 13) + (112u << 23)));
	return quant_bits_f32(sign | quant_f32_bits((float)mag * 0x1p-24f));
}

uint16_t quant_f32_to_f16(float f);  /* round to nearest, ties to even */
uint16_t quant_f32_to_bf16(float f); /* round to nearest, ties to even; NaN stays NaN */

#endif
