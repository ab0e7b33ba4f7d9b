#include "engine/gpu_model.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/trace.h"
#include "engine/gpu_load.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int64_t gpu_padded(size_t n)
{
	return (int64_t)((n + GPU_K_MULTIPLE - 1) / GPU_K_MULTIPLE * GPU_K_MULTIPLE);
}

/* ---- what goes where */

struct planning {
	struct gpu_model *g;
	struct greta_gpu *gpu;
	const struct model *m;
	struct gpu_load load;
};

/* How the device is to read a weight's rows; false: decode them to float32 here first. */
static bool device_reads(enum greta_gpu_dtype dtype, const struct weight *w, enum convert_from *from)
{
	switch (w->traits->type) {
	case QUANT_F32: *from = CONVERT_F32; return true;
	case QUANT_Q8_0: *from = CONVERT_Q8_0; return true;
	case QUANT_Q4_K: *from = CONVERT_Q4_K; return true;
	case QUANT_F16: *from = CONVERT_16; return dtype == GRETA_GPU_F16;
	case QUANT_BF16: *from = CONVERT_16; return dtype == GRETA_GPU_BF16;
	default: return false;
	}
}

static struct gpu_batch *add_batch(struct planning *p, const void *from, size_t bytes)
{
	struct gpu_batch *b = GRETA_PUSH(p->load.batches, p->load.n, p->load.cap);

	b->from = from;
	b->bytes = bytes;
	return b;
}

/* Rows [row, row + n) of w into dst, which is [rows][ld]. */
static void add_rows(struct planning *p, const struct weight *w, uint16_t *dst, int64_t ld, size_t row, size_t n)
{
	struct gpu_batch *b = add_batch(p, (const uint8_t *)w->data + row * w->row_bytes, n * w->row_bytes);
	enum convert_from from = CONVERT_F32;
	bool as_it_is = device_reads(p->g->dtype, w, &from);

	b->rows = n;
	dst += (int64_t)row * ld;
	if (as_it_is && from == CONVERT_16 && ld == (int64_t)w->n_in) {
		b->dst = dst;
		return;
	}
	b->decode = as_it_is ? NULL : w;
	b->convert = (struct convert_args){ .dst = dst, .row_bytes = (int64_t)(as_it_is ? w->row_bytes : w->n_in * 4), .ld = ld,
					    .n_in = (int32_t)w->n_in, .from = (int32_t)from };
}

static int add_weight(struct planning *p, const struct weight *w, struct gpu_matrix *m, int32_t first_row, struct greta_err *e)
{
	size_t row_bytes = w->row_bytes > w->n_in * 4 ? w->row_bytes : w->n_in * 4, step = GPU_LOAD_SLOT_BYTES / row_bytes;

	if (step == 0)
		return greta_err_set(e, GRETA_EUNSUPPORTED,
				     "tensor %s: rows of %zu values are too long for the gpu backend", w->name, w->n_in);
	for (size_t row = 0; row < w->n_out; row += step)
		add_rows(p, w, m->data + (int64_t)first_row * m->ld, m->ld, row, w->n_out - row < step ? w->n_out - row : step);
	return 0;
}

/* Weights of the same input, one below the other. */
static int add_matrix(struct planning *p, struct gpu_matrix *m, const struct weight *const *parts, int n, struct greta_err *e)
{
	int32_t row = 0;

	m->n_in = (int32_t)parts[0]->n_in;
	m->ld = gpu_padded(parts[0]->n_in);
	m->n_out = 0;
	for (int i = 0; i < n; i++)
		m->n_out += (int32_t)parts[i]->n_out;
	m->data = greta_gpu_alloc(p->gpu, (size_t)m->n_out * (size_t)m->ld * 2, parts[0]->name, e);
	if (!m->data)
		return -1;
	for (int i = 0; i < n; i++) {
		if (add_weight(p, parts[i], m, row, e))
			return -1;
		row += (int32_t)parts[i]->n_out;
	}
	return 0;
}

static int add_floats(struct planning *p, float **out, const float *src, size_t n, struct greta_err *e)
{
	*out = greta_gpu_alloc(p->gpu, n * sizeof **out, "a vector of the model", e);
	if (!*out)
		return -1;
	for (size_t at = 0, step = GPU_LOAD_SLOT_BYTES / sizeof *src; at < n; at += step)
		add_batch(p, src + at, (n - at < step ? n - at : step) * sizeof *src)->dst = *out + at;
	return 0;
}

static int add_optional(struct planning *p, float **out, const float *src, size_t n, struct greta_err *e)
{
	return src ? add_floats(p, out, src, n, e) : 0;
}

