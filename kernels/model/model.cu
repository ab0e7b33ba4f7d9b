/* model: what a forward pass does beside matrix products and attention. All of it is bound by memory: rows are read and
 * written once, 16 bytes a lane where rows allow it. The residual stream is float32; activations are 16-bit elements. */
#include "kernels/dev/device.h"

enum { THREADS = 256, WAVES = THREADS / GPU_WAVE };

struct f32x4 {
	float v[4];
} __attribute__((aligned(16)));

/* --- x[i,:] = table[tokens[i],:] ---------------------------------------------------------------------------------- */

template <class E> GPU_FN void embed(const embed_args &a)
{
	const int i = gpu_block_x();
	const uint16_t *row = a.table + (int64_t)a.tokens[i] * a.ld_table;
	float *x = a.x + i * a.ldx;

	gpu_crumb_enter(a.crumb, 0);
	for (int d = gpu_tid(); d < a.n_embd; d += THREADS)
		x[d] = E::up(row[d]);
}

/* --- RMSNorm ------------------------------------------------------------------------------------------------------ */

/* Sum over the block, the same in all threads and in a fixed order. */
GPU_FN float block_sum(float x, float (&shared)[WAVES])
{
	float sum = 0;

	for (int m = GPU_WAVE / 2; m; m /= 2)
		x += gpu_shfl_xor(x, m);
	if (gpu_lane() == 0)
		shared[gpu_wave()] = x;
	gpu_sync();
#pragma unroll
	for (int w = 0; w < WAVES; w++)
		sum += shared[w];
	return sum;
}

struct norm_lds {
	float sums[WAVES];
};

template <class E> GPU_FN void norm(const norm_args &a, norm_lds &t)
{
	const float *x = a.x + gpu_block_x() * a.ldx;
	uint16_t *y = a.y + gpu_block_x() * a.ldy;
	const bool wide = a.n_embd % 4 == 0;
	float squares = 0, scale;

	gpu_crumb_enter(a.crumb, 0);
	if (wide)
		for (int d = gpu_tid() * 4; d < a.n_embd; d += THREADS * 4) {
			f32x4 v = *(const f32x4 *)(x + d);

			squares += v.v[0] * v.v[0] + v.v[1] * v.v[1] + v.v[2] * v.v[2] + v.v[3] * v.v[3];
		}
	else
		for (int d = gpu_tid(); d < a.n_embd; d += THREADS)
			squares += x[d] * x[d];
	scale = gpu_rsqrt(block_sum(squares, t.sums) / (float)a.n_embd + a.eps);
	if (wide)
		for (int d = gpu_tid() * 4; d < a.n_embd; d += THREADS * 4) {
			f32x4 v = *(const f32x4 *)(x + d), w = *(const f32x4 *)(a.w + d);

			*(gpu_u2 *)(y + d) = { { E::down2(v.v[0] * scale * w.v[0], v.v[1] * scale * w.v[1]),
						 E::down2(v.v[2] * scale * w.v[2], v.v[3] * scale * w.v[3]) } };
		}
	else
		for (int d = gpu_tid(); d < a.n_embd; d += THREADS)
			y[d] = E::down(x[d] * scale * a.w[d]);
	for (int d = a.n_embd + gpu_tid(); d < a.n_pad; d += THREADS)
		y[d] = 0;
}

/* --- q, k, v: bias, rotation, cache ------------------------------------------------------------------------------- */

/* One pair of values, at column d (even) of head h of all the row's heads. */
template <class E> GPU_FN uint32_t turned(const rope_args &a, uint32_t pair, int h, int d, const float *angles)
{
	float x = gpu_lo<E>(pair), y = gpu_hi<E>(pair), c, s;

	if (a.bias) {
		x += a.bias[h * a.head_dim + d];
		y += a.bias[h * a.head_dim + d + 1];
	}
	if (h >= a.n_heads + a.n_kv_heads || d >= a.n_rot)
		return E::down2(x, y);
	c = angles[d];
	s = angles[d + 1];
	return E::down2(x * c - y * s, x * s + y * c);
}

GPU_FN uint16_t *rope_target(const rope_args &a, int row, int h)
{
	int64_t at = (int64_t)(a.pos0 + row) * a.ld_kv;

	if (h < a.n_heads)
		return a.q + row * a.ldq + (int64_t)h * a.head_dim;
	h -= a.n_heads;
	return h < a.n_kv_heads ? a.k + at + (int64_t)h * a.head_dim : a.v + at + (int64_t)(h - a.n_kv_heads) * a.head_dim;
}

template <class E> GPU_FN void rope(const rope_args &a)
{
	const int row = gpu_block_x(), width = (a.n_heads + 2 * a.n_kv_heads) * a.head_dim;
	const uint16_t *src = a.qkv + row * a.ld_qkv;
	const float *angles = a.table + (int64_t)(a.pos0 + row) * a.n_rot;

	gpu_crumb_enter(a.crumb, 0);
	if (a.head_dim % 8 == 0) {
		for (int at = gpu_tid() * 8; at < width; at += THREADS * 8) {
			int h = at / a.head_dim, d = at % a.head_dim;
			gpu_u4 x = gpu_load16(src + at);

#pragma unroll
			for (int i = 0; i < 4; i++)
				x.w[i] = turned<E>(a, x.w[i], h, d + 2 * i, angles);
			*(gpu_u4 *)(rope_target(a, row, h) + d) = x;
		}
		return;
	}
	for (int at = gpu_tid() * 2; at < width; at += THREADS * 2) {
		int h = at / a.head_dim, d = at % a.head_dim;

		*(uint32_t *)(rope_target(a, row, h) + d) = turned<E>(a, *(const uint32_t *)(src + at), h, d, angles);
	}
}

