/* attn reference: float64, a query row at a time, softmax in two passes. Slow and plain on purpose. */
#include "engine/cpu/isa_attn.h"

static int64_t reference_n_tasks(const struct attn_job *job)
{
	return (int64_t)job->n_head * job->n;
}

static size_t reference_scratch_bytes(const struct attn_job *job)
{
	return (size_t)(job->pos0 + job->n + job->head_dim) * sizeof(double) + (size_t)padded(job->head_dim) * sizeof(float);
}

static void reference_task(const struct attn_job *job, int64_t task, void *scratch)
{
	int head = (int)(task % job->n_head), token = (int)(task / job->n_head), dim = job->head_dim;
	int n = job->pos0 + token + 1, kv_head = kv_head_of(job, head);
	double *p = scratch, *o = p + n, sum = 0.0, top = -INFINITY;
	float *row = (float *)(o + dim);

	for (int j = 0; j < n; j++) {
		load_row(attn_kv_row(job, job->k, kv_head, j), job->half, dim, row);
		p[j] = 0.0;
		for (int d = 0; d < dim; d++)
			p[j] += (double)q_row(job, token, head)[d] * (double)row[d];
		p[j] *= (double)job->scale;
		top = p[j] > top ? p[j] : top;
	}
	memset(o, 0, (size_t)dim * sizeof *o);
	for (int j = 0; j < n; j++) {
		double e = exp(p[j] - top);
		sum += e;
		load_row(attn_kv_row(job, job->v, kv_head, j), job->half, dim, row);
		for (int d = 0; d < dim; d++)
			o[d] += e * (double)row[d];
	}
	for (int d = 0; d < dim; d++)
		out_row(job, token, head)[d] = (float)(o[d] / sum);
}

const struct attn_impl CPU_SYM(attn_reference) = {"reference", reference_n_tasks, reference_scratch_bytes, reference_task};
