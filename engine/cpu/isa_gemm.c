/* gemm: Y = X W^T, by register tiles of `MR` rows and `NR` outputs, from packed strips.
 *
 * With AVX-512 a tile is 14 x 32: 28 accumulators, two vectors of W, and X broadcast from memory within the
 * multiply-add; it runs at 98 % of the multiply-add peak from L2 (Zen 5). With 16 registers it is 6 x 2 vectors.
 */
#include "engine/cpu/isa.h"

#if defined(__AVX512F__)
#define MR 14
#else
#define MR 6
#endif
#define NV 2
#define NR (NV * VF_LANES)
_Static_assert(MR <= GEMM_MAX_MR && NR <= GEMM_MAX_NR, "kernels.h bounds the tile");

INLINE void tile(int rows, size_t kc, const float *x, const float *w, vf acc[MR][NV])
{
#pragma GCC unroll 16
	for (int r = 0; r < rows; r++)
		for (int v = 0; v < NV; v++)
			acc[r][v] = vf_zero();
	for (size_t k = 0; k < kc; k++, x += rows, w += NR) {
		vf wv[NV];
		for (int v = 0; v < NV; v++)
			wv[v] = vf_load(w + v * VF_LANES);
#pragma GCC unroll 16
		for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
			for (int v = 0; v < NV; v++)
				acc[r][v] = vf_fma(wv[v], vf_set(x[r]), acc[r][v]);
	}
}

INLINE void tile_store(int rows, vf acc[MR][NV], float *y, size_t ldy, int n_out, bool add)
{
#pragma GCC unroll 16
	for (int r = 0; r < rows; r++) {
		float out[NR];
		float *to = n_out == NR ? y + (size_t)r * ldy : out;
		if (n_out != NR && add)
			memcpy(out, y + (size_t)r * ldy, (size_t)n_out * sizeof *out);
		for (int v = 0; v < NV; v++)
			vf_store(to + v * VF_LANES, add ? vf_load(to + v * VF_LANES) + acc[r][v] : acc[r][v]);
		if (n_out != NR)
			memcpy(y + (size_t)r * ldy, out, (size_t)n_out * sizeof *out);
	}
}

#define TILE(n)                                                                                                        \
	static void tile_##n(size_t kc, const float *x, const float *w, float *y, size_t ldy, int n_out, bool add)     \
	{                                                                                                              \
		vf acc[MR][NV];                                                                                        \
		tile(n, kc, x, w, acc);                                                                                \
		tile_store(n, acc, y, ldy, n_out, add);                                                                \
	}
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
#if MR == 14
TILE(7)
TILE(8)
TILE(9)
TILE(10)
TILE(11)
TILE(12)
TILE(13)
TILE(14)
#endif

void CPU_SYM(gemm_f32)(int rows, size_t kc, const float *x, const float *w, float *y, size_t ldy, int n_out, bool add)
{
	static void (*const tiles[MR])(size_t, const float *, const float *, float *, size_t, int, bool) = {
		tile_1, tile_2, tile_3,  tile_4,  tile_5,  tile_6,
#if MR == 14
		tile_7, tile_8, tile_9, tile_10, tile_11, tile_12, tile_13, tile_14,
#endif
	};
	tiles[rows - 1](kc, x, w, y, ldy, n_out, add);
}

/* --- packing ------------------------------------------------------------------------------------------------------ */

INLINE vf load_w(enum quant_type type, const char *p) /* VF_LANES values of a format without blocks */
{
	if (type == QUANT_F16)
		return vf_load_f16(p);
	if (type == QUANT_BF16)
		return vf_load_bf16(p);
	return vf_load((const float *)(const void *)p);
}

/* n rows of VF_LANES columns, at most VF_LANES of them, to out[VF_LANES][NR]; missing rows are zeros. */
INLINE void pack_square(enum quant_type type, const char *w, size_t row_bytes, int n_rows, float *out)
{
	vf r[VF_LANES];

	for (int i = 0; i < VF_LANES; i++)
		r[i] = i < n_rows ? load_w(type, w + (size_t)i * row_bytes) : vf_zero();
	vf_transpose(r);
#pragma GCC unroll 16
	for (int i = 0; i < VF_LANES; i++)
		vf_store(out + i * NR, r[i]);
}

