/* gemv: y = W x for one token. Memory-bound: each weight is read once, in the order of the file. */
#include "engine/cpu/isa.h"

/* Four rows at a time share the loads of x and keep four chains of multiply-adds in flight. */
enum { GEMV_ROWS = 4 };

INLINE vf load_w(enum quant_type type, const char *p)
{
	if (type == QUANT_F16)
		return vf_load_f16(p);
	if (type == QUANT_BF16)
		return vf_load_bf16(p);
	return vf_load((const float *)(const void *)p);
}

INLINE void dot_rows(const struct quant_traits *t, enum quant_type type, int rows, const char *w, size_t row_bytes,
		     size_t n, const float *x, float out[GEMV_ROWS])
{
	size_t bytes = t->block_bytes, k = 0, ahead = gemv_ahead(row_bytes, GEMV_ROWS);
	vf a[GEMV_ROWS], b[GEMV_ROWS];

	for (int r = 0; r < rows; r++)
		a[r] = b[r] = vf_zero();
	for (; k + 2 * VF_LANES <= n; k += 2 * VF_LANES) {
		vf x0 = vf_load(x + k), x1 = vf_load(x + k + VF_LANES);
#pragma GCC unroll 4
		for (int r = 0; r < rows; r++) {
			const char *at = w + (size_t)r * row_bytes + k * bytes;
			__builtin_prefetch(at + ahead);
			a[r] += load_w(type, at) * x0;
			b[r] += load_w(type, at + VF_LANES * bytes) * x1;
		}
	}
	for (int r = 0; r < rows; r++)
		out[r] = vf_sum(a[r] + b[r]);
	for (; k < n; k++) {
		for (int r = 0; r < rows; r++) {
			float value;
			t->to_f32(w + (size_t)r * row_bytes + k * bytes, &value, 1);
			out[r] += value * x[k];
		}
	}
}

INLINE void gemv_plain(const struct quant_traits *t, enum quant_type type, const char *w, size_t row_bytes, size_t n_out,
		       size_t k, const float *x, float *y, bool add)
{
	float out[GEMV_ROWS];
	size_t i = 0;

	for (; i + GEMV_ROWS <= n_out; i += GEMV_ROWS) {
		dot_rows(t, type, GEMV_ROWS, w + i * row_bytes, row_bytes, k, x, out);
		for (size_t r = 0; r < GEMV_ROWS; r++)
			y[i + r] = out[r] + (add ? y[i + r] : 0.0f);
	}
	for (; i < n_out; i++) {
		dot_rows(t, type, 1, w + i * row_bytes, row_bytes, k, x, out);
		y[i] = out[0] + (add ? y[i] : 0.0f);
	}
}

static void gemv_blocks(const struct quant_traits *t, const char *w, size_t row_bytes, size_t n_out, size_t k,
			const float *x, float *y, bool add)
{
	enum { CHUNK = 256 };
	const struct quant_traits *f32 = quant_traits(QUANT_F32);

	for (size_t i = 0; i < n_out; i++) {
		float sum = 0.0f;
		for (size_t at = 0; at < k; at += CHUNK) {
			size_t n = k - at < CHUNK ? k - at : CHUNK;
			float row[CHUNK], part[GEMV_ROWS];
			t->to_f32(w + i * row_bytes + quant_bytes(t, at), row, n);
			dot_rows(f32, QUANT_F32, 1, (const char *)row, 0, n, x + at, part);
			sum += part[0];
		}
		y[i] = sum + (add ? y[i] : 0.0f);
	}
}

void CPU_SYM(gemv)(const struct quant_traits *t, const void *w, size_t row_bytes, size_t n_out, size_t k, const float *x,
		   float *y, bool add)
{
	if (t->type == QUANT_F16)
		gemv_plain(t, QUANT_F16, w, row_bytes, n_out, k, x, y, add);
	else if (t->type == QUANT_BF16)
		gemv_plain(t, QUANT_BF16, w, row_bytes, n_out, k, x, y, add);
	else if (t->type == QUANT_F32)
		gemv_plain(t, QUANT_F32, w, row_bytes, n_out, k, x, y, add);
	else
		gemv_blocks(t, w, row_bytes, n_out, k, x, y, add);
}
