/* backend_gpu: the forward pass on a GPU.
 *
 * Weights live on the device as 16-bit elements (gpu_model.h). The residual stream is float32, activations and the KV cache
 * are elements of the weights' type. Rows are padded with zeros to a multiple of 64 values, as the matrix products want.
 *
 * A block of n tokens, per layer (x: residual, h: normed or hidden rows):
 *
 *	h = norm(x)   qkv = h Wqkv^T   q, cache = rope(qkv)   a = attention(q, cache)   x += a Wo^T
 *	h = norm(x)   gu = h Wgu^T     h = silu(gate) up      x += h Wdown^T
 *
 * Attention is the chosen rung's, but for one token behind others (decoding), which no rung has blocks enough for.
 *
 * The host queues all layers within milliseconds, so progress is not what was queued: each kernel writes what it is to a
 * page that forward reads while it waits.
 */
#include "base/mem.h"
#include "base/str.h"
#include "base/trace.h"
#include "engine/backend.h"
#include "engine/gpu_model.h"
#include "kernels/gpu.h"
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GPU_BATCH 8192                   /* tokens per block: products are as fast as they get, and memory is bounded; */
#define GPU_BATCH_LARGE 32768            /* where memory is plenty, fewer and longer attention launches */
#define GPU_PLENTY ((size_t)64 << 30)
#define LOGIT_ROWS 64
#define POLL_NS 50000

/* X(id, name): what a breadcrumb says is executing. */
#define GPU_OPS(X)                                                                                                     \
	X(NONE, "nothing")                                                                                             \
	X(EMBED, "embed")                                                                                              \
	X(NORM, "norm, qkv")                                                                                           \
	X(ROPE, "rope")                                                                                                \
	X(ATTN, "attn")                                                                                                \
	X(DECODE, "attn flash_decode")                                                                                 \
	X(FFN_NORM, "attn out, ffn norm, gate, up")                                                                    \
	X(SWIGLU, "swiglu, down")                                                                                      \
	X(LOGITS, "logits")

enum gpu_op {
#define X(id, name) GPU_OP_##id,
	GPU_OPS(X)
#undef X
	GPU_OP_COUNT
};

static const char *const op_names[GPU_OP_COUNT] = {
#define X(id, name) [GPU_OP_##id] = name,
	GPU_OPS(X)
#undef X
};

struct backend_gpu {
	struct backend base;
	const struct model *model;
	struct greta_gpu *gpu;
	struct gpu_model w;
	char device[480];
};

struct context_gpu {
	struct backend_context base;
	struct backend_gpu *b;
	uint32_t n_ctx, n_batch, n_last;
	enum greta_attn_rung attn;
	uint16_t *k, *v;       /* [n_layer][n_ctx][n_head_kv * head_dim] */
	float *angles;         /* [n_ctx][n_rot / 2] (cos, sin) */
	int32_t *tokens;       /* [n_batch] */
	float *x;              /* [n_batch][n_embd] */
	uint16_t *h;           /* [n_batch][ld_h]: normed rows, or hidden ones */
	uint16_t *wide;        /* [n_batch][max of qkv and gate, up] */
	uint16_t *q, *a;       /* [n_batch][ld_a] */
	float *logits;         /* [LOGIT_ROWS][n_vocab] */
	float *parts;          /* of a decoded token's attention */
	uint32_t *counters;    /* [n_layer]: attention blocks that have ended */
	int64_t ld_h, ld_a, ld_wide;
	struct greta_gpu_page *page;
	struct greta_gpu_page *device_page;
	enum { CRUMBS_ALWAYS, CRUMBS_NEVER, CRUMBS_ALTERNATE } crumbs;
	int64_t spin_layer;    /* an injected fault: that layer never ends; -1: none */
	bool layer_by_layer;   /* likewise: the processor is slow, which a GPU with all layers in its queue would not feel */
	uint32_t sequence;     /* of the forward call */
	uint32_t told;         /* layers told of it */
	enum gpu_op told_op;
	backend_progress_fn *progress;
	void *progress_arg;
	char attn_op[48];
};