/* --- SwiGLU ------------------------------------------------------------------------------------------------------- */

GPU_FN float silu(float x)
{
	return x / (1.0f + gpu_exp2(-1.44269504f * x));
}

template <class E> GPU_FN uint32_t swiglu2(uint32_t gate, uint32_t up)
{
	return E::down2(silu(gpu_lo<E>(gate)) * gpu_lo<E>(up), silu(gpu_hi<E>(gate)) * gpu_hi<E>(up));
}

template <class E> GPU_FN void swiglu(const swiglu_args &a)
{
	const uint16_t *gate = a.gu + gpu_block_x() * a.ld_gu, *up = gate + a.n_ff;
	uint16_t *h = a.h + gpu_block_x() * a.ldh;
	const int wide = a.n_ff % 8 == 0 ? a.n_ff : 0;

	gpu_crumb_enter(a.crumb, 0);
	for (int d = gpu_tid() * 8; d < wide; d += THREADS * 8) {
		gpu_u4 x = gpu_load16(gate + d), y = gpu_load16(up + d);

#pragma unroll
		for (int i = 0; i < 4; i++)
			x.w[i] = swiglu2<E>(x.w[i], y.w[i]);
		*(gpu_u4 *)(h + d) = x;
	}
	for (int d = wide + gpu_tid(); d < a.n_ff; d += THREADS)
		h[d] = E::down(silu(E::up(gate[d])) * E::up(up[d]));
	for (int d = a.n_ff + gpu_tid(); d < a.n_pad; d += THREADS)
		h[d] = 0;
}

/* --- weights, once, as they are loaded ---------------------------------------------------------------------------- */

GPU_FN float f16_at(const uint8_t *p)
{
	return f16::up((uint16_t)(p[0] | p[1] << 8));
}

/* Blocks of 32: a half d, then 32 signed bytes. x = d q */
GPU_FN float q8_0_at(const uint8_t *row, int i)
{
	const uint8_t *block = row + (int64_t)(i / 32) * 34;

	return f16_at(block) * (float)(int8_t)block[2 + i % 32];
}

/* Blocks of 256 in eight groups of 32: halves d and dmin, twelve bytes of 6-bit scales and minima, 128 bytes of nibbles
 * (per 64 values the first group in the low ones). x = d scale q - dmin min */
GPU_FN float q4_k_at(const uint8_t *row, int i)
{
	const uint8_t *block = row + (int64_t)(i / 256) * 144, *sc = block + 4;
	const int at = i % 256, g = at / 32;
	const int q = block[16 + at / 64 * 32 + at % 32] >> (g % 2 * 4) & 15;
	const int scale = g < 4 ? sc[g] & 63 : (sc[g + 4] & 15) | sc[g - 4] >> 6 << 4;
	const int min = g < 4 ? sc[g + 4] & 63 : sc[g + 4] >> 4 | sc[g] >> 6 << 4;

	return f16_at(block) * (float)scale * (float)q - f16_at(block + 2) * (float)min;
}

template <class E> GPU_FN void convert(const convert_args &a)
{
	const uint8_t *row = a.src + gpu_block_x() * a.row_bytes;
	uint16_t *dst = a.dst + gpu_block_x() * a.ld;

	for (int i = gpu_tid(); i < (int)a.ld; i += THREADS) {
		uint16_t x = 0;

		if (i >= a.n_in)
			x = 0;
		else if (a.from == CONVERT_16)
			x = ((const uint16_t *)row)[i];
		else if (a.from == CONVERT_F32)
			x = E::down(((const float *)row)[i]);
		else
			x = E::down(a.from == CONVERT_Q8_0 ? q8_0_at(row, i) : q4_k_at(row, i));
		dst[i] = x;
	}
}

/* ------------------------------------------------------------------------------------------------------------------ */

GPU_KERNEL(THREADS, 2) void add_bias(bias_args a)
{
	float *x = a.x + gpu_block_x() * a.ldx;

	gpu_crumb_enter(a.crumb, 0);
	for (int d = gpu_tid(); d < a.n; d += THREADS)
		x[d] += a.bias[d];
}

GPU_KERNEL(THREADS, 1) void spin(spin_args a)
{
	gpu_crumb_enter(a.crumb, 1);
	while (*(const volatile uint32_t *)a.stop == 0)
		;
}

#define MODEL_KERNELS(e, E)                                                                                            \
	GPU_KERNEL(THREADS, 2) void embed_##e(embed_args a) { embed<E>(a); }                                           \
	GPU_KERNEL(THREADS, 2) void norm_##e(norm_args a)                                                              \
	{                                                                                                              \
		GPU_LDS(norm_lds, t);                                                                                  \
		norm<E>(a, t);                                                                                         \
	}                                                                                                              \
	GPU_KERNEL(THREADS, 2) void rope_##e(rope_args a) { rope<E>(a); }                                              \
	GPU_KERNEL(THREADS, 2) void swiglu_##e(swiglu_args a) { swiglu<E>(a); }                                        \
	GPU_KERNEL(THREADS, 2) void convert_##e(convert_args a) { convert<E>(a); }

MODEL_KERNELS(f16, f16)
MODEL_KERNELS(bf16, bf16)
