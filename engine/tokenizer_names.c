/* tokenizer names: strings to numbers, by open addressing. FNV-1a takes a string in parts, so a pair is looked up without
 * being put together first. */
#include "engine/tokenizer_impl.h"

#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

static uint64_t hash_add(uint64_t h, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * UINT64_C(0x100000001b3);
	return h;
}

static size_t hash_slot(const struct names *m, uint64_t h)
{
	return (size_t)((h ^ h >> 32) * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (m->cap - 1);
}

#define HASH_SEED UINT64_C(0xcbf29ce484222325)

void names_init(struct names *m, size_t n_entries)
{
	m->cap = 16;
	while (m->cap < 2 * n_entries)
		m->cap *= 2;
	m->slot = greta_alloc(m->cap * sizeof *m->slot);
}

void names_release(struct names *m)
{
	free(m->slot);
	*m = (struct names){0};
}

bool names_add(struct names *m, struct gguf_str text, uint32_t value, uint32_t *there)
{
	size_t i = hash_slot(m, hash_add(HASH_SEED, text.s, text.n));

	for (; m->slot[i].used; i = (i + 1) & (m->cap - 1))
		if (m->slot[i].text.n == text.n && !memcmp(m->slot[i].text.s, text.s, text.n)) {
			*there = m->slot[i].value;
			return false;
		}
	m->slot[i] = (struct name){text, value, true};
	return true;
}

uint32_t names_find(const struct names *m, const char *s, size_t n)
{
	for (size_t i = hash_slot(m, hash_add(HASH_SEED, s, n)); m->slot[i].used; i = (i + 1) & (m->cap - 1))
		if (m->slot[i].text.n == n && !memcmp(m->slot[i].text.s, s, n))
			return m->slot[i].value;
	return TOKENIZER_NONE;
}

uint32_t names_find_pair(const struct names *m, const char *a, size_t n_a, const char *b, size_t n_b)
{
	uint64_t h = hash_add(hash_add(hash_add(HASH_SEED, a, n_a), " ", 1), b, n_b);

	for (size_t i = hash_slot(m, h); m->slot[i].used; i = (i + 1) & (m->cap - 1)) {
		struct gguf_str text = m->slot[i].text;
		if (text.n == n_a + 1 + n_b && text.s[n_a] == ' ' && !memcmp(text.s, a, n_a) &&
		    !memcmp(text.s + n_a + 1, b, n_b))
			return m->slot[i].value;
	}
	return TOKENIZER_NONE;
}
