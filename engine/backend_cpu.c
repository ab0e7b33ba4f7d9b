/* backend_cpu: the forward pass on the processor's cores.
 *
 * One block of n tokens at a time goes through all layers. Memory of a context beside the KV cache, in values per token
 * of a block: n_embd (x), the larger of n_embd and n_head * head_dim (packed activations), n_head * head_dim (q,
 * overwritten by the attention's output), 2 * n_head_kv * head_dim (new k and v), n_ff (hidden values of the feed-forward
 * net), and as 16-bit integers where the model is quantised the largest of them again.
 */
#include "engine/backend.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/cpu/gemm.h"
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CPU_MAX_THREADS 1024
#define CPU_MAX_BATCH 512 /* more tokens per block gain nothing: W's unpacking is then below 2 % of a product */
#define CPU_MIN_BATCH 64

struct backend_cpu {
	struct backend base;
	const struct model *model;
	struct cpu cpu;
	char device[160];
};

struct context_cpu {
	struct backend_context base;
	struct backend_cpu *b;
	uint32_t n_ctx, n_batch, n_last; /* n_last: rows of the last forward call */
	size_t kv_rows;                  /* n_ctx, in whole tiles of 64 */
	bool half;
	enum attn_id attn;
	char *kv;          /* [n_layer][k, v][n_head_kv][kv_rows][head_dim], a mapping: pages come as they are filled */
	size_t kv_bytes;
	float *memory;     /* the one allocation behind the next */
	float *x;          /* [n_batch][n_embd] */
	struct acts acts;  /* of max(n_embd, n_head * head_dim) floats, and of as many and n_ff integers, per token */
	float *q;          /* [n_batch][n_head * head_dim] */
	float *k_new, *v_new; /* [n_batch][n_head_kv * head_dim] */
	float *hidden;     /* [n_batch][n_ff] */
	float *cosine, *sine; /* [n_batch][n_rot / 2] */
	backend_progress_fn *progress;
	void *progress_arg;
	char attn_op[40];
};

/* --- backend ------------------------------------------------------------------------------------------------------ */

static void read_cpu_name(char *out, size_t cap)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];

	snprintf(out, cap, "CPU");
	while (f && fgets(line, sizeof line, f)) {
		char *colon = strchr(line, ':');
		if (!colon || strncmp(line, "model name", 10) != 0)
			continue;
		colon[strcspn(colon, "\n")] = '\0';
		snprintf(out, cap, "%s", colon + 2);
		break;
	}
	if (f)
		fclose(f);
}

