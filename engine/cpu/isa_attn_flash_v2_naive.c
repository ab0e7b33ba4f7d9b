/* attn flash_v2_naive: the baseline of the ladder, a thread a query row.
 *
 * A task is one head and a block of VF_LANES query rows; a lane is a thread. Each thread keeps its output row o[d], and
 * for every key j streams K[j,:] for the score, updates its maximum and sum, rescales o by alpha and adds p V[j,:].
 * No tile, no reuse beyond the block: per key and row head_dim multiply-adds for the score, and for the output as many
 * again plus as many multiplications to rescale.
 */
#include "engine/cpu/isa_attn.h"

static int64_t naive_n_tasks(const struct attn_job *job)
{
	return (int64_t)job->n_head * ((job->n + VF_LANES - 1) / VF_LANES);
}

static size_t naive_scratch_bytes(const struct attn_job *job)
{
	return (size_t)(2 * job->head_dim * VF_LANES + 2 * padded(job->head_dim)) * sizeof(float);
}

static void naive_task(const struct attn_job *job, int64_t task, void *scratch)
{
	int head = (int)(task % job->n_head), row0 = (int)(task / job->n_head) * VF_LANES, dim = job->head_dim;
	int n = job->n - row0 < VF_LANES ? job->n - row0 : VF_LANES, last = job->pos0 + row0 + n - 1;
	float *q = scratch, *o = q + dim * VF_LANES, *k = o + dim * VF_LANES, *v = k + padded(dim);
	vf m = vf_set(-INFINITY), l = vf_zero();

	memset(q, 0, (size_t)(2 * dim * VF_LANES) * sizeof *q);
	for (int r = 0; r < n; r++)
		for (int d = 0; d < dim; d++)
			q[d * VF_LANES + r] = q_row(job, row0 + r, head)[d] * job->scale * LOG2_E;
	for (int j = 0; j <= last; j++) {
		vi visible = vi_iota() + (job->pos0 + row0) >= vi_set(j);
		vf s = vf_zero();
		load_row(attn_kv_row(job, job->k, kv_head_of(job, head), j), job->half, dim, k);
		load_row(attn_kv_row(job, job->v, kv_head_of(job, head), j), job->half, dim, v);
		for (int d = 0; d < dim; d++)
			s += vf_load(q + d * VF_LANES) * k[d];
		vf new_m = vf_select(visible, vf_max(m, s), m);
		vf alpha = vf_select(m == new_m, vf_set(1.0f), vf_exp2(m - new_m));
		vf p = vf_select(visible, vf_exp2(s - new_m), vf_zero());
		l = l * alpha + p;
		m = new_m;
		for (int d = 0; d < dim; d++)
			vf_store(o + d * VF_LANES, vf_load(o + d * VF_LANES) * alpha + p * v[d]);
	}
	for (int r = 0; r < n; r++)
		for (int d = 0; d < dim; d++)
			out_row(job, row0 + r, head)[d] = o[d * VF_LANES + r] / l[r];
}

const struct attn_impl CPU_SYM(attn_flash_v2_naive) = {"flash_v2_naive", naive_n_tasks, naive_scratch_bytes, naive_task};