/* --- backend ------------------------------------------------------------------------------------------------------ */

static void gpu_close(struct backend *base)
{
	struct backend_gpu *b = (struct backend_gpu *)base;

	greta_gpu_close(b->gpu);
	gpu_model_release(&b->w);
	free(b);
}

static int check_model(const struct model *m, struct greta_err *e)
{
	if (m->head_dim % 2 || m->n_rot % 2)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "head_dim %u with %u rotated: the gpu backend wants even ones",
				     m->head_dim, m->n_rot);
	return greta_attn_supports(GRETA_ATTN_FLASH_V2_NAIVE, (int)m->head_dim, e);
}

static int open_parts(struct backend_gpu *b, const struct greta_engine_params *p, struct greta_err *e)
{
	const char *ordinal = getenv("GRETA_GPU");
	struct greta_gpu_options o = { .ordinal = ordinal ? (int)strtol(ordinal, NULL, 10) : 0 };
	int64_t begun = greta_trace_region_begin();

	if (check_model(b->model, e) || greta_gpu_open(&b->gpu, &o, e))
		return -1;
	greta_trace_region_end("gpu context", begun);
	begun = greta_trace_region_begin();
	if (greta_gpu_gemm_start(b->gpu, getenv("GRETA_GPU_GEMM"), e))
		return -1;
	greta_trace_region_end("gpu library", begun);
	begun = greta_trace_region_begin();
	if (gpu_model_load(&b->w, b->gpu, b->model, p, e))
		return -1;
	greta_trace_region_end("gpu weights", begun);
	return 0;
}

static int gpu_open(const struct model *m, const struct greta_engine_params *p, struct backend **out, struct greta_err *e)
{
	struct backend_gpu *b = greta_alloc(sizeof *b);
	const struct greta_gpu_info *info;

	b->base.ops = &backend_gpu;
	b->model = m;
	if (open_parts(b, p, e)) {
		gpu_close(&b->base);
		return -1;
	}
	info = greta_gpu_info(b->gpu);
	snprintf(b->device, sizeof b->device, "%s, %s, %d units, %s, %s, products by %s", info->name, info->arch, info->n_units,
		 info->driver, greta_gpu_dtype_name(b->w.dtype), greta_gpu_gemm_name(b->gpu));
	*out = &b->base;
	return 0;
}

static const char *gpu_device(const struct backend *base)
{
	return ((const struct backend_gpu *)base)->device;
}

static int gpu_n_threads(const struct backend *base)
{
	(void)base;
	return 1;
}

static uint32_t gpu_default_batch(const struct backend *base)
{
	const struct backend_gpu *b = (const struct backend_gpu *)base;

	return greta_gpu_info(b->gpu)->vram_bytes >= GPU_PLENTY ? GPU_BATCH_LARGE : GPU_BATCH;
}

/* --- progress ----------------------------------------------------------------------------------------------------- */

/* Not always, so that what they cost can be measured, call by call in one process. */
static bool drops_crumbs(const struct context_gpu *c)
{
	return c->crumbs == CRUMBS_ALWAYS || (c->crumbs == CRUMBS_ALTERNATE && c->sequence % 2 == 0);
}

/* The crumb of the kernel that is queued next, noted in the page as queued. */
static struct gpu_crumb queue_op(struct context_gpu *c, uint32_t layer, enum gpu_op op)
{
	uint64_t place = (uint64_t)c->sequence << 32 | (uint64_t)(layer & 0xffff) << 16 | op;

	__atomic_store_n(&c->page->enqueued, place, __ATOMIC_RELAXED);
	if (!drops_crumbs(c))
		return (struct gpu_crumb){ 0 };
	return (struct gpu_crumb){ .page = c->device_page, .executing = place };
}

