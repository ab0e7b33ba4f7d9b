/* flash_mma_v2 on Hopper: a producer warpgroup brings tiles by TMA, two consumer warpgroups of 64 queries each multiply by
 * wgmma. Within a consumer, S of the next tile and O of this one are in flight while the softmax of the next is computed
 * as soon as its S is there; between the two, named barriers let one issue its products while the other is at its
 * exponentials. Accumulators live in registers, which the producer gives up (setmaxnreg).
 *
 * Shared memory, in boxes of 64 columns (128 bytes a row, swizzled by TMA): Q [HD/64][128], two of K and of V [HD/64][128].
 */
#include "kernels/attn/order.h"
#include "kernels/attn/softmax.h"
#include "kernels/dev/wgmma.h"

template <class E, int HD> struct attn_tile {
	static constexpr int THREADS = 384;
	static constexpr int QUERIES = 128, KEYS = 128, STAGES = 2;
	static constexpr int ROWS = 2;
	static constexpr int NS = KEYS / 2;
	static constexpr int TILE_BYTES = 128 * HD * 2, BOX_BYTES = 128 * 128;

	struct lds {
		unsigned char q[TILE_BYTES];
		unsigned char k[STAGES][TILE_BYTES], v[STAGES][TILE_BYTES];
		uint64_t q_full, k_full[STAGES], v_full[STAGES], k_empty[STAGES], v_empty[STAGES];
	};

	/* of a consumer: threads 128 .. 383 */
	GPU_FN int query(int row) { return (gpu_wave() - 4) * 16 + row * 8 + gpu_lane() / 4; }
	GPU_FN constexpr int s_row(int r) { return r % 4 / 2; }
	GPU_FN int s_key(int r) { return r / 4 * 8 + gpu_lane() % 4 * 2 + r % 2; }
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
};

template <class E, int HD> using v2_tile = attn_tile<E, HD>;

template <class E, int HD> GPU_FN void load_tile(unsigned char *to, const void *map, int head, int row, uint64_t *full)
{
	typedef attn_tile<E, HD> T;

	mbar_expect(gpu_smem(full), T::TILE_BYTES);
#pragma unroll
	for (int box = 0; box < HD / 64; box++)
		tma_load(gpu_smem(to + box * T::BOX_BYTES), map, 64 * box, head, row, gpu_smem(full));
}

/* One thread: keeps both stages of K and V full. A stage is refilled when both consumers have left it. */
template <class E, int HD>
GPU_FN void produce(const attn_v2_args &a, typename attn_tile<E, HD>::lds &t, int row0, int head, int tiles)
{
	typedef attn_tile<E, HD> T;
	const int kv_head = head / (a.a.n_heads / a.a.n_kv_heads);

	load_tile<E, HD>(t.q, a.map_q, head, row0, &t.q_full);
#pragma unroll 1
	for (int j = 0; j < tiles; j++) {
		const int stage = j % T::STAGES, turn = j / T::STAGES;

		if (turn)
			mbar_wait(gpu_smem(&t.k_empty[stage]), (turn - 1) & 1);
		load_tile<E, HD>(t.k[stage], a.map_k, kv_head, j * T::KEYS, &t.k_full[stage]);
		if (turn)
			mbar_wait(gpu_smem(&t.v_empty[stage]), (turn - 1) & 1);
		load_tile<E, HD>(t.v[stage], a.map_v, kv_head, j * T::KEYS, &t.v_full[stage]);
	}
}

/* S = Q K^T, queued. */
template <class E, int HD>
GPU_FN void queue_qk(float (&s)[attn_tile<E, HD>::NS], const typename attn_tile<E, HD>::lds &t, int consumer, int stage)
{
	typedef attn_tile<E, HD> T;
	const uint64_t q = wgmma_rows_along_k(gpu_smem(t.q) + consumer * 64 * 128);
	const uint64_t k = wgmma_rows_along_k(gpu_smem(t.k[stage]));

	wgmma_fence();
#pragma unroll
	for (int c = 0; c < HD / 16; c++) {
		uint64_t at = (uint64_t)(c / 4 * T::BOX_BYTES + c % 4 * 32) >> 4;

		wgmma_ss_n128<E>(s, q + at, k + at, c != 0);
	}
	wgmma_commit();
}

/* O += P V, queued. */
template <class E, int HD>
GPU_FN void queue_pv(float (&o)[HD / 2], const uint32_t (&p)[attn_tile<E, HD>::KEYS / 16][4],
		     const typename attn_tile<E, HD>::lds &t, int stage)
{
	typedef attn_tile<E, HD> T;
	const uint64_t v = wgmma_rows_along_n(gpu_smem(t.v[stage]), T::BOX_BYTES);

	wgmma_fence();
#pragma unroll
	for (int u = 0; u < T::KEYS / 16; u++) {
		if constexpr (HD == 128)
			wgmma_rs_n128<E>(o, p[u], v + (u * 2048 >> 4));
		else
			wgmma_rs_n64<E>(o, p[u], v + (u * 2048 >> 4));
	}
	wgmma_commit();
}

template <class E, int NS> GPU_FN void pack_p(uint32_t (&p)[NS / 8][4], const float (&s)[NS])
{
#pragma unroll
	for (int i = 0; i < NS / 2; i++)
		p[i / 4][i % 4] = E::down2(s[2 * i], s[2 * i + 1]);
}

