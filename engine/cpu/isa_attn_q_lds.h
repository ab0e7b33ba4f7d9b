/* attn q_lds and q_lds_v2: Q in shared memory, V in segments of `seg` columns.
 *
 * A task is one head and a tile of 32 queries, a lane a thread of the 32-thread block. Q[32][dim] is staged once. The
 * output is made in dim / seg passes; each pass goes over all key tiles, stages K[32][dim] and V[32][seg], computes the
 * scores S[32][32] again, runs the online softmax again, and adds into its seg columns only: registers hold 32 scores
 * and seg outputs a thread, and the price is that the scores are computed dim / seg times. seg is 16 for q_lds (8 passes
 * at head_dim 128) and 32 for q_lds_v2 (4 passes).
 */
#ifndef ENGINE_CPU_ISA_ATTN_Q_LDS_H
#define ENGINE_CPU_ISA_ATTN_Q_LDS_H

#include "engine/cpu/isa_attn.h"

enum {
	Q_LDS_TILE = 32,                     /* queries, and keys */
	Q_LDS_WIDE = Q_LDS_TILE / VF_LANES, /* vectors that hold one value of every query */
};

INLINE int64_t q_lds_n_tasks_(const struct attn_job *job)
{
	return (int64_t)job->n_head * ((job->n + Q_LDS_TILE - 1) / Q_LDS_TILE);
}

INLINE size_t q_lds_scratch_bytes_(const struct attn_job *job, int seg)
{
	/* Q and K tiles, V segment, S, O segment, one row while it is loaded */
	size_t floats = 2 * (size_t)job->head_dim + (size_t)seg + Q_LDS_TILE + (size_t)seg;
	return (floats * Q_LDS_TILE + (size_t)padded(job->head_dim)) * sizeof(float);
}

struct q_lds {
	const struct attn_job *job;
	int head, kv_head, row0, n, seg;
	float *q;   /* [dim][32]: a column a thread */
	float *k;   /* [32][dim] */
	float *v;   /* [32][seg] */
	float *s;   /* [32 keys][32] */
	float *o;   /* [seg][32] */
	float *row; /* [padded dim] */
};

INLINE void q_lds_stage_q(struct q_lds *t)
{
	int dim = t->job->head_dim;

	memset(t->q, 0, (size_t)(dim * Q_LDS_TILE) * sizeof *t->q);
	for (int r = 0; r < t->n; r++)
		for (int d = 0; d < dim; d++)
			t->q[d * Q_LDS_TILE + r] = q_row(t->job, t->row0 + r, t->head)[d] * t->job->scale * LOG2_E;
}

INLINE void q_lds_stage_kv(struct q_lds *t, int key0, int n_keys, int col0, int n_cols)
{
	int dim = t->job->head_dim;

	for (int j = 0; j < n_keys; j++) {
		load_row(attn_kv_row(t->job, t->job->k, t->kv_head, key0 + j), t->job->half, dim, t->row);
		memcpy(t->k + j * dim, t->row, (size_t)dim * sizeof *t->k);
		const char *v = attn_kv_row(t->job, t->job->v, t->kv_head, key0 + j);
		load_row(v + col0 * (t->job->half ? 2 : 4), t->job->half, n_cols, t->row);
		memcpy(t->v + j * t->seg, t->row, (size_t)n_cols * sizeof *t->v);
	}
}

/* s[j][*] for each staged key; keys a query may not see get -infinity. Returns the rows' maxima in m. */
INLINE void q_lds_scores(struct q_lds *t, int key0, int n_keys, vf m[Q_LDS_WIDE])
{
	int dim = t->job->head_dim, first = t->job->pos0 + t->row0;

	for (int j = 0; j < n_keys; j++) {
		vf s[Q_LDS_WIDE];
		for (int w = 0; w < Q_LDS_WIDE; w++)
			s[w] = vf_zero();
		for (int d = 0; d < dim; d++)
			for (int w = 0; w < Q_LDS_WIDE; w++)
				s[w] += vf_load(t->q + d * Q_LDS_TILE + w * VF_LANES) * t->k[j * dim + d];
		for (int w = 0; w < Q_LDS_WIDE; w++) {
			vi visible = vi_iota() + (first + w * VF_LANES) >= vi_set(key0 + j);
			s[w] = vf_select(visible, s[w], vf_set(-INFINITY));
			m[w] = vf_max(m[w], s[w]);
			vf_store(t->s + j * Q_LDS_TILE + w * VF_LANES, s[w]);
		}
	}
}

