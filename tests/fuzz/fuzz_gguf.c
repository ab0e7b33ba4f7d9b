/* Any bytes as a GGUF file: opened or refused, and if opened, everything in it can be reached. */
#include "engine/gguf.h"
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct greta_err e = {0};
	struct gguf *g = gguf_open_memory("input", data, n, &e);

	if (!g) {
		if (e.code == GRETA_OK || !strstr(e.text, "input"))
			abort(); /* a refusal without its reason and the file's name */
		return 0;
	}
	for (size_t i = 0; i < gguf_n_kv(g); i++)
		read_kv(g, gguf_kv_at(g, i));
	for (size_t i = 0; i < gguf_n_tensors(g); i++)
		read_tensor(g, gguf_tensor_at(g, i));
	gguf_close(g);
	return 0;
}