static int cpus_allowed(void)
{
	cpu_set_t set;
	return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static void cpu_close(struct backend *base)
{
	struct backend_cpu *b = (struct backend_cpu *)base;

	pool_destroy(b->cpu.pool);
	for (int i = 0; b->cpu.scratch && i < b->cpu.n_threads; i++)
		free(b->cpu.scratch[i]);
	free(b->cpu.scratch);
	free(b);
}

static int choose_kernels(struct backend_cpu *b, const char *isa, struct greta_err *e)
{
	b->cpu.k = isa ? cpu_kernels_named(isa) : cpu_kernels_best();
	if (b->cpu.k)
		return 0;
	return greta_err_set(e, GRETA_EUNSUPPORTED, "instruction set \"%s\" is not built in or not in this processor; "
			     "there are generic, avx2 and avx512, and the best one is taken by default", isa);
}

static int cpu_open(const struct model *m, const struct greta_engine_params *p, struct backend **out, struct greta_err *e)
{
	if (p->n_threads < 0 || p->n_threads > CPU_MAX_THREADS)
		return greta_err_set(e, GRETA_EINVAL, "%d threads: give 1 to %d, or 0 for all cores", p->n_threads,
				     CPU_MAX_THREADS);
	struct backend_cpu *b = greta_alloc(sizeof *b);
	char name[96];

	b->base.ops = &backend_cpu;
	b->model = m;
	b->cpu.n_threads = p->n_threads ? p->n_threads : cpus_allowed();
	b->cpu.deterministic = p->deterministic;
	b->cpu.float_only = p->precision == GRETA_PRECISION_F32;
	b->cpu.scratch = greta_alloc((size_t)b->cpu.n_threads * sizeof *b->cpu.scratch);
	if (choose_kernels(b, p->isa, e) || !(b->cpu.pool = pool_create(b->cpu.n_threads, e))) {
		cpu_close(&b->base);
		return -1;
	}
	read_cpu_name(name, sizeof name);
	snprintf(b->device, sizeof b->device, "%s, %d thread%s, %s", name, b->cpu.n_threads, b->cpu.n_threads == 1 ? "" : "s",
		 b->cpu.k->name);
	*out = &b->base;
	return 0;
}

static const char *cpu_device(const struct backend *base)
{
	return ((const struct backend_cpu *)base)->device;
}

static int cpu_n_threads(const struct backend *base)
{
	return ((const struct backend_cpu *)base)->cpu.n_threads;
}

static size_t max_size(size_t a, size_t b)
{
	return a > b ? a : b;
}

static unsigned layer_kinds(const struct cpu *cpu, const struct model_layer *l)
{
	return gemm_kind(cpu, &l->q) | gemm_kind(cpu, &l->k) | gemm_kind(cpu, &l->v) | gemm_kind(cpu, &l->o) |
	       gemm_kind(cpu, &l->gate) | gemm_kind(cpu, &l->up) | gemm_kind(cpu, &l->down);
}

static unsigned model_kinds(const struct cpu *cpu, const struct model *m)
{
	unsigned kinds = gemm_kind(cpu, &m->output);

	for (uint32_t i = 0; i < m->n_layer; i++)
		kinds |= layer_kinds(cpu, &m->layers[i]);
	return kinds;
}

/* The memory of a context, in floats per token of a block. */
struct shares {
	size_t x, f32, i16, sums, step, q, kv, hidden, angles;
};

static struct shares shares_of(const struct backend_cpu *b)
{
	const struct model *m = b->model;
	unsigned kinds = model_kinds(&b->cpu, m);
	size_t n_q = (size_t)m->n_head * m->head_dim, widest = max_size(m->n_embd, n_q);
	struct shares s = {.x = m->n_embd, .q = n_q, .kv = (size_t)m->n_head_kv * m->head_dim, .hidden = m->n_ff,
			   .angles = m->n_rot / 2};

	if (kinds & GEMM_F32)
		s.f32 = widest;
	if (kinds & GEMM_I16) {
		widest = max_size(widest, m->n_ff);
		s.i16 = (widest + 1) / 2;
		s.sums = widest / GEMM_GROUP;
		s.step = 1;
	}
	return s;
}

/* Scratch within a twentieth of the weights, as far as CPU_MIN_BATCH allows. */
static uint32_t cpu_default_batch(const struct backend *base)
{
	const struct backend_cpu *b = (const struct backend_cpu *)base;
	struct shares s = shares_of(b);
	size_t floats = s.x + s.f32 + s.i16 + s.sums + s.step + s.q + 2 * s.kv + s.hidden + 2 * s.angles;
	size_t per_token = (floats + 2 * GEMM_NC * (size_t)b->cpu.n_threads) * sizeof(float);
	uint64_t batch = b->model->weight_bytes / 20 / per_token / 64 * 64;

	return batch < CPU_MIN_BATCH ? CPU_MIN_BATCH : batch > CPU_MAX_BATCH ? CPU_MAX_BATCH : (uint32_t)batch;
}

/* --- context ------------------------------------------------------------------------------------------------------ */

static void cpu_context_destroy(struct backend_context *base)
{
	struct context_cpu *c = (struct context_cpu *)base;

	if (c->kv)
		munmap(c->kv, c->kv_bytes);
	free(c->memory);
	free(c);
}

static int choose_attn(struct context_cpu *c, const char *name, struct greta_err *e)
{
	struct greta_buf known = {0};

	if (!name || greta_str_eq(name, "auto"))
		name = attn_name(ATTN_fast);
	for (int i = 0; i < ATTN_COUNT; i++) {
		if (greta_str_eq(name, attn_name(i))) {
			c->attn = i;
			greta_buf_release(&known);
			snprintf(c->attn_op, sizeof c->attn_op, "attn %s", name);
			return 0;
		}
		greta_buf_addf(&known, "%s%s", i ? ", " : "", attn_name(i));
	}
	greta_err_set(e, GRETA_EINVAL, "attention \"%s\" is not known on the cpu backend; there are: auto, %s", name,
		      greta_buf_str(&known));
	greta_buf_release(&known);
	return -1;
}

static int allocate_kv(struct context_cpu *c, struct greta_err *e)
{
	const struct model *m = c->b->model;
	char text[32];

	c->kv_rows = ((size_t)c->n_ctx + 63) / 64 * 64;
	c->kv_bytes = 2 * (size_t)m->n_layer * m->n_head_kv * c->kv_rows * m->head_dim * (c->half ? 2 : 4);
	void *at = mmap(NULL, c->kv_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return greta_err_set(e, GRETA_ENOMEM, "no memory for a KV cache of %u positions (%s): use a shorter context, "
				     "or --kv f16", c->n_ctx, greta_str_bytes(text, sizeof text, (double)c->kv_bytes));
	c->kv = at;
	madvise(at, c->kv_bytes, MADV_POPULATE_WRITE); /* a kernel before 5.14 fills it as it is written */
	return 0;
}

static int allocate_memory(struct context_cpu *c, struct greta_err *e)
{
	struct shares s = shares_of(c->b);
	float *i16 = NULL;
	const struct {
		float **at;
		size_t per_token;
	} parts[] = {
		{&c->x, s.x},      {&c->acts.f32, s.f32}, {&i16, s.i16},      {&c->acts.sums, s.sums},  {&c->acts.step, s.step},
		{&c->q, s.q},      {&c->k_new, s.kv},     {&c->v_new, s.kv},  {&c->hidden, s.hidden},   {&c->cosine, s.angles},
		{&c->sine, s.angles},
	};
	size_t total = 0;

	for (size_t i = 0; i < GRETA_COUNT(parts); i++)
		total += (parts[i].per_token * c->n_batch + 15) / 16 * 16;
	if (posix_memalign((void **)&c->memory, 64, total * sizeof(float)))
		return greta_err_set(e, GRETA_ENOMEM, "no memory for blocks of %u tokens: use a smaller --batch", c->n_batch);
	memset(c->memory, 0, total * sizeof(float)); /* touched here, not in the first prefill */
	float *at = c->memory;
	for (size_t i = 0; i < GRETA_COUNT(parts); i++) {
		*parts[i].at = at;
		at += (parts[i].per_token * c->n_batch + 15) / 16 * 16;
	}
	c->acts.i16 = (int16_t *)(void *)i16;
	return 0;
}

static struct attn_job attn_job_of(const struct context_cpu *c, uint32_t layer, uint32_t n, uint32_t pos)
{
	const struct model *m = c->b->model;
	size_t half_bytes = c->kv_bytes / m->n_layer / 2;

	return (struct attn_job){
		.q = c->q,
		.out = c->q,
		.k = c->kv + 2 * layer * half_bytes,
		.v = c->kv + (2 * layer + 1) * half_bytes,
		.half = c->half,
		.kv_rows = c->kv_rows,
		.n = (int)n,
		.pos0 = (int)pos,
		.n_head = (int)m->n_head,
		.n_head_kv = (int)m->n_head_kv,
		.head_dim = (int)m->head_dim,
		.scale = 1.0f / sqrtf((float)m->head_dim),
	};
}

static int allocate_scratch(struct context_cpu *c, struct greta_err *e)
{
	const struct model *m = c->b->model;
	struct cpu *cpu = &c->b->cpu;
	struct attn_job job = attn_job_of(c, 0, c->n_batch, c->n_ctx); /* the largest there will be */
	size_t max_k = max_size(max_size(m->n_embd, m->n_ff), (size_t)m->n_head * m->head_dim);
	size_t bytes = max_size(gemm_scratch_bytes(cpu, (int)c->n_batch, max_k), cpu->k->attn[c->attn]->scratch_bytes(&job));

	if (bytes <= cpu->scratch_bytes)
		return 0;
	for (int i = 0; i < cpu->n_threads; i++) {
		free(cpu->scratch[i]);
		cpu->scratch[i] = NULL;
		if (posix_memalign(&cpu->scratch[i], 64, bytes)) {
			cpu->scratch_bytes = 0;
			return greta_err_set(e, GRETA_ENOMEM, "no memory for the scratch space of %d threads: use fewer --threads",
					     cpu->n_threads);
		}
	}
	cpu->scratch_bytes = bytes;
	return 0;
}

static int cpu_context_create(struct backend *base, const struct backend_context_params *p, struct backend_context **out,
			      struct greta_err *e)
{
	struct context_cpu *c = greta_alloc(sizeof *c);

	c->base.ops = &backend_cpu;
	c->b = (struct backend_cpu *)base;
	c->n_ctx = p->n_ctx;
	c->n_batch = p->n_batch;
	c->half = p->kv == GRETA_KV_F16;
	c->progress = p->progress;
	c->progress_arg = p->progress_arg;
	if (choose_attn(c, p->attn, e) || allocate_kv(c, e) || allocate_memory(c, e) || allocate_scratch(c, e)) {
		cpu_context_destroy(&c->base);
		return -1;
	}
	*out = &c->base;
	return 0;
}

static const char *cpu_attn(const struct backend_context *base)
{
	return attn_name(((const struct context_cpu *)base)->attn);
}

/* --- forward ------------------------------------------------------------------------------------------------------ */

struct forward {
	struct context_cpu *c;
	const uint32_t *tokens;
	uint32_t n, pos, layer;
	struct attn_job attn;
};

/* Embedding row and rotary angles of one token. Angles in double: at position 32768 float32 costs 1e-5. */
static void embed_task(void *arg, int64_t i, int thread)
{
	const struct forward *f = arg;
	const struct model *m = f->c->b->model;
	size_t half_rot = m->n_rot / 2;

	(void)thread;
	m->embd.traits->to_f32((const char *)m->embd.data + f->tokens[i] * m->embd.row_bytes, f->c->x + (size_t)i * m->n_embd,
			       m->n_embd);
	for (size_t k = 0; k < half_rot; k++) {
		double angle = (double)(f->pos + i) * m->rope_freq[k];
		f->c->cosine[(size_t)i * half_rot + k] = (float)cos(angle);
		f->c->sine[(size_t)i * half_rot + k] = (float)sin(angle);
	}
}

static void store_kv(const struct forward *f, const void *base, int64_t i, uint32_t head, const float *from)
{
	const struct context_cpu *c = f->c;
	size_t dim = c->b->model->head_dim;
	void *to = (char *)(uintptr_t)attn_kv_row(&f->attn, base, (int)head, (int)(f->pos + i));

	if (c->half)
		c->b->cpu.k->to_f16(from, to, dim);
	else
		memcpy(to, from, dim * sizeof(float));
}

/* Rotates q and k of one token and puts k and v into the cache. */
static void rope_task(void *arg, int64_t i, int thread)
{
	const struct forward *f = arg;
	const struct context_cpu *c = f->c;
	const struct model *m = c->b->model;
	size_t dim = m->head_dim, half_rot = m->n_rot / 2, row = (size_t)i;
	const float *cosine = c->cosine + row * half_rot, *sine = c->sine + row * half_rot;

	(void)thread;
	for (uint32_t h = 0; h < m->n_head; h++)
		c->b->cpu.k->rope(c->q + (row * m->n_head + h) * dim, cosine, sine, m->n_rot);
	for (uint32_t h = 0; h < m->n_head_kv; h++) {
		float *k = c->k_new + (row * m->n_head_kv + h) * dim;
		c->b->cpu.k->rope(k, cosine, sine, m->n_rot);
		store_kv(f, f->attn.k, i, h, k);
		store_kv(f, f->attn.v, i, h, c->v_new + (row * m->n_head_kv + h) * dim);
	}
}

static void attn_task(void *arg, int64_t i, int thread)
{
	const struct forward *f = arg;
	const struct cpu *cpu = &f->c->b->cpu;
	cpu->k->attn[f->c->attn]->task(&f->attn, i, cpu->scratch[thread]);
}

static void pack(const struct forward *f, unsigned kinds, const float *x, size_t k, const float *norm)
{
	struct context_cpu *c = f->c;

	c->acts.n = (int)f->n;
	c->acts.k = k;
	gemm_pack(&c->b->cpu, kinds, x, k, norm, c->b->model->rms_eps, &c->acts);
}

static void attention(struct forward *f, const struct model_layer *l)
{
	struct context_cpu *c = f->c;
	const struct model *m = c->b->model;
	const struct cpu *cpu = &c->b->cpu;
	size_t n_q = (size_t)m->n_head * m->head_dim, n_kv = (size_t)m->n_head_kv * m->head_dim;
	const struct gemm_out qkv[] = {{&l->q, c->q, n_q, false}, {&l->k, c->k_new, n_kv, false}, {&l->v, c->v_new, n_kv, false}};
	const struct gemm_out out = {&l->o, c->x, m->n_embd, true};

	pack(f, gemm_kind(cpu, &l->q) | gemm_kind(cpu, &l->k) | gemm_kind(cpu, &l->v), c->x, m->n_embd, l->attn_norm);
	gemm_run(cpu, &c->acts, qkv, 3);
	f->attn = attn_job_of(c, f->layer, f->n, f->pos);
	pool_run(cpu->pool, f->n, rope_task, f);
	pool_run(cpu->pool, cpu->k->attn[c->attn]->n_tasks(&f->attn), attn_task, f);
	pack(f, gemm_kind(cpu, &l->o), c->q, n_q, NULL);
	gemm_run(cpu, &c->acts, &out, 1);
}

static void feed_forward(struct forward *f, const struct model_layer *l)
{
	struct context_cpu *c = f->c;
	const struct model *m = c->b->model;
	const struct cpu *cpu = &c->b->cpu;
	const struct gemm_out down = {&l->down, c->x, m->n_embd, true};
	const struct acts packed = {.n = (int)f->n, .k = m->n_ff, .f32 = c->hidden};

	pack(f, gemm_kind(cpu, &l->gate) | gemm_kind(cpu, &l->up), c->x, m->n_embd, l->ffn_norm);
	if (gemm_kind(cpu, &l->down) == GEMM_F32) {
		gemm_swiglu(cpu, &c->acts, &l->gate, &l->up, c->hidden, NULL);
		gemm_run(cpu, &packed, &down, 1);
	} else {
		gemm_swiglu(cpu, &c->acts, &l->gate, &l->up, NULL, c->hidden);
		pack(f, GEMM_I16, c->hidden, m->n_ff, NULL);
		gemm_run(cpu, &c->acts, &down, 1);
	}
}

static int cpu_forward(struct backend_context *base, const uint32_t *tokens, uint32_t n, uint32_t pos, struct greta_err *e)
{
	struct context_cpu *c = (struct context_cpu *)base;
	struct forward f = {.c = c, .tokens = tokens, .n = n, .pos = pos};

	(void)e;
	c->n_last = n;
	pool_run(c->b->cpu.pool, n, embed_task, &f);
	for (f.layer = 0; f.layer < c->b->model->n_layer; f.layer++) {
		const struct model_layer *l = &c->b->model->layers[f.layer];
		c->progress(c->progress_arg, f.layer, c->attn_op);
		attention(&f, l);
		c->progress(c->progress_arg, f.layer, "ffn");
		feed_forward(&f, l);
	}
	return 0;
}

static int cpu_logits(struct backend_context *base, uint32_t row, uint32_t n, float *out, struct greta_err *e)
{
	struct context_cpu *c = (struct context_cpu *)base;
	const struct model *m = c->b->model;
	const struct gemm_out logits = {&m->output, out, m->n_vocab, false};
	const struct forward f = {.c = c, .n = n};

	if (row + n > c->n_last)
		return greta_err_set(e, GRETA_EINVAL, "logits of row %u asked, the last block had %u", row + n - 1, c->n_last);
	pack(&f, gemm_kind(&c->b->cpu, &m->output), c->x + (size_t)row * m->n_embd, m->n_embd, m->output_norm);
	gemm_run(&c->b->cpu, &c->acts, &logits, 1);
	return 0;
}

const struct backend_ops backend_cpu = {
	.name = "cpu",
	.open = cpu_open,
	.close = cpu_close,
	.device = cpu_device,
	.n_threads = cpu_n_threads,
	.default_batch = cpu_default_batch,
	.context_create = cpu_context_create,
	.context_destroy = cpu_context_destroy,
	.attn = cpu_attn,
	.forward = cpu_forward,
	.logits = cpu_logits,
};
