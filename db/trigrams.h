/* trigrams: which three-byte strings a text may have, as a bit set that never misses one and seldom says yes in vain.
 *
 * A set is a power of two of bits, at most 8 KiB: bit (hash mod bits) of each trigram, in lower case. It is folded in
 * half for as long as at most a quarter of the bits stay set, so a short text has a short set; a needle of k trigrams
 * passes in vain with some 0.25^k. */
#ifndef DB_TRIGRAMS_H
#define DB_TRIGRAMS_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

void trigrams_of(const char *text, size_t n, struct greta_buf *out);
/* False: the text does not have the needle, in any case of its letters. A set of no valid size may have anything. */
bool trigrams_may_have(const void *set, size_t set_bytes, const char *needle, size_t n);

#endif