/* The columns that do not fill a vector. */
static void pack_edge(const struct quant_traits *t, const char *w, size_t row_bytes, int n_rows, size_t n, float *out)
{
	for (int i = 0; i < n_rows; i++) {
		float row[VF_LANES];
		t->to_f32(w + (size_t)i * row_bytes, row, n);
		for (size_t k = 0; k < n; k++)
			out[k * NR + (size_t)i] = row[k];
	}
}

INLINE void pack_plain(const struct quant_traits *t, enum quant_type type, const char *w, size_t row_bytes, int n_rows,
		       size_t kc, float *out)
{
	size_t bytes = t->block_bytes, k = 0;

	for (; k + VF_LANES <= kc; k += VF_LANES) {
		for (int i = 0; i < NR; i += VF_LANES) {
			int n = n_rows - i < VF_LANES ? n_rows - i : VF_LANES;
			pack_square(type, w + (size_t)i * row_bytes + k * bytes, row_bytes, n, out + k * NR + i);
		}
	}
	if (k < kc) {
		memset(out + k * NR, 0, (kc - k) * NR * sizeof *out);
		pack_edge(t, w + k * bytes, row_bytes, n_rows, kc - k, out + k * NR);
	}
}

/* Formats with blocks go through float rows. A chunk of 256 values is a whole number of blocks of any format. */
static void pack_blocks(const struct quant_traits *t, const char *w, size_t row_bytes, int n_rows, size_t kc, float *out)
{
	enum { CHUNK = 256 };
	float rows[NR][CHUNK];
	const struct quant_traits *f32 = quant_traits(QUANT_F32);

	for (size_t k = 0; k < kc; k += CHUNK) {
		size_t n = kc - k < CHUNK ? kc - k : CHUNK;
		for (int i = 0; i < n_rows; i++)
			t->to_f32(w + (size_t)i * row_bytes + quant_bytes(t, k), rows[i], n);
		pack_plain(f32, QUANT_F32, (const char *)rows, sizeof rows[0], n_rows, n, out + k * NR);
	}
}

void CPU_SYM(pack_w)(const struct quant_traits *t, const void *w, size_t row_bytes, int n_rows, size_t k0, size_t kc,
		     float *out)
{
	const char *at = (const char *)w + quant_bytes(t, k0);

	if (t->type == QUANT_F16)
		pack_plain(t, QUANT_F16, at, row_bytes, n_rows, kc, out);
	else if (t->type == QUANT_BF16)
		pack_plain(t, QUANT_BF16, at, row_bytes, n_rows, kc, out);
	else if (t->type == QUANT_F32)
		pack_plain(t, QUANT_F32, at, row_bytes, n_rows, kc, out);
	else
		pack_blocks(t, at, row_bytes, n_rows, kc, out);
}

void CPU_SYM(pack_x)(const float *x, size_t ldx, int rows, size_t k, float *out)
{
	size_t j = 0;

	for (; j + VF_LANES <= k; j += VF_LANES) {
		for (int i = 0; i < rows; i += VF_LANES) {
			vf r[VF_LANES];
			int n = rows - i < VF_LANES ? rows - i : VF_LANES;
			for (int l = 0; l < VF_LANES; l++)
				r[l] = l < n ? vf_load(x + (size_t)(i + l) * ldx + j) : vf_zero();
			vf_transpose(r);
			for (int l = 0; l < VF_LANES; l++)
				memcpy(out + (j + (size_t)l) * (size_t)rows + i, &r[l], (size_t)n * sizeof *out);
		}
	}
	for (; j < k; j++)
		for (int i = 0; i < rows; i++)
			out[j * (size_t)rows + (size_t)i] = x[(size_t)i * ldx + j];
}
