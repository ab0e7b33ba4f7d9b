/* The three hashes that identify a model, and what it calls itself: what an agent asks of a model that it will run. */
#include "engine/gguf_cmd.h"

#include "base/jsonw.h"
#include "engine/gguf_check.h"
#include <inttypes.h>
#include <stddef.h>

#define TEXT_MAX 200 /* of a name that a file gives itself */

struct values {
	bool json;
	int64_t threads;
};

static const struct greta_opt options[] = {
	{"json", 0, GRETA_OPT_FLAG, offsetof(struct values, json), NULL, "as one JSON object, with name and size"},
	{"threads", 0, GRETA_OPT_I64, offsetof(struct values, threads), "N", "default: one for each core"},
	{0},
};

static int64_t n_params(const struct gguf *g)
{
	uint64_t n = 0;

	for (size_t i = 0; i < gguf_n_tensors(g); i++)
		n += gguf_tensor_at(g, i)->ne[0] * gguf_tensor_rows(gguf_tensor_at(g, i));
	return (int64_t)n;
}

/* The type that most of the values have. */
static const char *main_type(const struct gguf *g)
{
	uint64_t n[QUANT_ID_LIMIT] = {0};
	uint32_t most = 0;

	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		const struct gguf_tensor *t = gguf_tensor_at(g, i);

		n[t->traits->type] += t->ne[0] * gguf_tensor_rows(t);
		most = n[t->traits->type] > n[most] ? t->traits->type : most;
	}
	return n[most] ? quant_traits(most)->name : NULL;
}

static void json_text(struct greta_jsonw *w, const char *name, const struct gguf *g, const char *key)
{
	struct gguf_str s;

	if (gguf_find(g, key) && gguf_get_str(g, key, &s, NULL) == 0)
		greta_jsonw_strn(w, name, s.s, s.n < TEXT_MAX ? s.n : TEXT_MAX);
	else
		greta_jsonw_null(w, name);
}

static void add_json(const struct gguf *g, const struct gguf_check *c, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);

	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "file_sha256", c->file_sha256);
	greta_jsonw_str(&w, "tensors_sha256", c->tensors_sha256);
	greta_jsonw_str(&w, "metadata_sha256", c->metadata_sha256);
	greta_jsonw_i64(&w, "file_bytes", (int64_t)gguf_file_bytes(g));
	json_text(&w, "name", g, "general.name");
	json_text(&w, "architecture", g, "general.architecture");
	greta_jsonw_str(&w, "type", main_type(g));
	greta_jsonw_i64(&w, "n_params", n_params(g));
	greta_jsonw_end_object(&w);
	greta_buf_addc(out, '\n');
}

static int run(void *values, const struct greta_strs *operands, struct greta_buf *out, struct greta_err *e)
{
	const struct values *v = values;
	struct gguf *g = gguf_open(operands->items[0], e);
	struct gguf_check c;
	int code = -1;

	if (g && gguf_check_hash(&c, g, v->threads > 0 && v->threads < 1024 ? (int)v->threads : 0, e) == 0) {
		code = GGUF_EXIT_OK;
		if (v->json)
			add_json(g, &c, out);
		else
			greta_buf_addf(out, "file      %s\ntensors   %s\nmetadata  %s\n", c.file_sha256, c.tensors_sha256,
				       c.metadata_sha256);
		gguf_check_release(&c);
	}
	gguf_close(g);
	return code;
}

const struct gguf_cmd gguf_cmd_hash = {
	.name = "hash",
	.opts =
		{
			.program = "greta-gguf hash",
			.operands = "FILE",
			.min_operands = 1,
			.max_operands = 1,
			.summary = "print the hashes that identify a model",
			.details = "Three hashes (SHA-256): of the file; of its tensors, wherever they lie; and of its metadata.\n"
				   "Setting a key changes the first and the third only. `verify` prints them too, and checks\n"
				   "every value.\n",
			.opts = options,
		},
	.values_bytes = sizeof(struct values),
	.run = run,
};