/* exp(s - m), summed; -infinity becomes 0. */
INLINE void q_lds_exp(struct q_lds *t, int n_keys, const vf m[Q_LDS_WIDE], vf l[Q_LDS_WIDE])
{
	for (int j = 0; j < n_keys; j++) {
		for (int w = 0; w < Q_LDS_WIDE; w++) {
			float *at = t->s + j * Q_LDS_TILE + w * VF_LANES;
			vf s = vf_load(at);
			vf p = vf_select(s == vf_set(-INFINITY), vf_zero(), vf_exp2(s - m[w]));
			l[w] += p;
			vf_store(at, p);
		}
	}
}

INLINE void q_lds_add_v(struct q_lds *t, int n_keys, int n_cols, const vf alpha[Q_LDS_WIDE])
{
	for (int c = 0; c < n_cols; c++) {
		for (int w = 0; w < Q_LDS_WIDE; w++) {
			float *at = t->o + c * Q_LDS_TILE + w * VF_LANES;
			vf o = vf_load(at) * alpha[w];
			for (int j = 0; j < n_keys; j++)
				o += vf_load(t->s + j * Q_LDS_TILE + w * VF_LANES) * t->v[j * t->seg + c];
			vf_store(at, o);
		}
	}
}

INLINE void q_lds_pass(struct q_lds *t, int col0, int n_cols)
{
	vf m[Q_LDS_WIDE], l[Q_LDS_WIDE];
	int n_visible = t->job->pos0 + t->row0 + t->n;

	for (int w = 0; w < Q_LDS_WIDE; w++) {
		m[w] = vf_set(-INFINITY);
		l[w] = vf_zero();
	}
	memset(t->o, 0, (size_t)(t->seg * Q_LDS_TILE) * sizeof *t->o);
	for (int key0 = 0; key0 < n_visible; key0 += Q_LDS_TILE) {
		int n_keys = n_visible - key0 < Q_LDS_TILE ? n_visible - key0 : Q_LDS_TILE;
		vf new_m[Q_LDS_WIDE], alpha[Q_LDS_WIDE];
		q_lds_stage_kv(t, key0, n_keys, col0, n_cols);
		memcpy(new_m, m, sizeof m);
		q_lds_scores(t, key0, n_keys, new_m);
		for (int w = 0; w < Q_LDS_WIDE; w++) {
			alpha[w] = vf_select(m[w] == new_m[w], vf_set(1.0f), vf_exp2(m[w] - new_m[w]));
			l[w] *= alpha[w];
		}
		memcpy(m, new_m, sizeof m);
		q_lds_exp(t, n_keys, m, l);
		q_lds_add_v(t, n_keys, n_cols, alpha);
	}
	for (int r = 0; r < t->n; r++)
		for (int c = 0; c < n_cols; c++)
			out_row(t->job, t->row0 + r, t->head)[col0 + c] = t->o[c * Q_LDS_TILE + r] / l[r / VF_LANES][r % VF_LANES];
}

INLINE void q_lds_task_(const struct attn_job *job, int64_t task, float *scratch, int seg)
{
	struct q_lds t = {.job = job, .head = (int)(task % job->n_head), .seg = seg};
	int dim = job->head_dim;

	t.kv_head = kv_head_of(job, t.head);
	t.row0 = (int)(task / job->n_head) * Q_LDS_TILE;
	t.n = job->n - t.row0 < Q_LDS_TILE ? job->n - t.row0 : Q_LDS_TILE;
	t.q = scratch;
	t.k = t.q + dim * Q_LDS_TILE;
	t.v = t.k + dim * Q_LDS_TILE;
	t.s = t.v + seg * Q_LDS_TILE;
	t.o = t.s + Q_LDS_TILE * Q_LDS_TILE;
	t.row = t.o + seg * Q_LDS_TILE;
	q_lds_stage_q(&t);
	for (int col = 0; col < dim; col += seg)
		q_lds_pass(&t, col, dim - col < seg ? dim - col : seg);
}

#endif
