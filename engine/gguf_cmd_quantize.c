#include "engine/gguf_cmd.h"

#include "base/clock.h"
#include "base/mem.h"
#include "engine/gguf_write.h"
#include "engine/parallel.h"
#include "engine/recipe.h"
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>

#define UNIT_VALUES (UINT64_C(1) << 20) /* of one piece of work and one write; a multiple of BATCH_VALUES */
#define BATCH_VALUES 4096               /* converted while they are in the first cache; a multiple of every block */

struct values {
	const char *type;
	int64_t threads;
	bool requantize;
};

static const struct greta_opt options[] = {
	{"type", 0, GRETA_OPT_STR, offsetof(struct values, type), "TYPE", "of the matrices (default Q8_0); see below"},
	{"requantize", 0, GRETA_OPT_FLAG, offsetof(struct values, requantize), NULL,
	 "also matrices that are quantized already, which loses more"},
	{"threads", 0, GRETA_OPT_I64, offsetof(struct values, threads), "N", "default: one for each core"},
	{0},
};

struct job {
	const struct gguf *g;
	struct gguf_write *out;
	const struct quant_traits **types; /* new, of each tensor */
	struct scratch {                   /* a worker's own */
		float values[BATCH_VALUES];
		uint8_t encoded[UNIT_VALUES * sizeof(float)];
	} * scratch;
};

static bool is_float(const struct quant_traits *t)
{
	return t->type == QUANT_F32 || t->type == QUANT_F16 || t->type == QUANT_BF16;
}

/* Matrices are converted; norms, biases and rope factors (one dimension) stay as they are. */
static int choose_type(const struct gguf *g, const struct gguf_tensor *t, const struct recipe *r, bool requantize,
		       const struct quant_traits **out, struct greta_err *e)
{
	uint32_t n_layers;

	*out = t->traits;
	if (t->n_dims < 2)
		return 0;
	if (!t->traits->to_f32)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "%s: tensor '%s' is of type %s, which is not supported",
				     gguf_path(g), t->name, t->traits->name);
	if (!is_float(t->traits) && !requantize)
		return greta_err_set(e, GRETA_EINVAL,
				     "%s: tensor '%s' is %s already; begin from F32, F16 or BF16, or add --requantize",
				     gguf_path(g), t->name, t->traits->name);
	if (gguf_get_u32_or(g, "llama.block_count", 0, &n_layers, e))
		return -1;
	*out = recipe_type(r, t->name, t->ne[0], n_layers, !gguf_tensor(g, "output.weight"));
	return 0;
}

/* --- values --- */

static uint64_t n_values(const struct gguf_tensor *t)
{
	return t->ne[0] * gguf_tensor_rows(t);
}

static size_t units_of(const struct gguf_tensor *t)
{
	return (size_t)((n_values(t) + UNIT_VALUES - 1) / UNIT_VALUES);
}

/* Halves reach to 65504, and every format but F32 and BF16 keeps its values or its scales in them. */
static int check_values(const struct job *j, const struct gguf_tensor *t, const struct quant_traits *to,
			const float *values, uint64_t n, uint64_t at, struct greta_err *e)
{
	float limit = to->type == QUANT_F32 || to->type == QUANT_BF16 ? FLT_MAX : 65504;

	for (uint64_t i = 0; i < n; i++)
		if (!(fabsf(values[i]) <= limit))
			return greta_err_set(e, GRETA_EINVAL,
					     "%s: tensor '%s': value %" PRIu64 " is %g, beyond type %s",
					     gguf_path(j->g), t->name, at + i, (double)values[i], to->name);
	return 0;
}

static int do_unit(void *arg, int worker, size_t unit, struct greta_err *e)
{
	const struct job *j = arg;
	struct scratch *s = &j->scratch[worker];
	size_t tensor = 0;

	while (unit >= units_of(gguf_tensor_at(j->g, tensor)))
		unit -= units_of(gguf_tensor_at(j->g, tensor++));
	const struct gguf_tensor *t = gguf_tensor_at(j->g, tensor);
	const struct quant_traits *to = j->types[tensor];
	uint64_t first = unit * UNIT_VALUES, left = n_values(t) - first, n = left < UNIT_VALUES ? left : UNIT_VALUES;
	const uint8_t *data = t->data;
	if (to == t->traits)
		return gguf_write_data(j->out, tensor, quant_bytes(to, first), data + quant_bytes(to, first),
				       quant_bytes(to, n), e);
	for (uint64_t i = 0; i < n; i += BATCH_VALUES) {
		uint64_t batch = n - i < BATCH_VALUES ? n - i : BATCH_VALUES;
		t->traits->to_f32(data + quant_bytes(t->traits, first + i), s->values, batch);
		if (check_values(j, t, to, s->values, batch, first + i, e))
			return -1;
		to->from_f32(s->values, s->encoded + quant_bytes(to, i), batch);
	}
	return gguf_write_data(j->out, tensor, quant_bytes(to, first), s->encoded, quant_bytes(to, n), e);
}

