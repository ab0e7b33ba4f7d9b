#include "engine/gguf_cmd.h"

#include "base/clock.h"
#include "engine/recipe.h"
#include "engine/synth.h"
#include <stddef.h>

struct values {
	const char *like, *type, *name, *tokenizer;
	int64_t layers, embd, heads, kv_heads, head_dim, ffn, vocab, ctx, seed, threads;
	double rope_theta;
	bool tied;
};

#define AT(member) offsetof(struct values, member)

static const struct greta_opt options[] = {
	{"like", 0, GRETA_OPT_STR, AT(like), "NAME", "begin from this shape (default tiny); see below"},
	{"type", 0, GRETA_OPT_STR, AT(type), "TYPE", "of the matrices (default F16); see below"},
	{"seed", 0, GRETA_OPT_I64, AT(seed), "N", "another seed, other weights (default 0)"},
	{"layers", 0, GRETA_OPT_I64, AT(layers), "N", "transformer blocks"},
	{"embd", 0, GRETA_OPT_I64, AT(embd), "N", "values in a token's embedding"},
	{"heads", 0, GRETA_OPT_I64, AT(heads), "N", "attention heads"},
	{"kv-heads", 0, GRETA_OPT_I64, AT(kv_heads), "N", "heads of keys and values (default: as --heads)"},
	{"head-dim", 0, GRETA_OPT_I64, AT(head_dim), "N", "values in a head (default: --embd / --heads)"},
	{"ffn", 0, GRETA_OPT_I64, AT(ffn), "N", "width of the feed-forward part"},
	{"vocab", 0, GRETA_OPT_I64, AT(vocab), "N", "tokens in the vocabulary, 259 at least"},
	{"ctx", 0, GRETA_OPT_I64, AT(ctx), "N", "llama.context_length"},
	{"rope-theta", 0, GRETA_OPT_F64, AT(rope_theta), "X", "base of the rotation frequencies"},
	{"tied", 0, GRETA_OPT_FLAG, AT(tied), NULL, "no output matrix: the token embedding serves"},
	{"tokenizer", 0, GRETA_OPT_STR, AT(tokenizer), "spm|bpe", "kind of vocabulary"},
	{"name", 0, GRETA_OPT_STR, AT(name), "TEXT", "general.name"},
	{"threads", 0, GRETA_OPT_I64, AT(threads), "N", "default: one for each core"},
	{0},
};

static int to_u32(int64_t v, const char *option, uint32_t *out, struct greta_err *e)
{
	if (v < 0 || v > UINT32_MAX)
		return greta_err_set(e, GRETA_EINVAL, "--%s %lld is out of range", option, (long long)v);
	if (v)
		*out = (uint32_t)v;
	return 0;
}

/* Numbers that were given replace those of the named shape. Zero is "not given": no dimension may be zero. */
static int fill_numbers(const struct values *v, struct synth_shape *s, struct greta_err *e)
{
	if (to_u32(v->layers, "layers", &s->n_layers, e) || to_u32(v->embd, "embd", &s->n_embd, e) ||
	    to_u32(v->ffn, "ffn", &s->n_ffn, e) || to_u32(v->vocab, "vocab", &s->n_vocab, e) ||
	    to_u32(v->ctx, "ctx", &s->n_ctx, e))
		return -1;
	if (v->heads)
		s->n_kv_heads = (uint32_t)v->heads;
	if (to_u32(v->heads, "heads", &s->n_heads, e) || to_u32(v->kv_heads, "kv-heads", &s->n_kv_heads, e))
		return -1;
	if ((v->heads || v->embd) && !v->head_dim) {
		if (s->n_embd % s->n_heads)
			return greta_err_set(e, GRETA_EINVAL,
					     "--embd %u is not a multiple of --heads %u; give --head-dim", s->n_embd,
					     s->n_heads);
		s->head_dim = s->n_embd / s->n_heads;
	}
	return to_u32(v->head_dim, "head-dim", &s->head_dim, e);
}

static int fill_spec(const struct values *v, struct synth_spec *spec, struct greta_err *e)
{
	const char *like = v->like ? v->like : "tiny";
	const struct synth_shape *s = synth_shape_named(like);

	if (!s)
		return greta_err_set(e, GRETA_EINVAL, "no shape '%s'; greta-gguf synth --help lists them", like);
	*spec = (struct synth_spec){
		.shape = *s,
		.type = v->type ? v->type : "F16",
		.seed = (uint64_t)v->seed,
		.n_threads = v->threads > 0 && v->threads < 1024 ? (int)v->threads : 0,
	};
	if (fill_numbers(v, &spec->shape, e))
		return -1;
	if (v->rope_theta > 0)
		spec->shape.rope_theta = (float)v->rope_theta;
	if (v->tokenizer)
		spec->shape.bpe = !strcmp(v->tokenizer, "bpe");
	spec->shape.tied |= v->tied;
	if (v->name)
		spec->shape.name = v->name;
	return synth_check(spec, e);
}

static int run(void *values, const struct greta_strs *operands, struct greta_buf *out, struct greta_err *e)
{
	int64_t begun = greta_clock_mono_ns();
	const char *path = operands->items[0];
	char size[32], took[32], rate[32];
	struct synth_spec spec;
	uint64_t bytes;
	double s;

	if (fill_spec(values, &spec, e) || synth_file(&spec, path, &bytes, e))
		return -1;
	s = (double)(greta_clock_mono_ns() - begun) / 1e9;
	greta_buf_addf(out, "%s: %s, %.1f M parameters, %s, seed %llu; written in %s (%s/s)\n", path,
		       greta_str_bytes(size, sizeof size, (double)bytes), (double)synth_parameters(&spec.shape) / 1e6,
		       spec.type, (unsigned long long)spec.seed, greta_str_seconds(took, sizeof took, s),
		       greta_str_bytes(rate, sizeof rate, (double)bytes / s));
	return GGUF_EXIT_OK;
}

const struct gguf_cmd gguf_cmd_synth = {
	.name = "synth",
	.opts =
		{
			.program = "greta-gguf synth",
			.operands = "FILE",
			.min_operands = 1,
			.max_operands = 1,
			.summary = "make a llama-shaped model with random weights",
			.details = "Shapes: tiny llama-0.2b tinyllama llama2-7b llama2-13b llama2-70b llama3-8b "
				   "llama3.1-8b\n"
				   "llama3.1-70b llama3.2-1b llama3.2-3b. Numbers given beside --like replace the "
				   "shape's.\n"
				   "Types: F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K, and the mixes Q4_K_M "
				   "and Q5_K_M.\n"
				   "Norms are always F32. Rows that a type's blocks do not divide fall back as "
				   "llama.cpp's do.\n"
				   "\n"
				   "The same options give the same bytes on every machine. FILE appears whole or not "
				   "at all.\n"
				   "\n"
				   "Examples:\n"
				   "  greta-gguf synth tiny.gguf\n"
				   "  greta-gguf synth --like llama2-7b --ctx 32768 llama2-7b.gguf\n"
				   "  greta-gguf synth --layers 2 --embd 256 --heads 4 --kv-heads 2 --ffn 512 --vocab "
				   "512 --type Q4_K_M q.gguf\n",
			.opts = options,
		},
	.values_bytes = sizeof(struct values),
	.run = run,
};