template <class E, int HD>
GPU_FN void store_o(const attn_args &a, const float (&o)[HD / 2], const float (&inv)[2], int row0, int head)
{
	typedef attn_tile<E, HD> T;

#pragma unroll
	for (int row = 0; row < 2; row++) {
		int q = row0 + T::query(row);

		if (q >= a.n)
			continue;
#pragma unroll
		for (int c = 0; c < HD / 8; c++) {
			int64_t at = q * a.o_stride + (int64_t)head * HD + 8 * c + gpu_lane() % 4 * 2;
			float x = o[4 * c + 2 * row] * inv[row], y = o[4 * c + 2 * row + 1] * inv[row];

			if (a.o_f32)
				*(float2 *)((float *)a.o + at) = make_float2(x, y);
			else
				*(uint32_t *)((uint16_t *)a.o + at) = E::down2(x, y);
		}
	}
}

template <class E, int HD>
GPU_FN void consume(const attn_args &a, typename attn_tile<E, HD>::lds &t, int row0, int head, int tiles)
{
	typedef attn_tile<E, HD> T;
	const int consumer = gpu_tid() / 128 - 1;
	const int first = a.pos0 + row0, mine = first + consumer * 64; /* positions of the tile's and this half's first query */
	const bool signals = gpu_tid() % 128 == 0;
	softmax_rows<T> rows;
	float s[T::NS], o[HD / 2], inv[2];
	uint32_t p[T::KEYS / 16][4];

#pragma unroll
	for (int i = 0; i < HD / 2; i++)
		o[i] = 0;
	rows.start();
	mbar_wait(gpu_smem(&t.q_full), 0);
	mbar_wait(gpu_smem(&t.k_full[0]), 0);
	if (consumer == 1)
		named_arrive(1, 256); /* the first to queue is consumer 0 */
	named_sync(1 + consumer, 256);
	queue_qk<E, HD>(s, t, consumer, 0);
	wgmma_wait<0>();
	wgmma_hold(s);
	if (signals)
		mbar_arrive(gpu_smem(&t.k_empty[0]));
	if (T::KEYS > mine + 1)
		mask_causal<T>(s, first);
	rows.fold(s, a.scale_log2);
	pack_p<E>(p, s);
	named_arrive(1 + (consumer ^ 1), 256);
#pragma unroll 1
	for (int j = 1; j < tiles; j++) {
		const int stage = j % T::STAGES, before = (j - 1) % T::STAGES;

		mbar_wait(gpu_smem(&t.k_full[stage]), j / T::STAGES & 1);
		named_sync(1 + consumer, 256);
		queue_qk<E, HD>(s, t, consumer, stage);
		mbar_wait(gpu_smem(&t.v_full[before]), (j - 1) / T::STAGES & 1);
		queue_pv<E, HD>(o, p, t, before);
		named_arrive(1 + (consumer ^ 1), 256);
		wgmma_wait<1>();
		wgmma_hold(s);
		if (signals)
			mbar_arrive(gpu_smem(&t.k_empty[stage]));
		if ((j + 1) * T::KEYS > mine + 1)
			mask_causal<T>(s, first - j * T::KEYS);
		rows.fold(s, a.scale_log2);
		wgmma_wait<0>();
		wgmma_hold(o);
		if (signals)
			mbar_arrive(gpu_smem(&t.v_empty[before]));
#pragma unroll
		for (int i = 0; i < HD / 2; i++)
			o[i] *= rows.keep[i % 4 / 2];
		pack_p<E>(p, s);
	}
	mbar_wait(gpu_smem(&t.v_full[(tiles - 1) % T::STAGES]), (tiles - 1) / T::STAGES & 1);
	queue_pv<E, HD>(o, p, t, (tiles - 1) % T::STAGES);
	rows.finish(inv);
	wgmma_wait<0>();
	wgmma_hold(o);
	store_o<E, HD>(a, o, inv, row0, head);
	if (consumer == 0)
		named_sync(1, 256); /* takes the other's last arrival */
}

template <class E, int HD> GPU_FN void flash_mma_v2(const attn_v2_args &v, typename attn_tile<E, HD>::lds &t)
{
	typedef attn_tile<E, HD> T;
	const attn_args &a = v.a;
	const int n_tiles = (a.n + T::QUERIES - 1) / T::QUERIES;
	int tile, head;

	attn_order_of(gpu_block_x(), n_tiles, a.n_heads, v.head_group, &tile, &head);
	const int row0 = tile * T::QUERIES, rows = a.n - row0 < T::QUERIES ? a.n - row0 : T::QUERIES;
	const int key_tiles = (a.pos0 + row0 + rows + T::KEYS - 1) / T::KEYS;

	gpu_crumb_enter(a.crumb, (uint32_t)(n_tiles * a.n_heads));
	if (gpu_tid() == 0) {
		mbar_init(gpu_smem(&t.q_full), 1);
		for (int i = 0; i < T::STAGES; i++) {
			mbar_init(gpu_smem(&t.k_full[i]), 1);
			mbar_init(gpu_smem(&t.v_full[i]), 1);
			mbar_init(gpu_smem(&t.k_empty[i]), 2);
			mbar_init(gpu_smem(&t.v_empty[i]), 2);
		}
		asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
	}
	gpu_sync();
	if (gpu_tid() < 128) {
		regs_fewer<24>();
		if (gpu_tid() == 0)
			produce<E, HD>(v, t, row0, head, key_tiles);
	} else {
		regs_more<240>();
		consume<E, HD>(a, t, row0, head, key_tiles);
	}
	gpu_crumb_leave(a.crumb, (uint32_t)(n_tiles * a.n_heads));
}
