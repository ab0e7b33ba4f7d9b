#include "engine/model.h"
#include "base/mem.h"
#include "base/str.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define MODEL_MAX_LAYERS 1024
#define MODEL_MAX_HEAD_DIM 256 /* the attention implementations' limit */

/* What one binding needs everywhere: the file, the model, and how many tensors found a use. */
struct binder {
	const struct gguf *g;
	struct model *m;
	struct greta_err *e;
	size_t n_used;
};

static int refuse(struct binder *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct binder *b, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return greta_err_set(b->e, GRETA_EINVAL, "%s: %s", gguf_path(b->g), text);
}

/* --- hyperparameters ---------------------------------------------------------------------------------------------- */

static int get_count(struct binder *b, const char *key, uint32_t min, uint32_t max, uint32_t *out)
{
	uint32_t value;

	if (gguf_get_u32(b->g, key, &value, b->e))
		return -1;
	if (value < min || value > max)
		return refuse(b, "key %s: %u is not between %u and %u", key, value, min, max);
	*out = value;
	return 0;
}

static int get_count_or(struct binder *b, const char *key, uint32_t fallback, uint32_t min, uint32_t max, uint32_t *out)
{
	if (gguf_find(b->g, key))
		return get_count(b, key, min, max, out);
	*out = fallback;
	return 0;
}

static int check_architecture(struct binder *b)
{
	struct gguf_str arch;

	if (gguf_get_str(b->g, "general.architecture", &arch, b->e))
		return -1;
	if (!gguf_str_eq(arch, "llama")) {
		greta_err_set(b->e, GRETA_EUNSUPPORTED,
			      "%s: general.architecture is \"%.*s\": this engine runs \"llama\" only", gguf_path(b->g),
			      arch.n < 60 ? (int)arch.n : 60, arch.s);
		return -1;
	}
	return 0;
}

/* Keys of the llama family that would change the result and are not implemented. */
static int check_unsupported_keys(struct binder *b)
{
	uint32_t n_experts;
	float scale;

	if (gguf_get_u32_or(b->g, "llama.expert_count", 0, &n_experts, b->e) ||
	    gguf_get_f32_or(b->g, "llama.rope.scaling.attn_factor", 1.0f, &scale, b->e))
		return -1;
	if (n_experts)
		return refuse(b, "key llama.expert_count: %u: mixtures of experts are not supported", n_experts);
	if (scale != 1.0f)
		return refuse(b, "key llama.rope.scaling.attn_factor: %g: only 1 is supported", (double)scale);
	return 0;
}

static int read_shape(struct binder *b)
{
	struct model *m = b->m;
	uint32_t value_dim;

	if (get_count(b, "llama.embedding_length", 1, 1 << 20, &m->n_embd) ||
	    get_count(b, "llama.block_count", 1, MODEL_MAX_LAYERS, &m->n_layer) ||
	    get_count(b, "llama.feed_forward_length", 1, 1 << 22, &m->n_ff) ||
	    get_count(b, "llama.attention.head_count", 1, 1 << 16, &m->n_head) ||
	    get_count_or(b, "llama.attention.head_count_kv", m->n_head, 1, 1 << 16, &m->n_head_kv) ||
	    get_count(b, "llama.context_length", 1, 1 << 30, &m->n_ctx))
		return -1;
	if (m->n_head % m->n_head_kv)
		return refuse(b, "key llama.attention.head_count_kv: %u does not divide head_count %u", m->n_head_kv, m->n_head);
	if (!gguf_find(b->g, "llama.attention.key_length") && m->n_embd % m->n_head)
		return refuse(b, "key llama.attention.head_count: %u does not divide embedding_length %u, and there is no "
				 "llama.attention.key_length", m->n_head, m->n_embd);
	if (get_count_or(b, "llama.attention.key_length", m->n_embd / m->n_head, 1, MODEL_MAX_HEAD_DIM, &m->head_dim) ||
	    get_count_or(b, "llama.attention.value_length", m->head_dim, 1, MODEL_MAX_HEAD_DIM, &value_dim) ||
	    get_count_or(b, "llama.rope.dimension_count", m->head_dim, 2, m->head_dim, &m->n_rot))
		return -1;
	if (value_dim != m->head_dim)
		return refuse(b, "key llama.attention.value_length: %u differs from the key length %u: not supported", value_dim,
			      m->head_dim);
	if (m->head_dim > MODEL_MAX_HEAD_DIM)
		return refuse(b, "head dimension %u (embedding_length %u / head_count %u) is above %d: not supported", m->head_dim,
			      m->n_embd, m->n_head, MODEL_MAX_HEAD_DIM);
	if (m->n_rot % 2)
		return refuse(b, "key llama.rope.dimension_count: %u is odd", m->n_rot);
	return 0;
}

