#include "engine/synth.h"

#include "base/mem.h"
#include "base/str.h"
#include "engine/parallel.h"
#include "engine/recipe.h"
#include "engine/synth_normal.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <strings.h>

/* tiny is for demonstrations and tests: 10 MB in F16 and a context that a campaign can grow into. llama-0.2b is the
 * 201-million-parameter model that CPU speed is measured on. */
/* clang-format off */
static const struct synth_shape shapes[] = {
	/* name        layers  embd heads  kv  dim    ffn   vocab     ctx  rope theta  tied factors bpe */
	{"tiny",           4,  256,    8,   4,  32,   688,   4096,  32768,  10000.0f, false, false, false},
	{"llama-0.2b",    12, 1024,   16,   4,  64,  2816,  32000,  32768,  10000.0f, false, false, false},
	{"tinyllama",     22, 2048,   32,   4,  64,  5632,  32000,   2048,  10000.0f, false, false, false},
	{"llama2-7b",     32, 4096,   32,  32, 128, 11008,  32000,   4096,  10000.0f, false, false, false},
	{"llama2-13b",    40, 5120,   40,  40, 128, 13824,  32000,   4096,  10000.0f, false, false, false},
	{"llama2-70b",    80, 8192,   64,   8, 128, 28672,  32000,   4096,  10000.0f, false, false, false},
	{"llama3-8b",     32, 4096,   32,   8, 128, 14336, 128256,   8192, 500000.0f, false, false, true},
	{"llama3.1-8b",   32, 4096,   32,   8, 128, 14336, 128256, 131072, 500000.0f, false, true,  true},
	{"llama3.1-70b",  80, 8192,   64,   8, 128, 28672, 128256, 131072, 500000.0f, false, true,  true},
	{"llama3.2-1b",   16, 2048,   32,   8,  64,  8192, 128256, 131072, 500000.0f, true,  true,  true},
	{"llama3.2-3b",   28, 3072,   24,   8, 128,  8192, 128256, 131072, 500000.0f, true,  true,  true},
};
/* clang-format on */

const struct synth_shape *synth_shape_named(const char *name)
{
	for (size_t i = 0; i < GRETA_COUNT(shapes); i++)
		if (!strcasecmp(shapes[i].name, name))
			return &shapes[i];
	return NULL;
}

/* --- the tensors --- */

enum fill { FILL_NORMAL, FILL_NORM_WEIGHT, FILL_ROPE_FACTORS };

struct plan_tensor {
	char name[GGUF_MAX_NAME + 1];
	const struct quant_traits *type;
	int n_dims;
	uint64_t ne[2];
	enum fill fill;
	float deviation;
};

struct plan {
	const struct synth_spec *spec;
	const struct recipe *recipe;
	struct plan_tensor *tensors;
	size_t n, cap;
};

static void add_matrix(struct plan *p, const char *name, uint64_t n_in, uint64_t n_out)
{
	struct plan_tensor *t = GRETA_PUSH(p->tensors, p->n, p->cap);

	greta_str_copy(t->name, sizeof t->name, name);
	t->type = recipe_type(p->recipe, name, n_in, p->spec->shape.n_layers, p->spec->shape.tied);
	t->n_dims = 2;
	t->ne[0] = n_in;
	t->ne[1] = n_out;
	t->fill = FILL_NORMAL;
	t->deviation = 1 / sqrtf((float)n_in);
}

static void add_vector(struct plan *p, const char *name, uint64_t n, enum fill fill)
{
	struct plan_tensor *t = GRETA_PUSH(p->tensors, p->n, p->cap);

	greta_str_copy(t->name, sizeof t->name, name);
	t->type = quant_traits(QUANT_F32);
	t->n_dims = 1;
	t->ne[0] = n;
	t->ne[1] = 1;
	t->fill = fill;
	t->deviation = 0.1f;
}

static void add_layer(struct plan *p, uint32_t i)
{
	const struct synth_shape *s = &p->spec->shape;
	uint64_t q = (uint64_t)s->n_heads * s->head_dim, kv = (uint64_t)s->n_kv_heads * s->head_dim;
	const struct {
		const char *name;
		uint64_t n_in, n_out; /* n_out 0: a norm */
	} parts[] = {
		{"attn_norm", s->n_embd, 0},       {"attn_q", s->n_embd, q},        {"attn_k", s->n_embd, kv},
		{"attn_v", s->n_embd, kv},         {"attn_output", q, s->n_embd},   {"ffn_norm", s->n_embd, 0},
		{"ffn_gate", s->n_embd, s->n_ffn}, {"ffn_up", s->n_embd, s->n_ffn}, {"ffn_down", s->n_ffn, s->n_embd},
	};
	char name[GGUF_MAX_NAME + 1];

	for (size_t k = 0; k < GRETA_COUNT(parts); k++) {
		snprintf(name, sizeof name, "blk.%" PRIu32 ".%s.weight", i, parts[k].name);
		if (parts[k].n_out)
			add_matrix(p, name, parts[k].n_in, parts[k].n_out);
		else
			add_vector(p, name, parts[k].n_in, FILL_NORM_WEIGHT);
	}
}

