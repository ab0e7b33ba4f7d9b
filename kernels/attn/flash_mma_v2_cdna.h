/* flash_mma_v2 on CDNA3. Registers are split statically between waves, so there is no producer to specialise; instead:
 *
 *   8 waves, two a SIMD, 256 queries: while one of a pair is at its exponentials the other has the matrix core, for which
 *   the products run at raised priority and are fenced from the rest (no scheduling across phases);
 *   K goes straight to LDS (4 bytes a lane, to consecutive addresses, so it is the global address that is swizzled) and
 *   takes no registers on the way; V is turned, so it can't;
 *   blocks are dealt so that all tiles of a head are on one die and share its cache (order.h).
 *
 * Checked on the emulator and by what the compiler made of it; no MI300X has run it.
 */
#include "kernels/attn/order.h"
#include "kernels/attn/softmax.h"
#include "kernels/attn/tile_cdna.h"

template <class E, int HD> using v2_tile = attn_tile<E, HD, 8>;

/* K rows of a tile into LDS: each wave brings KEYS / 8 rows, 256 bytes a call. Rows beyond the end repeat the last one; the
 * mask takes their scores out. */
template <class E, int HD> GPU_FN void issue_k(typename v2_tile<E, HD>::lds &t, int buf, const uint16_t *k, int64_t stride, int n)
{
	constexpr int ROWS_A_CALL = 128 / HD, CALLS = v2_tile<E, HD>::KEYS / 8 / ROWS_A_CALL;
	const int piece = gpu_lane() / 4 % (HD / 8), in_call = gpu_lane() / (HD / 2);

#pragma unroll
	for (int i = 0; i < CALLS; i++) {
		int row0 = (gpu_wave() * CALLS + i) * ROWS_A_CALL, row = row0 + in_call, from = row < n ? row : n - 1;

		gpu_copy_lds4(k + from * stride + 8 * swizzle_k(row, piece) + gpu_lane() % 4 * 2, &t.k[buf][row0 * HD]);
	}
}

template <class E, int HD> GPU_FN void issue_v(typename v2_tile<E, HD>::stage &st, const uint16_t *v, int64_t stride, int n)
{
	typedef v2_tile<E, HD> T;
	const int d = gpu_tid() % (HD / 4) * 4, row0 = gpu_tid() / (HD / 4) * 4;

	static_assert(T::V_PIECES == 1, "a thread turns at most one piece");
#pragma unroll
	for (int r = 0; r < 4; r++) {
		st.v[0][r] = { { 0, 0 } };
		if (row0 + r < n && row0 + r < T::KEYS)
			st.v[0][r] = gpu_load8(v + (row0 + r) * stride + d);
	}
}

template <class E, int HD> GPU_FN void flash_mma_v2(const attn_v2_args &v2, typename v2_tile<E, HD>::lds &t)
{
	typedef v2_tile<E, HD> T;
	const attn_args &a = v2.a;
	const int n_tiles = (a.n + T::QUERIES - 1) / T::QUERIES;
	int tile, head;

	attn_order_xcd(gpu_block_x(), n_tiles, a.n_heads, a.n_xcd, &tile, &head);
	const int row0 = tile * T::QUERIES, rows = a.n - row0;
	const int keys = a.pos0 + row0 + (rows < T::QUERIES ? rows : T::QUERIES);
	const int64_t kv0 = (int64_t)(head / (a.n_heads / a.n_kv_heads)) * HD;
	const uint16_t *k = a.k + kv0, *v = a.v + kv0;
	const int64_t o0 = row0 * a.o_stride + (int64_t)head * HD;
	typename T::stage stage;
	typename T::q_frag q;
	typename T::o_frag o;
	softmax_rows<T> softmax;
	float s[T::NS], inv[T::ROWS];

	gpu_crumb_enter(a.crumb, (uint32_t)(n_tiles * a.n_heads));
	T::load_q(q, t, a.q + row0 * a.q_stride + (int64_t)head * HD, a.q_stride, rows);
	issue_k<E, HD>(t, 0, k, a.kv_stride, keys);
	issue_v<E, HD>(stage, v, a.kv_stride, keys);
	T::zero_o(o);
	softmax.start();
#pragma unroll 1
	for (int j0 = 0, buf = 0; j0 < keys; j0 += T::KEYS, buf ^= 1) {
		const int next = j0 + T::KEYS;

		T::land_v(stage.v[0], t.v[buf], gpu_tid());
		gpu_wait_copies<0>();
		gpu_sync(); /* this tile is whole, and all have left the one before */
		if (next < keys) {
			issue_k<E, HD>(t, buf ^ 1, k + next * a.kv_stride, a.kv_stride, keys - next);
			issue_v<E, HD>(stage, v + next * a.kv_stride, a.kv_stride, keys - next);
		}
		gpu_phase<1>();
		T::qk(s, q, t, buf, 0);
		gpu_phase<0>();
		if (next > a.pos0 + row0 + T::query(0) / 32 * 32 + 1)
			mask_causal<T>(s, a.pos0 + row0 - j0);
		softmax.fold(s, a.scale_log2);
		T::scale_o(o, softmax.keep);
		gpu_phase<1>();
		T::pv(o, s, t, buf, 0);
		gpu_phase<0>();
	}
	softmax.finish(inv);
	if (a.o_f32)
		T::store_o(o, inv, (float *)a.o + o0, a.o_stride, rows, true);
	else
		T::store_o(o, inv, (uint16_t *)a.o + o0, a.o_stride, rows, false);
	gpu_crumb_leave(a.crumb, (uint32_t)(n_tiles * a.n_heads));
}