static int read_eps(struct binder *b)
{
	static const char key[] = "llama.attention.layer_norm_rms_epsilon";

	if (gguf_get_f32(b->g, key, &b->m->rms_eps, b->e))
		return -1;
	if (!(b->m->rms_eps >= 0.0f && b->m->rms_eps <= 1.0f))
		return refuse(b, "key %s: %g is not between 0 and 1", key, (double)b->m->rms_eps);
	return 0;
}

/* --- tensors ------------------------------------------------------------------------------------------------------ */

static const struct gguf_tensor *find_tensor(struct binder *b, const char *name, bool must)
{
	const struct gguf_tensor *t = gguf_tensor(b->g, name);

	if (!t && must)
		refuse(b, "tensor %s is missing", name);
	if (!t)
		return NULL;
	b->n_used++;
	b->m->n_params += gguf_tensor_rows(t) * t->ne[0];
	b->m->weight_bytes += t->bytes;
	return t;
}

static int check_tensor(struct binder *b, const struct gguf_tensor *t, uint64_t n_in, uint64_t n_out)
{
	if (t->ne[0] != n_in || t->ne[1] != n_out || t->ne[2] != 1 || t->ne[3] != 1)
		return refuse(b, "tensor %s: shape %llu x %llu x %llu x %llu, expected %llu x %llu", t->name,
			      (unsigned long long)t->ne[0], (unsigned long long)t->ne[1], (unsigned long long)t->ne[2],
			      (unsigned long long)t->ne[3], (unsigned long long)n_in, (unsigned long long)n_out);
	if (!t->traits->to_f32) {
		greta_err_set(b->e, GRETA_EUNSUPPORTED, "%s: tensor %s: type %s is not supported (F32, F16, BF16, Q8_0, Q4_0, "
			      "Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K are)", gguf_path(b->g), t->name, t->traits->name);
		return -1;
	}
	return 0;
}

static int bind_vector(struct binder *b, const char *name, uint64_t n, bool must, float **out)
{
	const struct gguf_tensor *t = find_tensor(b, name, must);

	if (!t)
		return must ? -1 : 0;
	if (check_tensor(b, t, n, 1))
		return -1;
	*out = greta_try_alloc(n, sizeof **out);
	if (!*out)
		return greta_err_set(b->e, GRETA_ENOMEM, "%s: no memory for tensor %s", gguf_path(b->g), name);
	t->traits->to_f32(t->data, *out, n);
	return 0;
}

static int bind_weight(struct binder *b, const char *stem, uint64_t n_in, uint64_t n_out, struct weight *w)
{
	char name[GGUF_MAX_NAME + 16];

	snprintf(name, sizeof name, "%s.weight", stem);
	const struct gguf_tensor *t = find_tensor(b, name, true);
	if (!t || check_tensor(b, t, n_in, n_out))
		return -1;
	*w = (struct weight){.name = t->name, .traits = t->traits, .data = t->data, .n_in = n_in, .n_out = n_out};
	w->row_bytes = quant_bytes(t->traits, n_in);
	snprintf(name, sizeof name, "%s.bias", stem);
	return bind_vector(b, name, n_out, false, &w->bias);
}

