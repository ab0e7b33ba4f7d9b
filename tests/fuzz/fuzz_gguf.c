/* Any bytes as a GGUF file: opened or refused, and if opened, everything in it can be reached; then as a vocabulary and
 * as a model, which are refused or work. */
#include "engine/gguf.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static uint64_t sum; /* keeps reads from being optimised away */

static void read_kv(const struct gguf *g, const struct gguf_kv *kv)
{
	struct gguf_str s;
	uint64_t at = 0;

	if (gguf_find(g, kv->key) != kv)
		abort();
	if (kv->item_type == GGUF_STR) {
		while (gguf_next_str(kv, &at, &s))
			for (size_t i = 0; i < s.n; i++)
				sum += (uint8_t)s.s[i];
		return;
	}
	for (uint64_t i = 0; i < kv->n; i++)
		sum += (uint64_t)gguf_item_i64(kv, i) + (gguf_item_f64(kv, i) > 0);
}

static void read_tensor(const struct gguf *g, const struct gguf_tensor *t)
{
	const uint8_t *p = t->data;
	float row[256];

	if (gguf_tensor(g, t->name) != t)
		abort();
	for (uint64_t i = 0; i < t->bytes; i++)
		sum += p[i];
	if (t->traits->to_f32 && t->traits->block_n <= 256)
		t->traits->to_f32(gguf_tensor_row(t, gguf_tensor_rows(t) - 1), row, t->traits->block_n);
}

static void check_refusal(const struct greta_err *e)
{
	if (e->code == GRETA_OK || !strstr(e->text, "input"))
		abort(); /* without its reason and the file's name */
}

static void use_tokenizer(const struct gguf *g)
{
	static const char text[] = "<s>Hello  w\xc3\xb6rld's 12345\n\n\xe4\xbd\xa0\xff <0x0A> ab";
	struct tokenizer_ids ids = {0};
	struct greta_buf piece = {0};
	struct greta_err e = {0};
	struct tokenizer *t = tokenizer_create(g, &e);

	if (!t) {
		check_refusal(&e);
		return;
	}
	tokenizer_encode(t, text, sizeof text - 1, TOKENIZER_BOS | TOKENIZER_SPECIAL, &ids, &e);
	for (size_t i = 0; i < ids.n; i++) {
		if (ids.id[i] >= tokenizer_n_vocab(t))
			abort();
		tokenizer_piece(t, ids.id[i], &piece);
	}
	greta_buf_release(&piece);
	tokenizer_ids_release(&ids);
	tokenizer_destroy(t);
}

static void use_model(const struct gguf *g)
{
	struct greta_err e = {0};
	struct model m;

	if (model_bind(&m, g, &e))
		check_refusal(&e);
	else
		model_release(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct greta_err e = {0};
	struct gguf *g = gguf_open_memory("input", data, n, &e);

	if (!g) {
		check_refusal(&e);
		return 0;
	}
	for (size_t i = 0; i < gguf_n_kv(g); i++)
		read_kv(g, gguf_kv_at(g, i));
	for (size_t i = 0; i < gguf_n_tensors(g); i++)
		read_tensor(g, gguf_tensor_at(g, i));
	use_tokenizer(g);
	use_model(g);
	gguf_close(g);
	return 0;
}
