#include "engine/cpu/isa_attn_q_lds.h"

enum { SEGMENT = 16 };

static int64_t q_lds_n_tasks(const struct attn_job *job)
{
	return q_lds_n_tasks_(job);
}

static size_t q_lds_scratch_bytes(const struct attn_job *job)
{
	return q_lds_scratch_bytes_(job, SEGMENT);
}

static void q_lds_task(const struct attn_job *job, int64_t task, void *scratch)
{
	q_lds_task_(job, task, scratch, SEGMENT);
}

const struct attn_impl CPU_SYM(attn_q_lds) = {"q_lds", q_lds_n_tasks, q_lds_scratch_bytes, q_lds_task};
