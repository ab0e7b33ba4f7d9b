/* backend_gpu: the forward pass on a GPU.
 *
 * Weights live on the device as 16-bit elements, BF16 where the model's matrices are, else F16; other formats are converted
 * once, as they are loaded (F32, Q8_0 and Q4_K on the device, the rest here). The residual stream is float32, activations
 * and the KV cache are 16-bit elements. Rows are padded with zeros to a multiple of 64 values, as the matrix products want.
 *
 * A block of n tokens, per layer (x: residual, h: normed or hidden rows):
 *
 *	h = norm(x)   qkv = h Wqkv^T   q, cache = rope(qkv)   a = attention(q, cache)   x += a Wo^T
 *	h = norm(x)   gu = h Wgu^T     h = silu(gate) up      x += h Wdown^T
 *
 * The host queues all layers within milliseconds, so progress is not what was queued: each kernel writes what it is to a
 * page that forward reads while it waits.
 */
#include "base/mem.h"
#include "base/str.h"
#include "base/trace.h"
#include "engine/backend.h"
#include "engine/cpu/pool.h"
#include "kernels/gpu.h"
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SLOT_BYTES ((size_t)32 << 20)    /* of the ring that weights are loaded through */
#define PIECE_BYTES ((size_t)1 << 20)    /* that one thread copies into a slot at a time */
#define MAX_LOAD_THREADS 16
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

struct matrix {
	uint16_t *data; /* on the device, [n_out][ld] */
	int64_t ld;
	int32_t n_in, n_out;
};

struct gpu_layer {
	struct matrix qkv, o, gate_up, down;
	float *attn_norm, *ffn_norm;
	float *qkv_bias, *o_bias, *down_bias; /* NULL: none */
};

struct backend_gpu {
	struct backend base;
	const struct model *model;
	struct greta_gpu *gpu;
	enum greta_gpu_dtype dtype;
	struct matrix embd, output;
	float *output_norm, *output_bias;
	struct gpu_layer *layers;
	char device[480];
	/* while loading */
	struct greta_gpu_feed *feed;
	struct pool *pool;
	void (*on_load)(void *arg, uint64_t done, uint64_t total);
	void *on_load_arg;
	uint64_t loaded_bytes;
	int fd; /* of the model's file: reading into a slot is faster than faulting the mapping in */
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
	uint32_t *counters;    /* [n_layer]: attention blocks that have ended */
	int64_t ld_h, ld_a, ld_wide;
	struct greta_gpu_page *page;
	struct greta_gpu_page *device_page;
	enum { CRUMBS_ALWAYS, CRUMBS_NEVER, CRUMBS_ALTERNATE } crumbs;
	int64_t spin_layer;    /* an injected fault: that layer never ends; -1: none */
	uint32_t sequence;     /* of the forward call */
	uint32_t told;         /* layers told of it */
	enum gpu_op told_op;
	backend_progress_fn *progress;
	void *progress_arg;
	char attn_op[48];
};

static int64_t padded(size_t n)
{
	return (int64_t)((n + GPU_K_MULTIPLE - 1) / GPU_K_MULTIPLE * GPU_K_MULTIPLE);
}

/* --- loading ------------------------------------------------------------------------------------------------------ */

/* One slot's filling, shared by the pool's threads. */
struct fill {
	const struct backend_gpu *b;
	const struct weight *w;
	const uint8_t *from;
	uint8_t *to;
	size_t bytes; /* to copy; 0: rows to decode */
};

static void copy_piece(void *arg, int64_t i, int thread)
{
	const struct fill *f = arg;
	size_t at = (size_t)i * PIECE_BYTES, n = f->bytes - at < PIECE_BYTES ? f->bytes - at : PIECE_BYTES;

	off_t offset = f->from + at - gguf_bytes(f->b->model->gguf);

	(void)thread;
	if (f->b->fd < 0 || pread(f->b->fd, f->to + at, n, offset) != (ssize_t)n)
		memcpy(f->to + at, f->from + at, n);
}

