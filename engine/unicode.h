/* unicode: what pre-tokenizers ask of a character. */
#ifndef ENGINE_UNICODE_H
#define ENGINE_UNICODE_H

#include <stddef.h>
#include <stdint.h>

enum unicode_class {
	UNICODE_OTHER,       /* symbols, marks, controls, and what is not assigned */
	UNICODE_LETTER,      /* \p{L} */
	UNICODE_NUMBER,      /* \p{N} */
	UNICODE_PUNCTUATION, /* \p{P} */
	UNICODE_SPACE,       /* \s: White_Space */
};

#define UNICODE_REPLACEMENT 0xfffd

enum unicode_class unicode_class(uint32_t c);

/* The character at s (n > 0 bytes) and its length. As lenient as llama.cpp: overlong forms and surrogates decode, a
 * byte that begins no complete sequence is U+FFFD of length 1. */
uint32_t unicode_decode(const char *s, size_t n, size_t *len);
/* Writes c < 0x110000 as UTF-8 and returns the length, 1 to 4. */
size_t unicode_encode(uint32_t c, char out[4]);

#endif
