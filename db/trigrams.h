/* trigrams: which three-byte strings a text may have, as a set of bits that never misses one and seldom says yes in
 * vain. Letters count in lower case. A trigram's number is a hash of it, below TRIGRAMS. */
#ifndef DB_TRIGRAMS_H
#define DB_TRIGRAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRIGRAMS 65536u
#define TRIGRAMS_BYTES (TRIGRAMS / 8) /* of a set; trigram number h is bit h % 8 of byte h / 8 */

/* Adds a text's trigrams to a set; false: it had them all. */
bool trigrams_add(unsigned char set[TRIGRAMS_BYTES], const char *text, size_t n);
size_t trigrams_count(const unsigned char set[TRIGRAMS_BYTES]);
/* The numbers of a needle's trigrams, each once; at most `most` of them. Returns how many. */
size_t trigrams_of(const char *needle, size_t n, uint16_t *out, size_t most);

#endif