static void decode_row(void *arg, int64_t i, int thread)
{
	const struct fill *f = arg;

	(void)thread;
	f->w->traits->to_f32(f->from + (size_t)i * f->w->row_bytes, (float *)(f->to + (size_t)i * f->w->n_in * 4), f->w->n_in);
}

/* How the device is to read a weight's rows; false: decode them to float32 here first. */
static bool device_reads(const struct backend_gpu *b, const struct weight *w, enum convert_from *from)
{
	switch (w->traits->type) {
	case QUANT_F32: *from = CONVERT_F32; return true;
	case QUANT_Q8_0: *from = CONVERT_Q8_0; return true;
	case QUANT_Q4_K: *from = CONVERT_Q4_K; return true;
	case QUANT_F16: *from = CONVERT_16; return b->dtype == GRETA_GPU_F16;
	case QUANT_BF16: *from = CONVERT_16; return b->dtype == GRETA_GPU_BF16;
	default: return false;
	}
}

static void tell_loaded(struct backend_gpu *b, uint64_t bytes)
{
	b->loaded_bytes += bytes;
	if (b->on_load)
		b->on_load(b->on_load_arg, b->loaded_bytes, b->model->weight_bytes);
}

/* Rows [row, row + n) of w through one slot. */
static int load_rows(struct backend_gpu *b, const struct weight *w, uint16_t *dst, int64_t ld, size_t row, size_t n,
		     struct greta_err *e)
{
	struct convert_args c = { .dst = dst + (int64_t)row * ld, .row_bytes = (int64_t)w->row_bytes, .ld = ld,
				  .n_in = (int32_t)w->n_in };
	struct fill f = { .b = b, .w = w, .from = (const uint8_t *)w->data + row * w->row_bytes, .to = greta_gpu_feed_slot(b->feed, e) };
	enum convert_from from = CONVERT_F32;

	if (!f.to)
		return -1;
	if (device_reads(b, w, &from)) {
		f.bytes = n * w->row_bytes;
		pool_run(b->pool, (int64_t)((f.bytes + PIECE_BYTES - 1) / PIECE_BYTES), copy_piece, &f);
	} else {
		c.row_bytes = (int64_t)w->n_in * 4;
		pool_run(b->pool, (int64_t)n, decode_row, &f);
	}
	c.from = from;
	tell_loaded(b, n * w->row_bytes);
	if (from == CONVERT_16 && f.bytes && ld == (int64_t)w->n_in)
		return greta_gpu_feed_raw(b->feed, c.dst, f.bytes, e);
	return greta_gpu_feed_convert(b->feed, b->dtype, c, (int64_t)n, e);
}

static int load_weight(struct backend_gpu *b, const struct weight *w, struct matrix *m, int32_t first_row, struct greta_err *e)
{
	size_t row_bytes = w->row_bytes > w->n_in * 4 ? w->row_bytes : w->n_in * 4, step = SLOT_BYTES / row_bytes;

	if (step == 0)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "tensor %s: rows of %zu values are too long for the gpu backend", w->name,
				     w->n_in);
	for (size_t row = 0; row < w->n_out; row += step) {
		size_t n = w->n_out - row < step ? w->n_out - row : step;

		if (load_rows(b, w, m->data + (int64_t)first_row * m->ld, m->ld, row, n, e))
			return greta_err_wrap(e, "tensor %s", w->name);
	}
	return 0;
}

/* Weights of the same input, one below the other. */
static int load_matrix(struct backend_gpu *b, struct matrix *m, const struct weight *const *parts, int n, struct greta_err *e)
{
	int32_t row = 0;

	m->n_in = (int32_t)parts[0]->n_in;
	m->ld = padded(parts[0]->n_in);
	m->n_out = 0;
	for (int i = 0; i < n; i++)
		m->n_out += (int32_t)parts[i]->n_out;
	m->data = greta_gpu_alloc(b->gpu, (size_t)m->n_out * (size_t)m->ld * 2, parts[0]->name, e);
	if (!m->data)
		return -1;
	for (int i = 0; i < n; i++) {
		if (load_weight(b, parts[i], m, row, e))
			return -1;
		row += (int32_t)parts[i]->n_out;
	}
	return 0;
}