static void plan_init(struct plan *p, const struct synth_spec *spec)
{
	const struct synth_shape *s = &spec->shape;

	*p = (struct plan){.spec = spec, .recipe = recipe_named(spec->type)};
	add_matrix(p, "token_embd.weight", s->n_embd, s->n_vocab);
	if (s->rope_factors)
		add_vector(p, "rope_freqs.weight", s->head_dim / 2, FILL_ROPE_FACTORS);
	for (uint32_t i = 0; i < s->n_layers; i++)
		add_layer(p, i);
	add_vector(p, "output_norm.weight", s->n_embd, FILL_NORM_WEIGHT);
	if (!s->tied)
		add_matrix(p, "output.weight", s->n_embd, s->n_vocab);
}

static void plan_release(struct plan *p)
{
	free(p->tensors);
}

uint64_t synth_parameters(const struct synth_shape *s)
{
	struct synth_spec spec = {.shape = *s, .type = "F32"};
	struct plan p;
	uint64_t n = 0;

	plan_init(&p, &spec);
	for (size_t i = 0; i < p.n; i++)
		n += p.tensors[i].fill == FILL_ROPE_FACTORS ? 0 : p.tensors[i].ne[0] * p.tensors[i].ne[1];
	plan_release(&p);
	return n;
}

/* --- values --- */

#define UNIT_VALUES (UINT64_C(1) << 20) /* of one piece of work and one write; a multiple of BATCH_VALUES */
#define BATCH_VALUES 4096 /* made and encoded while they are in the first cache; a multiple of every block */

struct work {
	const struct plan *plan;
	struct gguf_write *out;
	struct scratch { /* a worker's own */
		float values[BATCH_VALUES + SYNTH_NORMAL_GROUP];
		uint8_t encoded[UNIT_VALUES * sizeof(float)];
	} * scratch;
};

/* Llama 3.1's stretching of the slow frequencies: factor 8 below a quarter turn in 8192 positions, 1 above one turn,
 * smooth between (the reference implementation's constants). */
static void rope_factors(const struct synth_shape *s, float *out)
{
	for (uint32_t i = 0; i < s->head_dim / 2; i++) { /* head_dim is at most 256: one batch */
		double freq = pow((double)s->rope_theta, -2.0 * i / s->head_dim);
		double turns = 8192 * freq / (2 * M_PI), smooth = (turns - 1) / (4 - 1);
		out[i] = turns < 1 ? 8.0f : turns > 4 ? 1.0f : (float)(1 / ((1 - smooth) / 8 + smooth));
	}
}

/* Values first .. first + n - 1 of tensor i. The buffer has room for whole groups. */
static void make_values(const struct plan *p, size_t i, uint64_t first, uint64_t n, float *out)
{
	const struct plan_tensor *t = &p->tensors[i];
	uint64_t groups = (n + SYNTH_NORMAL_GROUP - 1) / SYNTH_NORMAL_GROUP;

	if (t->fill == FILL_ROPE_FACTORS)
		rope_factors(&p->spec->shape, out);
	else
		synth_normal(synth_normal_key(p->spec->seed, i), first, groups * SYNTH_NORMAL_GROUP,
			     t->fill == FILL_NORM_WEIGHT ? 1 : 0, t->deviation, out);
}

static size_t units_of(const struct plan_tensor *t)
{
	return (size_t)((t->ne[0] * t->ne[1] + UNIT_VALUES - 1) / UNIT_VALUES);
}

static size_t count_units(const struct plan *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += units_of(&p->tensors[i]);
	return n;
}

static int do_unit(void *arg, int worker, size_t unit, struct greta_err *e)
{
	const struct work *w = arg;
	struct scratch *s = &w->scratch[worker];
	size_t tensor = 0;

	while (unit >= units_of(&w->plan->tensors[tensor]))
		unit -= units_of(&w->plan->tensors[tensor++]);
	const struct plan_tensor *t = &w->plan->tensors[tensor];
	uint64_t total = t->ne[0] * t->ne[1], first = unit * UNIT_VALUES;
	uint64_t n = total - first < UNIT_VALUES ? total - first : UNIT_VALUES;
	for (uint64_t i = 0; i < n; i += BATCH_VALUES) {
		uint64_t batch = n - i < BATCH_VALUES ? n - i : BATCH_VALUES;
		make_values(w->plan, tensor, first + i, batch, s->values);
		t->type->from_f32(s->values, s->encoded + quant_bytes(t->type, i), batch);
	}
	return gguf_write_data(w->out, tensor, quant_bytes(t->type, first), s->encoded, quant_bytes(t->type, n), e);
}

