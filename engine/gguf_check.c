#include "engine/gguf_check.h"

#include "base/buf.h"
#include "base/mem.h"
#include "engine/parallel.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_VALUES 4096 /* hashed and decoded while they are in the cache; a multiple of every block */

struct work {
	struct gguf_check *c;
	const struct gguf *g;
	bool values; /* look at every value, too */
};

static void check_finite(struct gguf_check_tensor *r, const float *values, uint64_t at, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (!isfinite(values[i]) && r->n_not_finite++ == 0)
			r->first = at + i;
}

static void check_tensor(const struct gguf_tensor *t, bool look, struct gguf_check_tensor *r)
{
	uint64_t total = t->ne[0] * gguf_tensor_rows(t);
	float values[BATCH_VALUES];
	struct greta_sha256 h;

	r->checked = look && t->traits->to_f32 != NULL;
	greta_sha256_init(&h);
	for (uint64_t at = 0; at < total; at += BATCH_VALUES) {
		uint64_t n = total - at < BATCH_VALUES ? total - at : BATCH_VALUES;
		const uint8_t *p = (const uint8_t *)t->data + quant_bytes(t->traits, at);
		greta_sha256_add(&h, p, quant_bytes(t->traits, n));
		if (!r->checked)
			continue;
		t->traits->to_f32(p, values, n);
		check_finite(r, values, at, n);
	}
	greta_sha256_hex(&h, r->sha256);
}

/* Item 0 is the file as a whole, which takes longest; the others are the tensors. */
static int check_item(void *arg, int worker, size_t item, struct greta_err *e)
{
	struct work *w = arg;

	(void)worker, (void)e;
	if (item == 0)
		greta_sha256_of(gguf_bytes(w->g), gguf_file_bytes(w->g), w->c->file_sha256);
	else
		check_tensor(gguf_tensor_at(w->g, item - 1), w->values, &w->c->tensors[item - 1]);
	return 0;
}

static int compare_tensors(const void *a, const void *b, void *arg)
{
	const struct gguf *g = arg;

	return strcmp(gguf_tensor_at(g, *(const size_t *)a)->name, gguf_tensor_at(g, *(const size_t *)b)->name);
}

static int compare_kvs(const void *a, const void *b, void *arg)
{
	const struct gguf *g = arg;

	return strcmp(gguf_kv_at(g, *(const size_t *)a)->key, gguf_kv_at(g, *(const size_t *)b)->key);
}

static size_t *sorted(const struct gguf *g, size_t n, int (*compare)(const void *, const void *, void *))
{
	size_t *order = greta_alloc((n + 1) * sizeof *order);

	for (size_t i = 0; i < n; i++)
		order[i] = i;
	qsort_r(order, n, sizeof *order, compare, (void *)g);
	return order;
}

static void hash_tensors(struct gguf_check *c, const struct gguf *g)
{
	size_t *order = sorted(g, c->n_tensors, compare_tensors);
	cleanup_buf struct greta_buf lines = {0};

	for (size_t i = 0; i < c->n_tensors; i++) {
		const struct gguf_tensor *t = gguf_tensor_at(g, order[i]);
		greta_buf_addf(&lines, "%s %s ", t->name, t->traits->name);
		for (int d = 0; d < t->n_dims; d++)
			greta_buf_addf(&lines, "%s%" PRIu64, d ? "," : "", t->ne[d]);
		greta_buf_addf(&lines, " %s\n", c->tensors[order[i]].sha256);
	}
	free(order);
	greta_sha256_of(greta_buf_str(&lines), lines.len, c->tensors_sha256);
}

static void hash_metadata(struct gguf_check *c, const struct gguf *g)
{
	size_t n = gguf_n_kv(g), *order = sorted(g, n, compare_kvs);
	struct greta_sha256 h;

	greta_sha256_init(&h);
	for (size_t i = 0; i < n; i++) {
		const struct gguf_kv *kv = gguf_kv_at(g, order[i]);
		uint32_t types[2] = {kv->type, kv->item_type};
		greta_sha256_add(&h, kv->key, strlen(kv->key) + 1);
		greta_sha256_add(&h, types, sizeof types);
		greta_sha256_add(&h, &kv->n, sizeof kv->n);
		greta_sha256_add(&h, kv->data, kv->bytes);
	}
	free(order);
	greta_sha256_hex(&h, c->metadata_sha256);
}

static int run(struct gguf_check *c, const struct gguf *g, bool values, int n_threads, struct greta_err *e)
{
	struct work w = {c, g, values};

	*c = (struct gguf_check){.n_tensors = gguf_n_tensors(g)};
	c->tensors = greta_alloc((c->n_tensors + 1) * sizeof *c->tensors);
	if (parallel_run(c->n_tensors + 1, parallel_workers(n_threads), check_item, &w, e)) {
		gguf_check_release(c);
		return -1;
	}
	hash_tensors(c, g);
	hash_metadata(c, g);
	return 0;
}

int gguf_check_run(struct gguf_check *c, const struct gguf *g, int n_threads, struct greta_err *e)
{
	return run(c, g, true, n_threads, e);
}

int gguf_check_hash(struct gguf_check *c, const struct gguf *g, int n_threads, struct greta_err *e)
{
	return run(c, g, false, n_threads, e);
}

void gguf_check_release(struct gguf_check *c)
{
	free(c->tensors);
	*c = (struct gguf_check){0};
}
