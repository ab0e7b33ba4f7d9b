/* tile_cdna: the tile of flash_mma on CDNA3's matrix cores (and on the emulator).
 *
 * v_mfma_f32_32x32x8: lane l, register r hold A[i = l%32][k = 4(l/32)+r], B[k = 4(l/32)+r][j = l%32] and
 * D[i = 8(r/4) + 4(l/32) + r%4][j = l%32]. D has B's lane layout, so the transposed products keep P in registers:
 *
 *   S^T = K Q^T   (A = K, B = Q^T)   a lane holds scores of one query, l%32
 *   O^T = V^T P^T (A = V^T, B = P^T) D's four registers of an 8-key block are B's registers of that block
 *
 * A needs V transposed, and there is no transposing read: V is transposed as it is written to LDS. K and Q are read 16
 * bytes at a time, so a lane's eight values feed two products; the order of d within them is the same on both sides.
 * V^T is read 16 bytes at a time too, which is why keys stand permuted in its rows (v_place).
 *
 * Swizzles (pure functions; a test enumerates their bank conflicts): 16-byte pieces of a row are moved by the row's
 * number, so that lanes in neighbouring rows reading the same column meet different banks.
 */
#ifndef KERNELS_ATTN_TILE_CDNA_H
#define KERNELS_ATTN_TILE_CDNA_H

#include "kernels/attn/swizzle.h"
#include "kernels/dev/mma_cdna.h"

