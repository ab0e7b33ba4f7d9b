/* attn: causal attention over the KV cache, one interface for all implementations.
 *
 *   S[i,j] = scale * sum_d Q[i,d] K[j,d]   for j <= pos0 + i
 *   P[i,:] = softmax(S[i,:])
 *   O[i,d] = sum_j P[i,j] V[j,d]
 *
 * for each query head h, with K and V of head h / (n_head / n_head_kv). The ladder (flash_v2_naive, q_lds, q_lds_v2) does
 * on lanes of a vector what the GPU kernel of that name does on threads of a block: a lane is a thread, a query row a
 * lane, shared memory a tile copied to scratch. So the rungs do the same redundant work and differ in time for the same
 * reasons. `fast` is what the engine uses when nothing is asked for; `reference` is float64 and plain.
 */
#ifndef ENGINE_CPU_ATTN_H
#define ENGINE_CPU_ATTN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(identifier, what it does) */
#define ATTN_IMPLS(X)                                                                                                  \
	X(fast, "tiles of 64 keys for all query heads that share them, products at full register tiles")              \
	X(flash_v2_naive, "baseline: a lane a query row, online softmax key by key, K and V streamed")                \
	X(q_lds, "v3: tiles of 32 queries, Q and K staged, V by 16 columns, scores recomputed for each")              \
	X(q_lds_v2, "v4: as q_lds, V by 32 columns")                                                                  \
	X(reference, "float64, row by row: what the others are judged by")

enum attn_id {
#define X(name, what) ATTN_##name,
	ATTN_IMPLS(X)
#undef X
	ATTN_COUNT
};

struct attn_job {
	const float *q; /* [n][n_head][head_dim], rotated */
	float *out;     /* the same shape */
	const void *k;  /* [n_head_kv][kv_rows][head_dim], float or half; rows 0 .. pos0 + n - 1 are filled */
	const void *v;
	bool half;
	size_t kv_rows;
	int n;    /* query rows: positions pos0 .. pos0 + n - 1 */
	int pos0;
	int n_head, n_head_kv, head_dim;
	float scale;
};

/* Tasks are independent of each other and of the thread that runs them; a query row's result does not depend on which
 * other rows are in the job. scratch: scratch_bytes(job) bytes, aligned to 64, of the thread's own. */
struct attn_impl {
	const char *name;
	int64_t (*n_tasks)(const struct attn_job *job);
	size_t (*scratch_bytes)(const struct attn_job *job);
	void (*task)(const struct attn_job *job, int64_t task, void *scratch);
};


const char *attn_name(enum attn_id id);
const char *attn_about(enum attn_id id);

/* The address of K's or V's row of a KV head and position. */
static inline const void *attn_kv_row(const struct attn_job *job, const void *base, int kv_head, int pos)
{
	size_t row = (size_t)kv_head * job->kv_rows + (size_t)pos;
	return (const char *)base + row * (size_t)job->head_dim * (job->half ? 2 : 4);
}

#endif
