#include "engine/gguf_cmd.h"

#include "base/jsonw.h"
#include "engine/gguf_check.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include <inttypes.h>
#include <stddef.h>

struct values {
	bool json;
	int64_t threads;
};

static const struct greta_opt options[] = {
	{"json", 0, GRETA_OPT_FLAG, offsetof(struct values, json), NULL,
	 "as one JSON object, with a hash for each tensor"},
	{"threads", 0, GRETA_OPT_I64, offsetof(struct values, threads), "N", "default: one for each core"},
	{0},
};

int gguf_cmd_usable(const struct gguf *g, struct greta_err *e)
{
	struct tokenizer *t;
	struct model m;

	if (tokenizer_present(g)) {
		t = tokenizer_create(g, e);
		if (!t)
			return -1;
		tokenizer_destroy(t);
	}
	if (!gguf_n_tensors(g))
		return 0;
	if (model_bind(&m, g, e))
		return -1;
	model_release(&m);
	return 0;
}

static size_t count_bad(const struct gguf_check *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_tensors; i++)
		n += c->tensors[i].n_not_finite > 0;
	return n;
}

static void add_text(const struct gguf *g, const struct gguf_check *c, struct greta_buf *out)
{
	for (size_t i = 0; i < c->n_tensors; i++) {
		const struct gguf_check_tensor *t = &c->tensors[i];
		if (!t->n_not_finite)
			continue;
		gguf_cmd_text(out, gguf_tensor_at(g, i)->name, strlen(gguf_tensor_at(g, i)->name));
		greta_buf_addf(out, ": %" PRIu64 " values are not finite, the first is value %" PRIu64 "\n",
			       t->n_not_finite, t->first);
	}
	greta_buf_addf(out, "file      %s\ntensors   %s\nmetadata  %s\n", c->file_sha256, c->tensors_sha256,
		       c->metadata_sha256);
	greta_buf_addf(out, "%s: %zu tensors, %s\n", gguf_path(g), c->n_tensors,
		       count_bad(c) ? "NOT SOUND: values that are not finite" : "sound");
}

static void add_json(const struct gguf *g, const struct gguf_check *c, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);

	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "file", gguf_path(g));
	greta_jsonw_bool(&w, "sound", count_bad(c) == 0);
	greta_jsonw_i64(&w, "file_bytes", (int64_t)gguf_file_bytes(g));
	greta_jsonw_str(&w, "file_sha256", c->file_sha256);
	greta_jsonw_str(&w, "tensors_sha256", c->tensors_sha256);
	greta_jsonw_str(&w, "metadata_sha256", c->metadata_sha256);
	greta_jsonw_array(&w, "tensors");
	for (size_t i = 0; i < c->n_tensors; i++) {
		const struct gguf_check_tensor *t = &c->tensors[i];
		greta_jsonw_object(&w, NULL);
		greta_jsonw_str(&w, "name", gguf_tensor_at(g, i)->name);
		greta_jsonw_str(&w, "sha256", t->sha256);
		if (t->checked)
			greta_jsonw_i64(&w, "not_finite", (int64_t)t->n_not_finite);
		else
			greta_jsonw_null(&w, "not_finite");
		greta_jsonw_end_object(&w);
	}
	greta_jsonw_end_array(&w);
	greta_jsonw_end_object(&w);
	greta_buf_addc(out, '\n');
}

static int verify(const struct gguf *g, const struct values *v, struct greta_buf *out, struct greta_err *e)
{
	int threads = v->threads > 0 && v->threads < 1024 ? (int)v->threads : 0;
	struct gguf_check c;
	int code;

	if (gguf_cmd_usable(g, e) || gguf_check_run(&c, g, threads, e))
		return -1;
	if (v->json)
		add_json(g, &c, out);
	else
		add_text(g, &c, out);
	code = count_bad(&c) ? GGUF_EXIT_UNSOUND : GGUF_EXIT_OK;
	gguf_check_release(&c);
	return code;
}

static int run(void *values, const struct greta_strs *operands, struct greta_buf *out, struct greta_err *e)
{
	struct gguf *g = gguf_open(operands->items[0], e);
	int code = g ? verify(g, values, out, e) : -1;

	gguf_close(g);
	return code;
}

const struct gguf_cmd gguf_cmd_verify = {
	.name = "verify",
	.opts =
		{
			.program = "greta-gguf verify",
			.operands = "FILE",
			.min_operands = 1,
			.max_operands = 1,
			.summary = "check structure, vocabulary, model and every value; print the hashes",
			.details = "Three hashes (SHA-256) identify a model: of the file; of its tensors, wherever "
				   "they lie; and of its\n"
				   "metadata. Setting a key changes the first and the third only.\n"
				   "\n"
				   "Exit code 1: values that are not finite. 2: a file that no engine could use, with "
				   "the reason.\n",
			.opts = options,
		},
	.values_bytes = sizeof(struct values),
	.run = run,
};
