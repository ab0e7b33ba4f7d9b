#include "db/trigrams.h"

#include <stdint.h>
#include <string.h>

#define LARGEST 8192u /* bytes; 65536 bits */
#define SMALLEST 64u

static uint32_t lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? c + 32u : c;
}

/* 16 bits; sets that are smaller take the low ones. */
static uint32_t hash(uint32_t trigram)
{
	return (trigram * UINT32_C(0x9e3779b1)) >> 16;
}

static size_t count(const unsigned char *set, size_t bytes)
{
	size_t n = 0;

	for (size_t i = 0; i < bytes; i += 8) {
		uint64_t word;

		memcpy(&word, set + i, sizeof word);
		n += (size_t)__builtin_popcountll(word);
	}
	return n;
}

/* A size at which n trigrams set at most a quarter of the bits. */
static size_t enough_for(size_t n)
{
	size_t bytes = SMALLEST;

	while (bytes < LARGEST && bytes * 2 < n)
		bytes *= 2;
	return bytes;
}

/* Halves the set while it stays thin enough; returns its size. */
static size_t fold(unsigned char *set, size_t bytes)
{
	while (bytes > SMALLEST) {
		unsigned char half[LARGEST / 2];

		for (size_t i = 0; i < bytes / 2; i++)
			half[i] = set[i] | set[i + bytes / 2];
		if (count(half, bytes / 2) > bytes / 2 * 8 / 4)
			break;
		bytes /= 2;
		memcpy(set, half, bytes);
	}
	return bytes;
}

void trigrams_of(const char *text, size_t n, struct greta_buf *out)
{
	unsigned char set[LARGEST] = {0};
	const unsigned char *t = (const unsigned char *)text;
	uint32_t last = n >= 2 ? lower(t[0]) << 8 | lower(t[1]) : 0;
	size_t bytes = enough_for(n);

	for (size_t i = 2; i < n; i++) {
		uint32_t h;

		last = (last << 8 | lower(t[i])) & 0xffffff;
		h = hash(last) & (uint32_t)(bytes * 8 - 1);
		set[h / 8] |= (unsigned char)(1u << (h % 8));
	}
	greta_buf_add(out, set, fold(set, bytes));
}

static bool is_set_size(size_t bytes)
{
	return bytes >= SMALLEST && bytes <= LARGEST && (bytes & (bytes - 1)) == 0;
}

bool trigrams_may_have(const void *set, size_t set_bytes, const char *needle, size_t n)
{
	const unsigned char *t = (const unsigned char *)needle, *bits = set;

	if (!set || !is_set_size(set_bytes))
		return true;
	for (size_t i = 2; i < n; i++) {
		uint32_t h = hash(lower(t[i - 2]) << 16 | lower(t[i - 1]) << 8 | lower(t[i]));

		h &= (uint32_t)(set_bytes * 8 - 1);
		if (!(bits[h / 8] & (1u << (h % 8))))
			return false;
	}
	return true;
}