static const char *op_name(const struct context_gpu *c, enum gpu_op op)
{
	return op == GPU_OP_ATTN ? c->attn_op : op_names[op];
}

/* The page, with the names of what will stand in it. */
static int open_page(struct context_gpu *c, struct greta_err *e)
{
	const char *off = getenv("GRETA_GPU_NO_CRUMBS");

	if (greta_gpu_watch(c->b->gpu, getenv("GRETA_GPU_PAGE"), &c->page, &c->device_page, e))
		return -1;
	for (int op = 0; op < GPU_OP_COUNT; op++)
		greta_str_copy(c->page->ops[op], sizeof c->page->ops[op], op_name(c, op));
	if (off)
		c->crumbs = greta_str_eq(off, "alternate") ? CRUMBS_ALTERNATE : CRUMBS_NEVER;
	return 0;
}

/* Tells every layer up to the one that the page says is executing, each once, and its parts as they are seen. */
static void tell_executing(struct context_gpu *c)
{
	uint64_t now = __atomic_load_n(&c->page->executing, __ATOMIC_ACQUIRE);
	uint32_t layer = now >> 16 & 0xffff;
	enum gpu_op op = now & 0xffff;

	if (now >> 32 != c->sequence || op >= GPU_OP_COUNT || op == GPU_OP_EMBED)
		return;
	while (c->told < layer + 1) {
		c->told++;
		c->told_op = c->told == layer + 1 ? op : GPU_OP_ATTN;
		c->progress(c->progress_arg, c->told - 1, op_name(c, c->told_op));
	}
	if (op != c->told_op && c->told == layer + 1) {
		c->told_op = op;
		c->progress(c->progress_arg, layer, op_name(c, op));
	}
}

static int wait_telling(struct context_gpu *c, struct greta_err *e)
{
	const struct timespec nap = { .tv_nsec = POLL_NS };
	bool busy = true;

	for (;;) {
		if (greta_gpu_busy(c->b->gpu, &busy, e))
			return -1;
		tell_executing(c);
		if (!busy)
			return 0;
		nanosleep(&nap, NULL);
	}
}

/* --- context ------------------------------------------------------------------------------------------------------ */

static void gpu_context_destroy(struct backend_context *base)
{
	struct context_gpu *c = (struct context_gpu *)base;
	struct greta_gpu *g = c->b->gpu;
	void *owned[] = { c->k, c->v, c->angles, c->tokens, c->x, c->h, c->wide, c->q, c->a, c->logits, c->parts,
			  c->counters };

	greta_gpu_sync(g, NULL);
	for (size_t i = 0; i < GRETA_COUNT(owned); i++)
		greta_gpu_free(g, owned[i]);
	free(c);
}

static int choose_attn(struct context_gpu *c, const char *name, struct greta_err *e)
{
	int head_dim = (int)c->b->model->head_dim;

	if (name && !greta_str_eq(name, "auto")) {
		if (greta_attn_by_name(name, &c->attn, e) || greta_attn_supports(c->attn, head_dim, e))
			return -1;
	} else {
		c->attn = GRETA_ATTN_N_RUNGS - 1;
		while (c->attn > 0 && greta_attn_supports(c->attn, head_dim, NULL))
			c->attn--;
	}
	snprintf(c->attn_op, sizeof c->attn_op, "attn %s", greta_attn_name(c->attn));
	return 0;
}