/* Queued like the matrices: waiting for each would empty the ring. */
static int load_floats(struct backend_gpu *b, float **out, const float *src, size_t n, struct greta_err *e)
{
	*out = greta_gpu_alloc(b->gpu, n * sizeof **out, "a vector of the model", e);
	if (!*out)
		return -1;
	for (size_t at = 0, step = SLOT_BYTES / sizeof *src; at < n; at += step) {
		size_t k = n - at < step ? n - at : step;
		void *slot = greta_gpu_feed_slot(b->feed, e);

		if (!slot)
			return -1;
		memcpy(slot, src + at, k * sizeof *src);
		if (greta_gpu_feed_raw(b->feed, *out + at, k * sizeof *src, e))
			return -1;
	}
	return 0;
}

static int load_optional(struct backend_gpu *b, float **out, const float *src, size_t n, struct greta_err *e)
{
	return src ? load_floats(b, out, src, n, e) : 0;
}

static int load_qkv_bias(struct backend_gpu *b, float **out, const struct model_layer *l, struct greta_err *e)
{
	const struct weight *parts[] = { &l->q, &l->k, &l->v };
	size_t n = l->q.n_out + l->k.n_out + l->v.n_out, at = 0;
	float *all;
	int rc;

	if (!l->q.bias && !l->k.bias && !l->v.bias)
		return 0;
	all = greta_alloc(n * sizeof *all);
	for (size_t i = 0; i < GRETA_COUNT(parts); i++) {
		if (parts[i]->bias)
			memcpy(all + at, parts[i]->bias, parts[i]->n_out * sizeof *all);
		at += parts[i]->n_out;
	}
	rc = load_floats(b, out, all, n, e);
	free(all);
	return rc;
}

static int load_layer(struct backend_gpu *b, struct gpu_layer *g, const struct model_layer *l, struct greta_err *e)
{
	const struct weight *qkv[] = { &l->q, &l->k, &l->v }, *o[] = { &l->o }, *gate_up[] = { &l->gate, &l->up },
			    *down[] = { &l->down };
	size_t n_embd = b->model->n_embd;

	if (l->gate.bias || l->up.bias)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "a bias on %s: the gpu backend can't; use --backend cpu",
				     l->gate.bias ? l->gate.name : l->up.name);
	return load_matrix(b, &g->qkv, qkv, 3, e) || load_matrix(b, &g->o, o, 1, e) ||
	       load_matrix(b, &g->gate_up, gate_up, 2, e) || load_matrix(b, &g->down, down, 1, e) ||
	       load_floats(b, &g->attn_norm, l->attn_norm, n_embd, e) ||
	       load_floats(b, &g->ffn_norm, l->ffn_norm, n_embd, e) || load_qkv_bias(b, &g->qkv_bias, l, e) ||
	       load_optional(b, &g->o_bias, l->o.bias, n_embd, e) || load_optional(b, &g->down_bias, l->down.bias, n_embd, e) ? -1 : 0;
}

static int load_model(struct backend_gpu *b, struct greta_err *e)
{
	const struct model *m = b->model;
	const struct weight *embd[] = { &m->embd }, *output[] = { &m->output };

	if (load_matrix(b, &b->embd, embd, 1, e))
		return -1;
	if (m->output.data == m->embd.data)
		b->output = b->embd;
	else if (load_matrix(b, &b->output, output, 1, e))
		return -1;
	if (load_floats(b, &b->output_norm, m->output_norm, m->n_embd, e) ||
	    load_optional(b, &b->output_bias, m->output.bias, m->n_vocab, e))
		return -1;
	for (uint32_t i = 0; i < m->n_layer; i++)
		if (load_layer(b, &b->layers[i], &m->layers[i], e))
			return -1;
	return greta_gpu_sync(b->gpu, e);
}

/* --- backend ------------------------------------------------------------------------------------------------------ */

