#include "engine/unicode.h"

#include "base/mem.h"
#include "engine/unicode_table.h"

enum unicode_class unicode_class(uint32_t c)
{
	size_t low = 0, high = GRETA_COUNT(runs); /* the run is in [low, high) */

	if (c >= 0x110000)
		return UNICODE_OTHER;
	while (high - low > 1) {
		size_t middle = (low + high) / 2;
		if (runs[middle] >> 8 <= c)
			low = middle;
		else
			high = middle;
	}
	return (enum unicode_class)(runs[low] & 0xff);
}

uint32_t unicode_decode(const char *s, size_t n, size_t *len)
{
	static const uint8_t lengths[16] = {1, 1, 1, 1, 1, 1, 1, 1,
					    0, 0, 0, 0, 2, 2, 3, 4}; /* by the first four bits */
	unsigned char lead = (unsigned char)s[0];
	size_t want = lead >= 0xf8 ? 0 : lengths[lead >> 4];
	uint32_t c;

	*len = 1;
	if (want == 1)
		return lead;
	if (want == 0 || want > n)
		return UNICODE_REPLACEMENT;
	c = lead & (0x7fu >> want);
	for (size_t i = 1; i < want; i++) {
		if (((unsigned char)s[i] & 0xc0) != 0x80)
			return UNICODE_REPLACEMENT;
		c = c << 6 | ((unsigned char)s[i] & 0x3f);
	}
	*len = want;
	return c < 0x110000 ? c : UNICODE_REPLACEMENT;
}

size_t unicode_encode(uint32_t c, char out[4])
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}
