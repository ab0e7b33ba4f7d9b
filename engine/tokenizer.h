/* tokenizer: text to token ids and back, by the vocabulary in a GGUF file's metadata.
 *
 * Two kinds: SentencePiece (`tokenizer.ggml.model` = "llama") and byte-level BPE ("gpt2") with the pre-tokenizer that
 * `tokenizer.ggml.pre` names. Ids equal llama.cpp's for every input, invalid UTF-8 included. A tokenizer never changes
 * after it was made, so threads may share one; it borrows nothing from the file once made.
 */
#ifndef ENGINE_TOKENIZER_H
#define ENGINE_TOKENIZER_H

#include "base/buf.h"
#include "base/err.h"
#include "engine/gguf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKENIZER_NONE UINT32_MAX /* no such special token */

enum tokenizer_flags {
	TOKENIZER_BOS = 1,     /* add BOS and EOS as the file's metadata asks */
	TOKENIZER_SPECIAL = 2, /* control tokens written in the text ("<s>") become that token; else they are text */
};

struct tokenizer_ids { /* zero is empty; free with tokenizer_ids_release */
	uint32_t *id;
	size_t n, cap;
};

struct tokenizer;

/* Whether the file has a vocabulary: no such key, or the model "none", means that it works on ids alone. */
bool tokenizer_present(const struct gguf *g);

/* Fails on a missing or unknown model or pre-tokenizer (by name), arrays of unequal length, or a special id that is
 * neither absent, 0xFFFFFFFF nor below the number of tokens. */
struct tokenizer *tokenizer_create(const struct gguf *g, struct greta_err *e);
void tokenizer_destroy(struct tokenizer *t); /* NULL is fine */

/* Appends the ids of n bytes of text; flags of enum tokenizer_flags. Time grows as n log n. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, unsigned flags, struct tokenizer_ids *out,
		     struct greta_err *e);
/* Appends the bytes that a token stands for; nothing for control tokens and ids beyond the vocabulary. */
void tokenizer_piece(const struct tokenizer *t, uint32_t id, struct greta_buf *out);

uint32_t tokenizer_n_vocab(const struct tokenizer *t);
uint32_t tokenizer_bos(const struct tokenizer *t); /* or TOKENIZER_NONE, as the next */
bool tokenizer_ends(const struct tokenizer *t, uint32_t id); /* EOS, EOT, or a named end of turn: generation stops */

void tokenizer_ids_release(struct tokenizer_ids *ids);

#endif