static int bind_layer(struct binder *b, uint32_t i)
{
	struct model *m = b->m;
	struct model_layer *l = &m->layers[i];
	uint64_t n_q = (uint64_t)m->n_head * m->head_dim, n_kv = (uint64_t)m->n_head_kv * m->head_dim;
	const struct {
		const char *part;
		uint64_t n_in, n_out;
		struct weight *w;
	} weights[] = {
		{"attn_q", m->n_embd, n_q, &l->q},           {"attn_k", m->n_embd, n_kv, &l->k},
		{"attn_v", m->n_embd, n_kv, &l->v},          {"attn_output", n_q, m->n_embd, &l->o},
		{"ffn_gate", m->n_embd, m->n_ff, &l->gate},  {"ffn_up", m->n_embd, m->n_ff, &l->up},
		{"ffn_down", m->n_ff, m->n_embd, &l->down},
	};
	char name[64];

	snprintf(name, sizeof name, "blk.%u.attn_norm.weight", i);
	if (bind_vector(b, name, m->n_embd, true, &l->attn_norm))
		return -1;
	snprintf(name, sizeof name, "blk.%u.ffn_norm.weight", i);
	if (bind_vector(b, name, m->n_embd, true, &l->ffn_norm))
		return -1;
	for (size_t k = 0; k < GRETA_COUNT(weights); k++) {
		snprintf(name, sizeof name, "blk.%u.%s", i, weights[k].part);
		if (bind_weight(b, name, weights[k].n_in, weights[k].n_out, weights[k].w))
			return -1;
	}
	return 0;
}

static int bind_embedding(struct binder *b)
{
	struct model *m = b->m;
	const struct gguf_tensor *t = gguf_tensor(b->g, "token_embd.weight");

	if (!t)
		return refuse(b, "tensor token_embd.weight is missing");
	if (t->ne[1] > 1 << 26)
		return refuse(b, "tensor token_embd.weight: %llu rows: more than this engine's tokens",
			      (unsigned long long)t->ne[1]);
	m->n_vocab = (uint32_t)t->ne[1];
	if (bind_weight(b, "token_embd", m->n_embd, m->n_vocab, &m->embd) ||
	    bind_vector(b, "output_norm.weight", m->n_embd, true, &m->output_norm))
		return -1;
	if (m->embd.bias)
		return refuse(b, "tensor token_embd.bias: not part of this architecture");
	m->output = m->embd;
	return gguf_tensor(b->g, "output.weight") ? bind_weight(b, "output", m->n_embd, m->n_vocab, &m->output) : 0;
}

/* Tensors that are there and found no use would make the result differ silently. */
static int check_all_used(struct binder *b)
{
	if (b->n_used == gguf_n_tensors(b->g))
		return 0;
	for (size_t i = 0; i < gguf_n_tensors(b->g); i++) {
		const char *name = gguf_tensor_at(b->g, i)->name;
		unsigned layer;
		int len = 0;
		bool in_layer = sscanf(name, "blk.%u.%n", &layer, &len) == 1 && len > 0;
		if (in_layer && layer >= b->m->n_layer)
			return refuse(b, "tensor %s: there are only %u layers (llama.block_count)", name, b->m->n_layer);
		static const char *const known[] = {"attn_norm.weight", "ffn_norm.weight", "attn_q.", "attn_k.", "attn_v.",
						    "attn_output.", "ffn_gate.", "ffn_up.", "ffn_down."};
		static const char *const top[] = {"token_embd.weight", "output_norm.weight", "output.", "rope_freqs.weight"};
		const char *const *list = in_layer ? known : top;
		size_t n = in_layer ? GRETA_COUNT(known) : GRETA_COUNT(top);
		bool found = false;
		for (size_t k = 0; k < n; k++)
			found |= greta_str_starts(name + len, list[k]);
		if (!found)
			return refuse(b, "tensor %s is not part of the llama architecture as this engine knows it", name);
	}
	return refuse(b, "%zu tensors, of which only %zu have a place in this model", gguf_n_tensors(b->g), b->n_used);
}

/* --- rotary frequencies ------------------------------------------------------------------------------------------- */