template <class E, int HD, int WAVES = 4> struct attn_tile {
	static constexpr int THREADS = WAVES * 64;
	static constexpr int QUERIES = WAVES * 32; /* 32 a wave */
	static constexpr int KEYS = 32; /* of a tile in LDS, and of a step of the softmax */
	static constexpr int STEP = KEYS;
	static constexpr int ROWS = 1; /* queries a lane */
	static constexpr int NS = 16;  /* scores a lane */

	struct lds {
		uint16_t k[2][KEYS * HD];
		uint16_t v[2][HD * KEYS]; /* transposed */
	};
	/* What a thread has loaded of the next K and V tiles: 16-byte pieces of K, 4 keys x 4 d of V. */
	static constexpr int K_PIECES = KEYS * HD / 8 / THREADS ? KEYS * HD / 8 / THREADS : 1;
	static constexpr int V_PIECES = KEYS * HD / 16 / THREADS ? KEYS * HD / 16 / THREADS : 1;
	struct stage {
		gpu_u4 k[K_PIECES];
		gpu_u2 v[V_PIECES][4];
	};
	struct q_frag {
		gpu_u4 x[HD / 16];
	};
	struct o_frag {
		gpu_f32x16 x[HD / 32];
	};

	GPU_FN int query(int) { return gpu_wave() * 32 + gpu_lane() % 32; } /* within the tile */
	GPU_FN constexpr int s_row(int) { return 0; }
	GPU_FN int s_key(int r) { return 8 * (r / 4) + 4 * (gpu_lane() / 32) + r % 4; }
	GPU_FN float row_max(float x) { return gpu_max(x, gpu_shfl_xor(x, 32)); }
	GPU_FN float row_sum(float x) { return x + gpu_shfl_xor(x, 32); }

	GPU_FN void load_q(q_frag &q, lds &, const uint16_t *src, int64_t stride, int n)
	{
		int row = query(0);
		const uint16_t *p = src + (row < n ? row : n - 1) * stride + 8 * (gpu_lane() / 32);

#pragma unroll
		for (int c = 0; c < HD / 16; c++)
			q.x[c] = gpu_load16(p + 16 * c);
	}

	/* Rows from n on become zeros. */
	GPU_FN void issue(stage &st, lds &, int, const uint16_t *k, const uint16_t *v, int64_t stride, int n)
	{
#pragma unroll
		for (int i = 0; i < K_PIECES; i++) {
			int piece = gpu_tid() + i * THREADS, row = piece / (HD / 8);

			st.k[i] = { { 0, 0, 0, 0 } };
			if (row < n && row < KEYS)
				st.k[i] = gpu_load16(k + row * stride + piece % (HD / 8) * 8);
		}
#pragma unroll
		for (int i = 0; i < V_PIECES; i++) {
			int piece = gpu_tid() + i * THREADS, d = piece % (HD / 4) * 4, row0 = piece / (HD / 4) * 4;

#pragma unroll
			for (int r = 0; r < 4; r++) {
				st.v[i][r] = { { 0, 0 } };
				if (row0 + r < n && row0 + r < KEYS)
					st.v[i][r] = gpu_load8(v + (row0 + r) * stride + d);
			}
		}
	}

	GPU_FN void land(const stage &st, lds &t, int buf)
	{
#pragma unroll
		for (int i = 0; i < K_PIECES; i++) {
			int piece = gpu_tid() + i * THREADS, row = piece / (HD / 8);

			if (row < KEYS)
				*(gpu_u4 *)&t.k[buf][row * HD + 8 * swizzle_k(row, piece % (HD / 8))] = st.k[i];
		}
#pragma unroll
		for (int i = 0; i < V_PIECES; i++)
			land_v(st.v[i], t.v[buf], gpu_tid() + i * THREADS);
	}

	/* 4 keys x 4 d, turned: for each d the four keys, which stand together in a row of V^T. */
	GPU_FN void land_v(const gpu_u2 (&x)[4], uint16_t *vt, int piece)
	{
		int d0 = piece % (HD / 4) * 4, group = piece / (HD / 4);

		if (group >= KEYS / 4)
			return;
#pragma unroll
		for (int i = 0; i < 4; i++) {
			int shift = i % 2 * 16;
			uint32_t e0 = x[0].w[i / 2] >> shift & 0xffff, e1 = x[1].w[i / 2] >> shift & 0xffff;
			uint32_t e2 = x[2].w[i / 2] >> shift & 0xffff, e3 = x[3].w[i / 2] >> shift & 0xffff;
			int at = (d0 + i) * KEYS + 8 * swizzle_v(d0 + i, v_place(group) / 2) + v_place(group) % 2 * 4;

			*(gpu_u2 *)&vt[at] = { { e0 | e1 << 16, e2 | e3 << 16 } };
		}
	}

	GPU_FN void qk(float (&s)[NS], const q_frag &q, const lds &t, int buf, int)
	{
		gpu_f32x16 acc = 0;
		int key = gpu_lane() % 32;

#pragma unroll
		for (int c = 0; c < HD / 16; c++) {
			int piece = 2 * c + gpu_lane() / 32;
			gpu_u4 k = *(const gpu_u4 *)&t.k[buf][key * HD + 8 * swizzle_k(key, piece)];

			acc = gpu_mfma_32x32x8<E>(gpu_low8(k), gpu_low8(q.x[c]), acc);
			acc = gpu_mfma_32x32x8<E>(gpu_high8(k), gpu_high8(q.x[c]), acc);
		}
#pragma unroll
		for (int r = 0; r < NS; r++)
			s[r] = acc[r];
	}

	GPU_FN void zero_o(o_frag &o)
	{
#pragma unroll
		for (int b = 0; b < HD / 32; b++)
			o.x[b] = 0;
	}

	GPU_FN void scale_o(o_frag &o, const float (&keep)[ROWS])
	{
#pragma unroll
		for (int b = 0; b < HD / 32; b++)
			o.x[b] *= keep[0];
	}

	GPU_FN void pv(o_frag &o, const float (&p)[NS], const lds &t, int buf, int)
	{
		int half = gpu_lane() / 32;

#pragma unroll
		for (int u = 0; u < KEYS / 16; u++) {
			gpu_u2 p0 = { { E::down2(p[8 * u], p[8 * u + 1]), E::down2(p[8 * u + 2], p[8 * u + 3]) } };
			gpu_u2 p1 = { { E::down2(p[8 * u + 4], p[8 * u + 5]), E::down2(p[8 * u + 6], p[8 * u + 7]) } };

#pragma unroll
			for (int b = 0; b < HD / 32; b++) {
				int d = 32 * b + gpu_lane() % 32;
				gpu_u4 v = *(const gpu_u4 *)&t.v[buf][d * KEYS + 8 * swizzle_v(d, 2 * u + half)];

				o.x[b] = gpu_mfma_32x32x8<E>(gpu_low8(v), p0, o.x[b]);
				o.x[b] = gpu_mfma_32x32x8<E>(gpu_high8(v), p1, o.x[b]);
			}
		}
	}

	/* o points to the tile's first row and the head's first column. */
	GPU_FN void store_o(const o_frag &o, const float (&inv)[ROWS], void *dst, int64_t stride, int n, bool f32)
	{
		int row = query(0), d0 = 4 * (gpu_lane() / 32);

		if (row >= n)
			return;
#pragma unroll
		for (int b = 0; b < HD / 32; b++)
#pragma unroll
			for (int g = 0; g < 4; g++) {
				int64_t at = row * stride + 32 * b + 8 * g + d0;
				float x0 = o.x[b][4 * g] * inv[0], x1 = o.x[b][4 * g + 1] * inv[0];
				float x2 = o.x[b][4 * g + 2] * inv[0], x3 = o.x[b][4 * g + 3] * inv[0];

				if (f32)
					*(gpu_u4 *)((float *)dst + at) = { { gpu_bits(x0), gpu_bits(x1), gpu_bits(x2),
									     gpu_bits(x3) } };
				else
					*(gpu_u2 *)((uint16_t *)dst + at) = { { E::down2(x0, x1), E::down2(x2, x3) } };
			}
	}
};

#endif
