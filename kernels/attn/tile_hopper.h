/* tile_hopper: the tile of flash_mma on NVIDIA's warp-level matrix instructions.
 *
 * mma.sync.m16n8k16: C[row = l/4 (+8)][col = 2(l%4) (+1)] is A's layout for the next product, so S = Q K^T and O = P V keep
 * P in registers. A warp has 32 queries (two blocks of 16), so that each fragment of K and V read from shared memory
 * serves two products; Q is read from shared memory again for every tile, since O and S fill the registers.
 * Tiles come by cp.async (16 bytes, zeros beyond the end) and are read by ldmatrix; V's transpose is ldmatrix.trans.
 */
#ifndef KERNELS_ATTN_TILE_HOPPER_H
#define KERNELS_ATTN_TILE_HOPPER_H

#include "kernels/attn/swizzle.h"
#include "kernels/dev/mma_hopper.h"

template <class E, int HD> struct attn_tile {
	static constexpr int THREADS = 128;
	static constexpr int QUERIES = 128;
	static constexpr int KEYS = 64; /* of a tile in shared memory */
	static constexpr int STEP = 32; /* of a step of the softmax: S of 64 would not fit the registers beside O */
	static constexpr int ROWS = 4;  /* queries a lane: two of each block of 16 */
	static constexpr int NS = 2 * (STEP / 8) * 4;

	struct lds {
		uint16_t q[QUERIES * HD];
		uint16_t k[2][KEYS * HD];
		uint16_t v[2][KEYS * HD];
	};
	struct stage {};
	struct q_frag {};
	struct o_frag {
		float x[2][HD / 8][4];
	};

	/* score r: block r / (NS / 2), then 8-key column, then register */
	GPU_FN int query(int row) { return gpu_wave() * 32 + row / 2 * 16 + row % 2 * 8 + gpu_lane() / 4; }
	GPU_FN constexpr int s_row(int r) { return r / (NS / 2) * 2 + r % 4 / 2; }
	GPU_FN int s_key(int r) { return r / 4 % (STEP / 8) * 8 + gpu_lane() % 4 * 2 + r % 2; }
	GPU_FN float row_max(float x)
	{
		x = gpu_max(x, gpu_shfl_xor(x, 1));
		return gpu_max(x, gpu_shfl_xor(x, 2));
	}
	GPU_FN float row_sum(float x)
	{
		x += gpu_shfl_xor(x, 1);
		return x + gpu_shfl_xor(x, 2);
	}

	template <int N> GPU_FN void copy_tile(uint16_t *to, const uint16_t *src, int64_t stride, int n)
	{
		constexpr int HOP = THREADS / (HD / 8); /* rows between a thread's pieces: a multiple of 8, as is the swizzle */
		const int row0 = gpu_tid() / (HD / 8), c = gpu_tid() % (HD / 8);
		const uint16_t *from = src + row0 * stride + 8 * c;
		uint32_t at = gpu_smem(to + row0 * HD + 8 * swizzle_k(row0, c));

#pragma unroll
		for (int i = 0; i < N / HOP; i++) /* beyond the end nothing is read */
			gpu_copy16(at + i * HOP * HD * 2, from + i * HOP * stride, row0 + i * HOP < n);
	}

	GPU_FN void load_q(q_frag &, lds &t, const uint16_t *src, int64_t stride, int n)
	{
		copy_tile<QUERIES>(t.q, src, stride, n);
	}

	GPU_FN void issue(stage &, lds &t, int buf, const uint16_t *k, const uint16_t *v, int64_t stride, int n)
	{
		copy_tile<KEYS>(t.k[buf], k, stride, n);
		copy_tile<KEYS>(t.v[buf], v, stride, n);
	}

	GPU_FN void land(const stage &, lds &, int) { gpu_copy_wait(); }

	GPU_FN void qk(float (&s)[NS], const q_frag &, const lds &t, int buf, int key0)
	{
		/* A row's pieces are moved by XOR, so piece 2c + x stands at (where x stands) ^ 2c. */
		const int lane = gpu_lane(), q_row = gpu_wave() * 32 + lane % 16, k_row = lane % 8 + lane / 16 * 8;
		uint32_t q0 = gpu_smem(t.q + q_row * HD + 8 * swizzle_k(q_row, lane / 16));
		uint32_t k0 = gpu_smem(t.k[buf] + (key0 + k_row) * HD + 8 * swizzle_k(k_row, lane / 8 % 2));
		float acc[2][STEP / 8][4];

		gpu_opaque(q0); /* or 24 addresses are kept in registers from tile to tile */
		gpu_opaque(k0);
#pragma unroll
		for (int i = 0; i < NS; i++)
			acc[i / (NS / 2)][i / 4 % (STEP / 8)][i % 4] = 0;
#pragma unroll
		for (int c = 0; c < HD / 16; c++) {
			uint32_t a[2][4];

#pragma unroll
			for (int m = 0; m < 2; m++)
				gpu_ldmatrix(a[m], (q0 ^ 32 * c) + 16 * m * HD * 2);
#pragma unroll
			for (int n = 0; n < STEP / 16; n++) {
				uint32_t b[4];

				gpu_ldmatrix(b, (k0 ^ 32 * c) + 16 * n * HD * 2);
#pragma unroll
				for (int m = 0; m < 2; m++) {
					gpu_mma<E>(acc[m][2 * n], a[m], b[0], b[1]);
					gpu_mma<E>(acc[m][2 * n + 1], a[m], b[2], b[3]);
				}
			}
		}
#pragma unroll
		for (int i = 0; i < NS; i++)
			s[i] = acc[i / (NS / 2)][i / 4 % (STEP / 8)][i % 4];
	}

	GPU_FN void zero_o(o_frag &o)
	{
#pragma unroll
		for (int i = 0; i < HD; i++)
			o.x[i / (HD / 2)][i / 4 % (HD / 8)][i % 4] = 0;
	}

	GPU_FN void scale_o(o_frag &o, const float (&keep)[ROWS])
	{
#pragma unroll
		for (int m = 0; m < 2; m++)
#pragma unroll
			for (int n = 0; n < HD / 8; n++)
#pragma unroll
				for (int r = 0; r < 4; r++)
					o.x[m][n][r] *= keep[2 * m + r / 2];
	}

	GPU_FN void pv(o_frag &o, const float (&p)[NS], const lds &t, int buf, int key0)
	{
		const int lane = gpu_lane(), row = lane % 16;
		uint32_t v0 = gpu_smem(t.v[buf] + (key0 + row) * HD + 8 * swizzle_k(row, lane / 16));

		gpu_opaque(v0);
#pragma unroll
		for (int u = 0; u < STEP / 16; u++) {
			uint32_t a[2][4];

#pragma unroll
			for (int m = 0; m < 2; m++)
#pragma unroll
				for (int i = 0; i < 4; i++) {
					int at = m * (NS / 2) + (2 * u + i / 2) * 4 + i % 2 * 2;

					a[m][i] = E::down2(p[at], p[at + 1]);
				}
#pragma unroll
			for (int n = 0; n < HD / 16; n++) {
				uint32_t b[4];

				gpu_ldmatrix_t(b, (v0 ^ 32 * n) + 16 * u * HD * 2);
#pragma unroll
				for (int m = 0; m < 2; m++) {
					gpu_mma<E>(o.x[m][2 * n], a[m], b[0], b[1]);
					gpu_mma<E>(o.x[m][2 * n + 1], a[m], b[2], b[3]);
				}
			}
		}
	}

	GPU_FN void store_o(const o_frag &o, const float (&inv)[ROWS], void *dst, int64_t stride, int n, bool f32)
	{
#pragma unroll
		for (int row = 0; row < ROWS; row++) {
			int q = query(row);

			if (q >= n)
				continue;
#pragma unroll
			for (int c = 0; c < HD / 8; c++) {
				int64_t at = q * stride + 8 * c + gpu_lane() % 4 * 2;
				float x = o.x[row / 2][c][row % 2 * 2] * inv[row], y = o.x[row / 2][c][row % 2 * 2 + 1] * inv[row];

				if (f32)
					*(float2 *)((float *)dst + at) = make_float2(x, y);
				else
					*(uint32_t *)((uint16_t *)dst + at) = E::down2(x, y);
			}
		}
	}
};

#endif