static int read_rope_scale(struct binder *b, double *position_scale)
{
	struct gguf_str type;
	float factor, old;

	if (gguf_get_str_or(b->g, "llama.rope.scaling.type", "", &type, b->e) ||
	    gguf_get_f32_or(b->g, "llama.rope.scale_linear", 0.0f, &old, b->e) ||
	    gguf_get_f32_or(b->g, "llama.rope.scaling.factor", old, &factor, b->e))
		return -1;
	*position_scale = 1.0;
	if (gguf_str_eq(type, "none"))
		return 0;
	if (type.n && !gguf_str_eq(type, "linear"))
		return refuse(b, "key llama.rope.scaling.type: \"%.*s\" is not supported (none and linear are)",
			      type.n < 40 ? (int)type.n : 40, type.s);
	if (!(factor >= 0.0f) || isinf(factor))
		return refuse(b, "key llama.rope.scaling.factor: %g is no factor", (double)factor);
	if (factor != 0.0f)
		*position_scale = 1.0 / (double)factor;
	return 0;
}

static int read_rope(struct binder *b)
{
	struct model *m = b->m;
	uint32_t n = m->n_rot / 2;
	float base, *factors = NULL;
	double scale;

	if (gguf_get_f32_or(b->g, "llama.rope.freq_base", 10000.0f, &base, b->e) || read_rope_scale(b, &scale))
		return -1;
	if (!(base > 0.0f) || isinf(base))
		return refuse(b, "key llama.rope.freq_base: %g is no positive number", (double)base);
	if (bind_vector(b, "rope_freqs.weight", n, false, &factors))
		return -1;
	m->rope_freq = greta_alloc(n * sizeof *m->rope_freq);
	for (uint32_t i = 0; i < n; i++) {
		double factor = factors ? (double)factors[i] : 1.0;
		m->rope_freq[i] = scale * pow((double)base, -2.0 * i / m->n_rot) / factor;
		if (!isfinite(m->rope_freq[i])) {
			refuse(b, "tensor rope_freqs.weight: value %u is %g", i, factor);
			free(factors);
			return -1;
		}
	}
	free(factors);
	return 0;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static void find_dtype(struct model *m)
{
	uint64_t bytes[QUANT_ID_LIMIT] = {0}, most = 0;

	for (size_t i = 0; i < gguf_n_tensors(m->gguf); i++) {
		const struct gguf_tensor *t = gguf_tensor_at(m->gguf, i);
		bytes[t->traits->type] += t->bytes;
		if (bytes[t->traits->type] > most) {
			most = bytes[t->traits->type];
			m->dtype = t->traits->name;
		}
	}
}

static int bind_all(struct binder *b)
{
	struct model *m = b->m;

	if (check_architecture(b) || check_unsupported_keys(b) || read_shape(b) || read_eps(b))
		return -1;
	m->layers = greta_alloc(m->n_layer * sizeof *m->layers);
	if (bind_embedding(b) || read_rope(b))
		return -1;
	for (uint32_t i = 0; i < m->n_layer; i++)
		if (bind_layer(b, i))
			return -1;
	if (check_all_used(b))
		return -1;
	find_dtype(m);
	return 0;
}

int model_bind(struct model *m, const struct gguf *g, struct greta_err *e)
{
	*m = (struct model){.gguf = g};
	struct binder b = {.g = g, .m = m, .e = e};

	if (bind_all(&b) == 0)
		return 0;
	model_release(m);
	return -1;
}

void model_release(struct model *m)
{
	for (uint32_t i = 0; m->layers && i < m->n_layer; i++) {
		struct model_layer *l = &m->layers[i];
		float *owned[] = {l->attn_norm, l->ffn_norm, l->q.bias, l->k.bias, l->v.bias,
				  l->o.bias, l->gate.bias, l->up.bias, l->down.bias};
		for (size_t k = 0; k < GRETA_COUNT(owned); k++)
			free(owned[k]);
	}
	free(m->layers);
	if (m->output.bias != m->embd.bias)
		free(m->output.bias);
	free(m->embd.bias);
	free(m->output_norm);
	free(m->rope_freq);
	*m = (struct model){0};
}

double model_prefill_flops(const struct model *m, uint64_t n)
{
	double n_q = (double)m->n_head * m->head_dim, n_kv = (double)m->n_head_kv * m->head_dim;
	double per_layer = (double)m->n_embd * (2 * n_q + 2 * n_kv + 3.0 * m->n_ff);
	double pairs = (double)n * ((double)n + 1.0) / 2.0;

	return 2.0 * per_layer * m->n_layer * (double)n + 4.0 * n_q * pairs * m->n_layer +
	       2.0 * (double)m->n_embd * m->n_vocab;
}