static void end_loading(struct backend_gpu *b)
{
	greta_gpu_feed_close(b->feed);
	pool_destroy(b->pool);
	if (b->fd >= 0)
		close(b->fd);
	b->feed = NULL;
	b->pool = NULL;
	b->fd = -1;
}

static void gpu_close(struct backend *base)
{
	struct backend_gpu *b = (struct backend_gpu *)base;

	end_loading(b);
	greta_gpu_close(b->gpu);
	free(b->layers);
	free(b);
}

static int check_model(const struct model *m, struct greta_err *e)
{
	if (m->head_dim % 2 || m->n_rot % 2)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "head_dim %u with %u rotated: the gpu backend wants even ones",
				     m->head_dim, m->n_rot);
	return greta_attn_supports(GRETA_ATTN_FLASH_V2_NAIVE, (int)m->head_dim, e);
}

/* What must fit beside the weights' own formats is known before anything is copied. */
static int check_room(const struct backend_gpu *b, struct greta_err *e)
{
	size_t free_bytes, peak, need = (size_t)b->model->n_params * 2 + 4 * SLOT_BYTES;
	char want[32], have[32];

	if (greta_gpu_mem(b->gpu, &free_bytes, &peak, e))
		return -1;
	if (need <= free_bytes)
		return 0;
	return greta_err_set(e, GRETA_ENOMEM, "the weights need %s of GPU memory, %s are free on %s",
			     greta_str_bytes(want, sizeof want, (double)need), greta_str_bytes(have, sizeof have, (double)free_bytes),
			     greta_gpu_info(b->gpu)->name);
}

static int open_parts(struct backend_gpu *b, const struct greta_engine_params *p, struct greta_err *e)
{
	const char *ordinal = getenv("GRETA_GPU");
	struct greta_gpu_options o = { .ordinal = ordinal ? (int)strtol(ordinal, NULL, 10) : 0 };
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	int threads = p->n_threads ? p->n_threads : (int)(cores < MAX_LOAD_THREADS ? cores : MAX_LOAD_THREADS);

	int64_t begun = greta_trace_region_begin();

	if (check_model(b->model, e) || greta_gpu_open(&b->gpu, &o, e))
		return -1;
	greta_trace_region_end("gpu context", begun);
	begun = greta_trace_region_begin();
	if (greta_gpu_gemm_start(b->gpu, getenv("GRETA_GPU_GEMM"), e) || check_room(b, e))
		return -1;
	greta_trace_region_end("gpu library", begun);
	begun = greta_trace_region_begin();
	b->fd = open(gguf_path(b->model->gguf), O_RDONLY | O_CLOEXEC);
	if (greta_gpu_feed_open(b->gpu, &b->feed, SLOT_BYTES, e) || !(b->pool = pool_create(threads > 0 ? threads : 1, e)) ||
	    load_model(b, e))
		return -1;
	end_loading(b);
	greta_trace_region_end("gpu weights", begun);
	return 0;
}