static int make_angles(struct context_gpu *c, struct greta_err *e)
{
	const struct model *m = c->b->model;
	size_t half = m->n_rot / 2, n = (size_t)c->n_ctx * half * 2;
	float *t = greta_try_alloc(n ? n : 1, sizeof *t);
	int rc;

	if (!t)
		return greta_err_set(e, GRETA_ENOMEM, "no memory for the rotary angles of %u positions", c->n_ctx);
	for (size_t pos = 0; pos < c->n_ctx; pos++)
		for (size_t i = 0; i < half; i++) {
			t[(pos * half + i) * 2] = (float)cos((double)pos * m->rope_freq[i]);
			t[(pos * half + i) * 2 + 1] = (float)sin((double)pos * m->rope_freq[i]);
		}
	rc = greta_gpu_upload(c->b->gpu, c->angles, t, n * sizeof *t, e);
	free(t);
	return rc;
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

static int allocate(struct context_gpu *c, struct greta_err *e)
{
	const struct model *m = c->b->model;
	size_t n_kv = (size_t)m->n_head_kv * m->head_dim, n_q = (size_t)m->n_head * m->head_dim, n = c->n_batch;
	size_t cache = (size_t)m->n_layer * c->n_ctx * n_kv * 2;

	c->ld_h = gpu_padded(larger(m->n_embd, m->n_ff));
	c->ld_a = gpu_padded(n_q);
	c->ld_wide = gpu_padded(larger(n_q + 2 * n_kv, 2 * (size_t)m->n_ff));
	const struct {
		void *at;
		size_t bytes;
		const char *what;
	} parts[] = {
		{ &c->k, cache, "the K cache" },
		{ &c->v, cache, "the V cache" },
		{ &c->angles, (size_t)c->n_ctx * m->n_rot * 4, "the rotary angles" },
		{ &c->tokens, n * 4, "a block's tokens" },
		{ &c->x, n * m->n_embd * 4, "a block's residual stream" },
		{ &c->h, n * (size_t)c->ld_h * 2, "a block's hidden values" },
		{ &c->wide, n * (size_t)c->ld_wide * 2, "a block's products" },
		{ &c->q, n * (size_t)c->ld_a * 2, "a block's queries" },
		{ &c->a, n * (size_t)c->ld_a * 2, "a block's attention" },
		{ &c->logits, (size_t)LOGIT_ROWS * m->n_vocab * 4, "the logits" },
		{ &c->parts, greta_attn_decode_bytes((int)m->n_head, (int)m->head_dim), "a decoded token's attention" },
		{ &c->counters, (size_t)m->n_layer * 4, "counters" },
	};
	for (size_t i = 0; i < GRETA_COUNT(parts); i++) {
		void *p = greta_gpu_alloc(c->b->gpu, parts[i].bytes, parts[i].what, e);

		if (!p)
			return -1;
		memcpy(parts[i].at, &p, sizeof p);
	}
	/* attention writes n_q columns of ld_a; the rest must be zero for the product that follows */
	return greta_gpu_fill(c->b->gpu, c->a, 0, n * (size_t)c->ld_a * 2, e);
}

static int product(struct context_gpu *c, const struct gpu_matrix *w, const uint16_t *x, int64_t ldx, uint32_t n, void *out,
		   int64_t ldc, enum gemm_out kind, struct greta_err *e)
{
	const struct gemm_args a = { .x = x, .w = w->data, .c = out, .ldx = ldx, .ldw = w->ld, .ldc = ldc, .m = (int32_t)n,
				     .n = w->n_out, .k = (int32_t)w->ld, .out = kind };

	return greta_gpu_gemm(c->b->gpu, c->b->w.dtype, &a, e);
}

/* A library loads its kernels when they are first called for, some 0.15 s of a first prefill that are none of the model's: so
 * each product of a layer is called for once, on a block of zeros, before anything is timed. Our own come with the GPU. */
static int call_products_once(struct context_gpu *c, struct greta_err *e)
{
	const struct gpu_layer *l = &c->b->w.layers[0];
	const struct gpu_matrix *output = &c->b->w.output;
	uint32_t n = c->n_batch;
	int64_t begun = greta_trace_region_begin();

	if (greta_str_eq(greta_gpu_gemm_name(c->b->gpu), "own"))
		return 0;
	if (greta_gpu_fill(c->b->gpu, c->h, 0, (size_t)n * (size_t)c->ld_h * 2, e) ||
	    greta_gpu_fill(c->b->gpu, c->x, 0, (size_t)n * c->b->model->n_embd * 4, e) ||
	    product(c, &l->qkv, c->h, l->qkv.ld, n, c->wide, c->ld_wide, GEMM_OUT_ELEMENT, e) ||
	    product(c, &l->o, c->a, c->ld_a, n, c->x, c->b->model->n_embd, GEMM_OUT_ADD_F32, e) ||
	    product(c, &l->gate_up, c->h, l->gate_up.ld, n, c->wide, c->ld_wide, GEMM_OUT_ELEMENT, e) ||
	    product(c, &l->down, c->h, l->down.ld, n, c->x, c->b->model->n_embd, GEMM_OUT_ADD_F32, e) ||
	    product(c, output, c->h, output->ld, 1, c->logits, c->b->model->n_vocab, GEMM_OUT_F32, e) ||
	    greta_gpu_sync(c->b->gpu, e))
		return greta_err_wrap(e, "first matrix products");
	greta_trace_region_end("gpu first products", begun);
	return 0;
}

/* What --inject asked of this backend (infer_inject.c). */
static int inject_faults(struct context_gpu *c, struct greta_err *e)
{
	const char *spin = getenv("GRETA_INJECT_GPU_SPIN");

	c->spin_layer = spin ? strtoll(spin, NULL, 10) : -1;
	c->layer_by_layer = getenv("GRETA_INJECT_SLOW");
	if (!getenv("GRETA_INJECT_OOM_DEVICE"))
		return 0;
	while (greta_gpu_alloc(c->b->gpu, (size_t)1 << 30, "an injected fault", e))
		;
	return -1;
}

static int gpu_context_create(struct backend *base, const struct backend_context_params *p, struct backend_context **out,
			      struct greta_err *e)
{
	struct context_gpu *c = greta_alloc(sizeof *c);

	c->base.ops = &backend_gpu;
	c->b = (struct backend_gpu *)base;
	c->n_ctx = p->n_ctx;
	c->n_batch = p->n_batch;
	c->progress = p->progress;
	c->progress_arg = p->progress_arg;
	if (choose_attn(c, p->attn, e) || inject_faults(c, e) || allocate(c, e) || make_angles(c, e) || call_products_once(c, e) ||
	    open_page(c, e)) {
		gpu_context_destroy(&c->base);
		return -1;
	}
	*out = &c->base;
	return 0;
}

static const char *gpu_attn(const struct backend_context *base)
{
	return greta_attn_name(((const struct context_gpu *)base)->attn);
}

/* --- forward ------------------------------------------------------------------------------------------------------ */

static int norm(struct context_gpu *c, const float *x, const float *w, uint32_t n, struct gpu_crumb crumb, struct greta_err *e)
{
	const struct model *m = c->b->model;
	const struct norm_args a = { .crumb = crumb, .x = x, .w = w, .y = c->h, .ldx = m->n_embd, .ldy = gpu_padded(m->n_embd),
				     .n_embd = (int32_t)m->n_embd, .n_pad = (int32_t)gpu_padded(m->n_embd), .eps = m->rms_eps };

	return greta_gpu_norm(c->b->gpu, c->b->w.dtype, &a, (int)n, e);
}

static int add_bias(struct context_gpu *c, const float *bias, uint32_t n, struct greta_err *e)
{
	const struct bias_args a = { .x = c->x, .bias = bias, .ldx = c->b->model->n_embd, .n = (int32_t)c->b->model->n_embd };

	return bias ? greta_gpu_bias(c->b->gpu, &a, (int)n, e) : 0;
}

/* Blocks count themselves in where a launch may be long. */
static int attention(struct context_gpu *c, uint32_t layer, struct attn_args *a, struct greta_err *e)
{
	if (a->n == 1 && a->pos0) {
		a->crumb = queue_op(c, layer, GPU_OP_DECODE);
		return greta_gpu_attn_decode(c->b->gpu, c->b->w.dtype, a, c->parts, e);
	}
	a->crumb = queue_op(c, layer, GPU_OP_ATTN);
	a->crumb.counter = a->crumb.page ? c->counters + layer : NULL;
	return greta_gpu_attn(c->b->gpu, c->attn, c->b->w.dtype, a, e);
}

static int attend(struct context_gpu *c, uint32_t layer, uint32_t n, uint32_t pos, struct greta_err *e)
{
	const struct model *m = c->b->model;
	const struct gpu_layer *l = &c->b->w.layers[layer];
	size_t n_kv = (size_t)m->n_head_kv * m->head_dim, cache = (size_t)layer * c->n_ctx * n_kv;
	int64_t ld_qkv = l->qkv.n_out + (8 - l->qkv.n_out % 8) % 8;
	const struct rope_args rope = {
		.crumb = queue_op(c, layer, GPU_OP_ROPE), .qkv = c->wide, .bias = l->qkv_bias, .table = c->angles, .q = c->q,
		.k = c->k + cache, .v = c->v + cache, .ld_qkv = ld_qkv, .ldq = c->ld_a, .ld_kv = (int64_t)n_kv,
		.pos0 = (int32_t)pos, .n_heads = (int32_t)m->n_head, .n_kv_heads = (int32_t)m->n_head_kv,
		.head_dim = (int32_t)m->head_dim, .n_rot = (int32_t)m->n_rot,
	};
	struct attn_args attn = {
		.q = c->q, .k = rope.k, .v = rope.v, .o = c->a, .q_stride = c->ld_a,
		.kv_stride = (int64_t)n_kv, .o_stride = c->ld_a, .n = (int32_t)n, .pos0 = (int32_t)pos,
		.n_heads = (int32_t)m->n_head, .n_kv_heads = (int32_t)m->n_head_kv, .head_dim = (int32_t)m->head_dim,
		.scale_log2 = (float)(1.4426950408889634 / sqrt((double)m->head_dim)),
	};

	return product(c, &l->qkv, c->h, gpu_padded(m->n_embd), n, c->wide, ld_qkv, GEMM_OUT_ELEMENT, e) ||
	       greta_gpu_rope(c->b->gpu, c->b->w.dtype, &rope, (int)n, e) ||
	       attention(c, layer, &attn, e) ||
	       product(c, &l->o, c->a, c->ld_a, n, c->x, m->n_embd, GEMM_OUT_ADD_F32, e) || add_bias(c, l->o_bias, n, e) ? -1 : 0;
}

static int feed_forward(struct context_gpu *c, uint32_t layer, uint32_t n, struct greta_err *e)
{
	const struct model *m = c->b->model;
	const struct gpu_layer *l = &c->b->w.layers[layer];
	int64_t ld_gu = 2 * (int64_t)m->n_ff + (8 - 2 * m->n_ff % 8) % 8, ld_ff = gpu_padded(m->n_ff);
	const struct swiglu_args swiglu = { .crumb = queue_op(c, layer, GPU_OP_SWIGLU), .gu = c->wide, .h = c->h, .ld_gu = ld_gu,
					    .ldh = ld_ff, .n_ff = (int32_t)m->n_ff, .n_pad = (int32_t)ld_ff };

	return product(c, &l->gate_up, c->h, gpu_padded(m->n_embd), n, c->wide, ld_gu, GEMM_OUT_ELEMENT, e) ||
	       greta_gpu_swiglu(c->b->gpu, c->b->w.dtype, &swiglu, (int)n, e) ||
	       product(c, &l->down, c->h, ld_ff, n, c->x, m->n_embd, GEMM_OUT_ADD_F32, e) ||
	       add_bias(c, l->down_bias, n, e) ? -1 : 0;
}

static int begin(struct context_gpu *c, const uint32_t *tokens, uint32_t n, struct greta_err *e)
{
	const struct model *m = c->b->model;
	const struct embed_args embed = { .crumb = queue_op(c, 0, GPU_OP_EMBED), .table = c->b->w.embd.data, .tokens = c->tokens,
					  .x = c->x, .ld_table = c->b->w.embd.ld, .ldx = m->n_embd, .n_embd = (int32_t)m->n_embd };

	c->n_last = n;
	c->told = 0;
	c->told_op = GPU_OP_NONE;
	return greta_gpu_upload(c->b->gpu, c->tokens, tokens, n * sizeof *tokens, e) ||
	       greta_gpu_fill(c->b->gpu, c->counters, 0, m->n_layer * sizeof *c->counters, e) ||
	       greta_gpu_embed(c->b->gpu, c->b->w.dtype, &embed, (int)n, e) ? -1 : 0;
}

static int gpu_forward(struct backend_context *base, const uint32_t *tokens, uint32_t n, uint32_t pos, struct greta_err *e)
{
	struct context_gpu *c = (struct context_gpu *)base;

	c->sequence++;
	if (begin(c, tokens, n, e))
		return -1;
	for (uint32_t i = 0; i < c->b->model->n_layer; i++) {
		const struct gpu_layer *l = &c->b->w.layers[i];

		if (norm(c, c->x, l->attn_norm, n, queue_op(c, i, GPU_OP_NORM), e) || attend(c, i, n, pos, e) ||
		    norm(c, c->x, l->ffn_norm, n, queue_op(c, i, GPU_OP_FFN_NORM), e) || feed_forward(c, i, n, e))
			return greta_err_wrap(e, "layer %u", i);
		if (i == c->spin_layer && greta_gpu_spin(c->b->gpu, queue_op(c, i, GPU_OP_ATTN), e))
			return -1;
		if (c->layer_by_layer && greta_gpu_sync(c->b->gpu, e))
			return -1;
		tell_executing(c);
	}
	return wait_telling(c, e);
}

static int gpu_logits(struct backend_context *base, uint32_t row, uint32_t n, float *out, struct greta_err *e)
{
	struct context_gpu *c = (struct context_gpu *)base;
	const struct model *m = c->b->model;

	if (row + n > c->n_last)
		return greta_err_set(e, GRETA_EINVAL, "logits of row %u asked, the last block had %u", row + n - 1, c->n_last);
	for (uint32_t i = 0; i < n; i += LOGIT_ROWS) {
		uint32_t k = n - i < LOGIT_ROWS ? n - i : LOGIT_ROWS;
		const struct bias_args bias = { .x = c->logits, .bias = c->b->w.output_bias, .ldx = m->n_vocab,
						.n = (int32_t)m->n_vocab };

		if (norm(c, c->x + (size_t)(row + i) * m->n_embd, c->b->w.output_norm, k,
			 queue_op(c, m->n_layer - 1, GPU_OP_LOGITS), e) ||
		    product(c, &c->b->w.output, c->h, gpu_padded(m->n_embd), k, c->logits, m->n_vocab, GEMM_OUT_F32, e) ||
		    (bias.bias && greta_gpu_bias(c->b->gpu, &bias, (int)k, e)) ||
		    greta_gpu_download(c->b->gpu, out + (size_t)i * m->n_vocab, c->logits, (size_t)k * m->n_vocab * 4, e))
			return -1;
	}
	return 0;
}

void backend_gpu_describe(struct greta_buf *out)
{
	greta_gpu_built_for(out);
	greta_buf_addc(out, '\n');
}

int backend_gpu_resources(struct greta_buf *out, bool json)
{
	return greta_gpu_resources(out, json);
}

const struct backend_ops backend_gpu = {
	.name = "gpu",
	.copies_weights = true,
	.kv = "16-bit, as the weights",
	.open = gpu_open,
	.close = gpu_close,
	.device = gpu_device,
	.n_threads = gpu_n_threads,
	.default_batch = gpu_default_batch,
	.context_create = gpu_context_create,
	.context_destroy = gpu_context_destroy,
	.attn = gpu_attn,
	.forward = gpu_forward,
	.logits = gpu_logits,
};
