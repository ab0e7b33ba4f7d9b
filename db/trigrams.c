#include "db/trigrams.h"

#include <string.h>

static uint32_t lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? c + 32u : c;
}

/* 16 bits of a product with the golden ratio. */
static uint16_t hash(uint32_t trigram)
{
	return (uint16_t)((trigram * UINT32_C(0x9e3779b1)) >> 16);
}

bool trigrams_add(unsigned char set[TRIGRAMS_BYTES], const char *text, size_t n)
{
	const unsigned char *t = (const unsigned char *)text;
	uint32_t last = n >= 2 ? lower(t[0]) << 8 | lower(t[1]) : 0;
	unsigned char added = 0;

	for (size_t i = 2; i < n; i++) {
		unsigned char bit;
		uint16_t h;

		last = (last << 8 | lower(t[i])) & 0xffffff;
		h = hash(last);
		bit = (unsigned char)(1u << (h % 8));
		added |= bit & ~set[h / 8];
		set[h / 8] |= bit;
	}
	return added;
}

size_t trigrams_count(const unsigned char set[TRIGRAMS_BYTES])
{
	size_t n = 0;

	for (size_t i = 0; i < TRIGRAMS_BYTES; i += 8) {
		uint64_t word;

		memcpy(&word, set + i, sizeof word);
		n += (size_t)__builtin_popcountll(word);
	}
	return n;
}

static bool is_in(uint16_t h, const uint16_t *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == h)
			return true;
	return false;
}

size_t trigrams_of(const char *needle, size_t n, uint16_t *out, size_t most)
{
	const unsigned char *t = (const unsigned char *)needle;
	size_t found = 0;

	for (size_t i = 2; i < n && found < most; i++) {
		uint16_t h = hash(lower(t[i - 2]) << 16 | lower(t[i - 1]) << 8 | lower(t[i]));

		if (!is_in(h, out, found))
			out[found++] = h;
	}
	return found;
}