static int gpu_open(const struct model *m, const struct greta_engine_params *p, struct backend **out, struct greta_err *e)
{
	struct backend_gpu *b = greta_alloc(sizeof *b);
	const struct greta_gpu_info *info;

	b->base.ops = &backend_gpu;
	b->model = m;
	b->fd = -1;
	b->dtype = m->layers[0].q.traits->type == QUANT_BF16 ? GRETA_GPU_BF16 : GRETA_GPU_F16;
	b->layers = greta_alloc(m->n_layer * sizeof *b->layers);
	b->on_load = p->on_load;
	b->on_load_arg = p->on_load_arg;
	if (open_parts(b, p, e)) {
		gpu_close(&b->base);
		return -1;
	}
	info = greta_gpu_info(b->gpu);
	snprintf(b->device, sizeof b->device, "%s, %s, %d units, %s, %s, products by %s", info->name, info->arch, info->n_units,
		 info->driver, greta_gpu_dtype_name(b->dtype), greta_gpu_gemm_name(b->gpu));
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
	void *owned[] = { c->k, c->v, c->angles, c->tokens, c->x, c->h, c->wide, c->q, c->a, c->logits, c->counters };

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

	c->ld_h = padded(larger(m->n_embd, m->n_ff));
	c->ld_a = padded(n_q);
	c->ld_wide = padded(larger(n_q + 2 * n_kv, 2 * (size_t)m->n_ff));
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

/* What --inject asked of this backend (infer_inject.c). */
static int inject_faults(struct context_gpu *c, struct greta_err *e)
{
	const char *spin = getenv("GRETA_INJECT_GPU_SPIN");

	c->spin_layer = spin ? strtoll(spin, NULL, 10) : -1;
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
	if (choose_attn(c, p->attn, e) || inject_faults(c, e) || allocate(c, e) || make_angles(c, e) || open_page(c, e)) {
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

static int product(struct context_gpu *c, const struct matrix *w, const uint16_t *x, int64_t ldx, uint32_t n, void *out,
		   int64_t ldc, enum gemm_out kind, struct greta_err *e)
{
	const struct gemm_args a = { .x = x, .w = w->data, .c = out, .ldx = ldx, .ldw = w->ld, .ldc = ldc, .m = (int32_t)n,
				     .n = w->n_out, .k = (int32_t)w->ld, .out = kind };

	return greta_gpu_gemm(c->b->gpu, c->b->dtype, &a, e);
}

static int norm(struct context_gpu *c, const float *x, const float *w, uint32_t n, struct gpu_crumb crumb, struct greta_err *e)
{
	const struct model *m = c->b->model;
	const struct norm_args a = { .crumb = crumb, .x = x, .w = w, .y = c->h, .ldx = m->n_embd, .ldy = padded(m->n_embd),
				     .n_embd = (int32_t)m->n_embd, .n_pad = (int32_t)padded(m->n_embd), .eps = m->rms_eps };

	return greta_gpu_norm(c->b->gpu, c->b->dtype, &a, (int)n, e);
}

static int add_bias(struct context_gpu *c, const float *bias, uint32_t n, struct greta_err *e)
{
	const struct bias_args a = { .x = c->x, .bias = bias, .ldx = c->b->model->n_embd, .n = (int32_t)c->b->model->n_embd };

	return bias ? greta_gpu_bias(c->b->gpu, &a, (int)n, e) : 0;
}

static int attend(struct context_gpu *c, uint32_t layer, uint32_t n, uint32_t pos, struct greta_err *e)
{
	const struct model *m = c->b->model;
	const struct gpu_layer *l = &c->b->layers[layer];
	size_t n_kv = (size_t)m->n_head_kv * m->head_dim, cache = (size_t)layer * c->n_ctx * n_kv;
	int64_t ld_qkv = l->qkv.n_out + (8 - l->qkv.n_out % 8) % 8;
	const struct rope_args rope = {
		.crumb = queue_op(c, layer, GPU_OP_ROPE), .qkv = c->wide, .bias = l->qkv_bias, .table = c->angles, .q = c->q,
		.k = c->k + cache, .v = c->v + cache, .ld_qkv = ld_qkv, .ldq = c->ld_a, .ld_kv = (int64_t)n_kv,
		.pos0 = (int32_t)pos, .n_heads = (int32_t)m->n_head, .n_kv_heads = (int32_t)m->n_head_kv,
		.head_dim = (int32_t)m->head_dim, .n_rot = (int32_t)m->n_rot,
	};
	struct attn_args attn = {
		.crumb = queue_op(c, layer, GPU_OP_ATTN), .q = c->q, .k = rope.k, .v = rope.v, .o = c->a, .q_stride = c->ld_a,
		.kv_stride = (int64_t)n_kv, .o_stride = c->ld_a, .n = (int32_t)n, .pos0 = (int32_t)pos,
		.n_heads = (int32_t)m->n_head, .n_kv_heads = (int32_t)m->n_head_kv, .head_dim = (int32_t)m->head_dim,
		.scale_log2 = (float)(1.4426950408889634 / sqrt((double)m->head_dim)),
	};

	attn.crumb.counter = attn.crumb.page ? c->counters + layer : NULL;
	return product(c, &l->qkv, c->h, padded(m->n_embd), n, c->wide, ld_qkv, GEMM_OUT_ELEMENT, e) ||
	       greta_gpu_rope(c->b->gpu, c->b->dtype, &rope, (int)n, e) ||
	       greta_gpu_attn(c->b->gpu, c->attn, c->b->dtype, &attn, e) ||
	       product(c, &l->o, c->a, c->ld_a, n, c->x, m->n_embd, GEMM_OUT_ADD_F32, e) || add_bias(c, l->o_bias, n, e) ? -1 : 0;
}

static int feed_forward(struct context_gpu *c, uint32_t layer, uint32_t n, struct greta_err *e)
{
	const struct model *m = c->b->model;
	const struct gpu_layer *l = &c->b->layers[layer];
	int64_t ld_gu = 2 * (int64_t)m->n_ff + (8 - 2 * m->n_ff % 8) % 8, ld_ff = padded(m->n_ff);
	const struct swiglu_args swiglu = { .crumb = queue_op(c, layer, GPU_OP_SWIGLU), .gu = c->wide, .h = c->h, .ld_gu = ld_gu,
					    .ldh = ld_ff, .n_ff = (int32_t)m->n_ff, .n_pad = (int32_t)ld_ff };

	return product(c, &l->gate_up, c->h, padded(m->n_embd), n, c->wide, ld_gu, GEMM_OUT_ELEMENT, e) ||
	       greta_gpu_swiglu(c->b->gpu, c->b->dtype, &swiglu, (int)n, e) ||
	       product(c, &l->down, c->h, ld_ff, n, c->x, m->n_embd, GEMM_OUT_ADD_F32, e) ||
	       add_bias(c, l->down_bias, n, e) ? -1 : 0;
}

static int begin(struct context_gpu *c, const uint32_t *tokens, uint32_t n, struct greta_err *e)
{
	const struct model *m = c->b->model;
	const struct embed_args embed = { .crumb = queue_op(c, 0, GPU_OP_EMBED), .table = c->b->embd.data, .tokens = c->tokens,
					  .x = c->x, .ld_table = c->b->embd.ld, .ldx = m->n_embd, .n_embd = (int32_t)m->n_embd };

	c->n_last = n;
	c->told = 0;
	c->told_op = GPU_OP_NONE;
	return greta_gpu_upload(c->b->gpu, c->tokens, tokens, n * sizeof *tokens, e) ||
	       greta_gpu_fill(c->b->gpu, c->counters, 0, m->n_layer * sizeof *c->counters, e) ||
	       greta_gpu_embed(c->b->gpu, c->b->dtype, &embed, (int)n, e) ? -1 : 0;
}

static int gpu_forward(struct backend_context *base, const uint32_t *tokens, uint32_t n, uint32_t pos, struct greta_err *e)
{
	struct context_gpu *c = (struct context_gpu *)base;

	c->sequence++;
	if (begin(c, tokens, n, e))
		return -1;
	for (uint32_t i = 0; i < c->b->model->n_layer; i++) {
		const struct gpu_layer *l = &c->b->layers[i];

		if (norm(c, c->x, l->attn_norm, n, queue_op(c, i, GPU_OP_NORM), e) || attend(c, i, n, pos, e) ||
		    norm(c, c->x, l->ffn_norm, n, queue_op(c, i, GPU_OP_FFN_NORM), e) || feed_forward(c, i, n, e))
			return greta_err_wrap(e, "layer %u", i);
		if (i == c->spin_layer && greta_gpu_spin(c->b->gpu, queue_op(c, i, GPU_OP_ATTN), e))
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
		const struct bias_args bias = { .x = c->logits, .bias = c->b->output_bias, .ldx = m->n_vocab,
						.n = (int32_t)m->n_vocab };

		if (norm(c, c->x + (size_t)(row + i) * m->n_embd, c->b->output_norm, k,
			 queue_op(c, m->n_layer - 1, GPU_OP_LOGITS), e) ||
		    product(c, &c->b->output, c->h, padded(m->n_embd), k, c->logits, m->n_vocab, GEMM_OUT_F32, e) ||
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