static int add_qkv_bias(struct planning *p, float **out, const struct model_layer *l, struct greta_err *e)
{
	const struct weight *parts[] = { &l->q, &l->k, &l->v };
	size_t n = l->q.n_out + l->k.n_out + l->v.n_out, at = 0;
	float *all;

	if (!l->q.bias && !l->k.bias && !l->v.bias)
		return 0;
	all = greta_alloc(n * sizeof *all);
	*GRETA_PUSH(p->load.owned, p->load.n_owned, p->load.cap_owned) = all;
	for (size_t i = 0; i < GRETA_COUNT(parts); i++) {
		if (parts[i]->bias)
			memcpy(all + at, parts[i]->bias, parts[i]->n_out * sizeof *all);
		at += parts[i]->n_out;
	}
	return add_floats(p, out, all, n, e);
}

static int add_layer(struct planning *p, struct gpu_layer *g, const struct model_layer *l, struct greta_err *e)
{
	const struct weight *qkv[] = { &l->q, &l->k, &l->v }, *o[] = { &l->o }, *gate_up[] = { &l->gate, &l->up },
			    *down[] = { &l->down };
	size_t n_embd = p->m->n_embd;

	if (l->gate.bias || l->up.bias)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "a bias on %s: the gpu backend can't; use --backend cpu",
				     l->gate.bias ? l->gate.name : l->up.name);
	return add_matrix(p, &g->qkv, qkv, 3, e) || add_matrix(p, &g->o, o, 1, e) || add_matrix(p, &g->gate_up, gate_up, 2, e) ||
	       add_matrix(p, &g->down, down, 1, e) || add_floats(p, &g->attn_norm, l->attn_norm, n_embd, e) ||
	       add_floats(p, &g->ffn_norm, l->ffn_norm, n_embd, e) || add_qkv_bias(p, &g->qkv_bias, l, e) ||
	       add_optional(p, &g->o_bias, l->o.bias, n_embd, e) || add_optional(p, &g->down_bias, l->down.bias, n_embd, e) ? -1 : 0;
}

static int add_model(struct planning *p, struct greta_err *e)
{
	const struct model *m = p->m;
	struct gpu_model *g = p->g;
	const struct weight *embd[] = { &m->embd }, *output[] = { &m->output };

	if (add_matrix(p, &g->embd, embd, 1, e))
		return -1;
	if (m->output.data == m->embd.data)
		g->output = g->embd;
	else if (add_matrix(p, &g->output, output, 1, e))
		return -1;
	if (add_floats(p, &g->output_norm, m->output_norm, m->n_embd, e) ||
	    add_optional(p, &g->output_bias, m->output.bias, m->n_vocab, e))
		return -1;
	for (uint32_t i = 0; i < m->n_layer; i++)
		if (add_layer(p, &g->layers[i], &m->layers[i], e))
			return -1;
	return 0;
}

/* What must fit beside the weights' own formats is known before anything is copied. */
static int check_room(struct greta_gpu *gpu, const struct model *m, struct greta_err *e)
{
	size_t free_bytes, peak, need = (size_t)m->n_params * 2 + GPU_LOAD_SLOTS * GPU_LOAD_SLOT_BYTES;
	char want[32], have[32];

	if (greta_gpu_mem(gpu, &free_bytes, &peak, e))
		return -1;
	if (need <= free_bytes)
		return 0;
	return greta_err_set(e, GRETA_ENOMEM, "the weights need %s of GPU memory, %s are free on %s",
			     greta_str_bytes(want, sizeof want, (double)need), greta_str_bytes(have, sizeof have, (double)free_bytes),
			     greta_gpu_info(gpu)->name);
}

/* ---- loading */

struct telling {
	const struct greta_engine_params *p;
	uint64_t done, total;
};

static void tell(void *arg, uint64_t bytes)
{
	struct telling *t = arg;

	t->done += bytes;
	if (t->p->on_load)
		t->p->on_load(t->p->on_load_arg, t->done < t->total ? t->done : t->total, t->total);
}

int gpu_model_load(struct gpu_model *g, struct greta_gpu *gpu, const struct model *m, const struct greta_engine_params *params,
		   struct greta_err *e)
{
	struct planning p = { .g = g, .gpu = gpu, .m = m };
	struct telling t = { .p = params, .total = m->weight_bytes };
	int n_threads = params->n_threads ? params->n_threads : (int)sysconf(_SC_NPROCESSORS_ONLN);
	int64_t begun = greta_trace_region_begin();
	int rc;

	*g = (struct gpu_model){ .layers = greta_alloc(m->n_layer * sizeof *g->layers) };
	g->dtype = m->layers[0].q.traits->type == QUANT_BF16 ? GRETA_GPU_BF16 : GRETA_GPU_F16;
	rc = check_room(gpu, m, e) || add_model(&p, e) ? -1 : 0;
	greta_trace_region_end("gpu memory", begun);
	if (rc == 0)
		rc = gpu_load_run(&p.load, gpu, g->dtype, m->gguf, n_threads, tell, &t, e);
	gpu_load_release(&p.load);
	return rc;
}

void gpu_model_release(struct gpu_model *g)
{
	free(g->layers);
	*g = (struct gpu_model){ 0 };
}