/* --- the file --- */

static void write_keys(const struct gguf *g, const struct recipe *r, struct gguf_write *w)
{
	for (size_t i = 0; i < gguf_n_kv(g); i++) {
		const struct gguf_kv *kv = gguf_kv_at(g, i);
		if (!greta_str_eq(kv->key, "general.file_type") &&
		    !greta_str_eq(kv->key, "general.quantization_version"))
			gguf_write_kv(w, kv);
	}
	gguf_write_u32(w, "general.file_type", r->file_type);
	gguf_write_u32(w, "general.quantization_version", 2);
	gguf_write_alignment(w, gguf_alignment(g));
}

static int plan(struct job *j, const struct values *v, struct greta_err *e)
{
	const struct recipe *r = recipe_named(v->type ? v->type : "Q8_0");

	if (!r)
		return greta_err_set(e, GRETA_EINVAL, "--type %s is not known; %s are", v->type, RECIPE_NAMES);
	if (gguf_cmd_usable(j->g, e))
		return -1;
	write_keys(j->g, r, j->out);
	for (size_t i = 0; i < gguf_n_tensors(j->g); i++) {
		const struct gguf_tensor *t = gguf_tensor_at(j->g, i);
		if (choose_type(j->g, t, r, v->requantize, &j->types[i], e))
			return -1;
		gguf_write_tensor(j->out, t->name, j->types[i], t->n_dims, t->ne);
	}
	return 0;
}

static int convert(struct job *j, const struct values *v, struct greta_err *e)
{
	int n_workers = parallel_workers(v->threads > 0 && v->threads < 1024 ? (int)v->threads : 0), rc;
	size_t n_units = 0;

	for (size_t i = 0; i < gguf_n_tensors(j->g); i++)
		n_units += units_of(gguf_tensor_at(j->g, i));
	j->scratch = greta_alloc((size_t)n_workers * sizeof *j->scratch);
	rc = parallel_run(n_units, n_workers, do_unit, j, e);
	free(j->scratch);
	return rc;
}

static int quantize(struct job *j, const struct values *v, struct greta_err *e)
{
	j->types = greta_alloc((gguf_n_tensors(j->g) + 1) * sizeof *j->types);
	int rc = plan(j, v, e) || gguf_write_start(j->out, e) || convert(j, v, e) || gguf_write_commit(j->out, e) ? -1
														  : 0;

	free(j->types);
	return rc;
}

static int run(void *values, const struct greta_strs *operands, struct greta_buf *out, struct greta_err *e)
{
	struct gguf *g = gguf_open(operands->items[0], e);
	struct job j = {.g = g};
	int64_t begun = greta_clock_mono_ns();
	char before[32], after[32], took[32];
	int rc = -1;

	if (g)
		j.out = gguf_write_create(operands->items[1], e);
	if (j.out && !quantize(&j, values, e)) {
		greta_buf_addf(out, "%s: %s became %s in %s\n", operands->items[1],
			       greta_str_bytes(before, sizeof before, (double)gguf_file_bytes(j.g)),
			       greta_str_bytes(after, sizeof after, (double)gguf_write_total_bytes(j.out)),
			       greta_str_seconds(took, sizeof took, (double)(greta_clock_mono_ns() - begun) / 1e9));
		rc = GGUF_EXIT_OK;
	}
	gguf_write_destroy(j.out);
	gguf_close(g);
	return rc;
}

const struct gguf_cmd gguf_cmd_quantize = {
	.name = "quantize",
	.opts =
		{
			.program = "greta-gguf quantize",
			.operands = "FILE NEW-FILE",
			.min_operands = 2,
			.max_operands = 2,
			.summary = "convert the matrices of a model to another type",
			.details = "Types: " RECIPE_NAMES ".\n"
				   "Values are rounded to nearest, without a search for better scales. Rows that a "
				   "type's blocks do not\n"
				   "divide fall back as llama.cpp's do. NEW-FILE appears whole or not at all.\n"
				   "\n"
				   "Example:\n"
				   "  greta-gguf quantize --type Q4_0 model-f16.gguf model-q4_0.gguf\n",
			.opts = options,
		},
	.values_bytes = sizeof(struct values),
	.run = run,
};