static int write_values(const struct plan *p, struct gguf_write *out, struct greta_err *e)
{
	int n_workers = parallel_workers(p->spec->n_threads), rc;
	struct work w = {.plan = p, .out = out, .scratch = greta_alloc((size_t)n_workers * sizeof *w.scratch)};

	rc = parallel_run(count_units(p), n_workers, do_unit, &w, e);
	free(w.scratch);
	return rc;
}

/* --- the file --- */

static void write_keys(const struct plan *p, struct gguf_write *w)
{
	const struct synth_shape *s = &p->spec->shape;

	gguf_write_str(w, "general.architecture", "llama");
	gguf_write_str(w, "general.name", s->name);
	gguf_write_str(w, "general.description", "random weights, for benchmarks; made by greta-gguf synth");
	gguf_write_u32(w, "general.file_type", p->recipe->file_type);
	gguf_write_u32(w, "general.quantization_version", 2);
	gguf_write_u32(w, "llama.vocab_size", s->n_vocab);
	gguf_write_u32(w, "llama.context_length", s->n_ctx);
	gguf_write_u32(w, "llama.embedding_length", s->n_embd);
	gguf_write_u32(w, "llama.block_count", s->n_layers);
	gguf_write_u32(w, "llama.feed_forward_length", s->n_ffn);
	gguf_write_u32(w, "llama.attention.head_count", s->n_heads);
	gguf_write_u32(w, "llama.attention.head_count_kv", s->n_kv_heads);
	gguf_write_u32(w, "llama.attention.key_length", s->head_dim);
	gguf_write_u32(w, "llama.attention.value_length", s->head_dim);
	gguf_write_u32(w, "llama.rope.dimension_count", s->head_dim);
	gguf_write_f32(w, "llama.rope.freq_base", s->rope_theta);
	gguf_write_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
	synth_vocab(s, w);
}

static int check_range(const char *option, uint64_t value, uint64_t min, uint64_t max, struct greta_err *e)
{
	if (value >= min && value <= max)
		return 0;
	return greta_err_set(e, GRETA_EINVAL, "--%s is %" PRIu64 ", %" PRIu64 " to %" PRIu64 " is expected", option,
			     value, min, max);
}

int synth_check(const struct synth_spec *spec, struct greta_err *e)
{
	const struct synth_shape *s = &spec->shape;

	if (!recipe_named(spec->type))
		return greta_err_set(e, GRETA_EINVAL, "--type %s is not known; %s are", spec->type, RECIPE_NAMES);
	if (check_range("layers", s->n_layers, 1, 10000, e) || check_range("embd", s->n_embd, 2, 1 << 20, e) ||
	    check_range("heads", s->n_heads, 1, 1 << 16, e) ||
	    check_range("kv-heads", s->n_kv_heads, 1, s->n_heads, e) ||
	    check_range("head-dim", s->head_dim, 2, 256, e) || check_range("ffn", s->n_ffn, 1, 1 << 22, e) ||
	    check_range("vocab", s->n_vocab, SYNTH_MIN_VOCAB, 1 << 22, e) ||
	    check_range("ctx", s->n_ctx, 1, INT32_MAX, e))
		return -1;
	if (s->n_heads % s->n_kv_heads)
		return greta_err_set(e, GRETA_EINVAL, "--heads %" PRIu32 " is not a multiple of --kv-heads %" PRIu32,
				     s->n_heads, s->n_kv_heads);
	if (s->head_dim % 2)
		return greta_err_set(e, GRETA_EINVAL, "--head-dim %" PRIu32 " is odd, and rotation takes pairs",
				     s->head_dim);
	return 0;
}

int synth_file(const struct synth_spec *spec, const char *path, uint64_t *file_bytes, struct greta_err *e)
{
	struct gguf_write *w;
	struct plan p;
	int rc = -1;

	if (synth_check(spec, e))
		return -1;
	w = gguf_write_create(path, e);
	if (!w)
		return -1;
	plan_init(&p, spec);
	write_keys(&p, w);
	for (size_t i = 0; i < p.n; i++)
		gguf_write_tensor(w, p.tensors[i].name, p.tensors[i].type, p.tensors[i].n_dims, p.tensors[i].ne);
	if (!gguf_write_start(w, e) && !write_values(&p, w, e) && !gguf_write_commit(w, e))
		rc = 0;
	if (file_bytes)
		*file_bytes = gguf_write_total_bytes(w);
	gguf_write_destroy(w);
	plan_release(&p);
	return rc;
}
