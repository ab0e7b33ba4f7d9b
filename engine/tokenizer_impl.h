/* Inside of the tokenizer, for its own files only.
 *
 * tokenizer.c   special tokens in the text, BOS and EOS, pieces
 * tokenizer_load.c   the vocabulary out of a file
 * tokenizer_names.c   strings to numbers
 * tokenizer_spm.c, tokenizer_bpe.c   the text between special tokens, each in its way
 * tokenizer_split.c   BPE's cutting of text into words
 * tokenizer_merge.c   what both ways share: joining the best pair of neighbours until none is left
 */
#ifndef ENGINE_TOKENIZER_IMPL_H
#define ENGINE_TOKENIZER_IMPL_H

#include "engine/tokenizer.h"

enum token_kind { /* as in tokenizer.ggml.token_type */
		  TOKEN_NORMAL = 1,
		  TOKEN_UNKNOWN = 2,
		  TOKEN_CONTROL = 3,
		  TOKEN_USER_DEFINED = 4,
		  TOKEN_UNUSED = 5,
		  TOKEN_BYTE = 6,
};

struct token {
	struct gguf_str text; /* in tokenizer.arena */
	float score;
	uint8_t kind;
};

/* Strings to numbers, by open addressing. */
struct names {
	struct name {
		struct gguf_str text;
		uint32_t value;
		bool used;
	} * slot;
	size_t cap; /* a power of two, at least twice the number of entries */
};

void names_init(struct names *m, size_t n_entries);
void names_release(struct names *m);
/* False if it is there already, with the value that stays. */
bool names_add(struct names *m, struct gguf_str text, uint32_t value, uint32_t *there);
/* The value of a, or of a + ' ' + b; TOKENIZER_NONE if there is none. */
uint32_t names_find(const struct names *m, const char *s, size_t n);
uint32_t names_find_pair(const struct names *m, const char *a, size_t n_a, const char *b, size_t n_b);

struct split_rules; /* tokenizer_split.c: what a pre-tokenizer's name stands for */

struct tokenizer {
	char *arena; /* the bytes of all strings below */
	struct token *tokens;
	uint32_t n_tokens;
	struct names ids;
	bool bpe;
	uint32_t bos, eos, unknown, eot;
	bool add_bos, add_eos, add_space_prefix;
	uint32_t *special; /* control, user-defined and unknown tokens, longest text first */
	size_t n_special;
	size_t *special_by_byte; /* places in `special`, sorted by the first byte of the text */
	size_t special_begin[257];
	uint32_t byte_ids[256];   /* SentencePiece: of the byte tokens, or TOKENIZER_NONE */
	uint8_t *ends;            /* a flag for each token that ends generation */
	struct names merges;      /* BPE: "left right" to rank */
	const struct split_rules *split;
};

/* --- tokenizer_split.c --- */

struct split_rules {
	const char *names;              /* of tokenizer.ggml.pre, separated by spaces */
	bool ignore_merges;             /* a word that is a token is that token */
	bool add_bos;                   /* unless the file says otherwise */
	const struct split_step *steps; /* cut the pieces of the step before further; ends with a NULL function */
};

const struct split_rules *split_rules_named(struct gguf_str name); /* NULL: unknown */

struct split_text { /* a text as characters, and the words found in it */
	uint32_t *chars;
	uint8_t *classes; /* enum unicode_class */
	size_t n;
	size_t *ends; /* of words, ascending, the last is n */
	size_t n_ends, cap_ends;
};

void split_run(const struct split_rules *rules, const char *text, size_t n, struct split_text *out);
void split_release(struct split_text *t);

/* --- tokenizer_merge.c --- */

struct merge_symbol { /* text[at .. at + n); n is 0 once it was joined to its left neighbour */
	uint32_t at, n;
	int32_t prev, next;
};

struct merge_pair;

/* Whether the neighbours may be joined, and how early: lower first, ties leftmost. */
typedef bool merge_priority_fn(const struct tokenizer *t, const char *left, size_t n_left, size_t n_right,
			       double *priority);

struct merge { /* zero is ready; kept for the next text, so that its memory is */
	struct merge_symbol *symbols;
	size_t n_symbols, cap_symbols;
	struct merge_pair *heap;
	size_t n_heap, cap_heap;
};

void merge_add(struct merge *m, uint32_t at, uint32_t n); /* the next symbol of the text */
void merge_run(struct merge *m, const struct tokenizer *t, const char *text, merge_priority_fn *priority);
void merge_clear(struct merge *m);
void merge_release(struct merge *m);

/* --- the two ways --- */

void tokenizer_emit(struct tokenizer_ids *out, uint32_t id);
int tokenizer_spm_encode(const struct tokenizer *t, const char *text, size_t n, bool space_prefix, struct merge *m,
			 struct tokenizer_ids *out, struct greta_err *e);
void tokenizer_bpe_encode(const struct tokenizer *t, const char *text, size_t n, struct merge *m,
			  struct tokenizer_ids *out);
/* The byte that a character of byte-level BPE stands for, or -1; and the other way. */
int tokenizer_bpe_byte(uint32_t c);
uint32_t tokenizer_bpe_char(uint8_t byte);

/* Bytes of the character that begins with this byte, by its first four bits alone. */
static inline uint32_t tokenizer_char_len(char lead)
{
	static const uint8_t lengths[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
	return lengths[(unsigned char)lead >> 4];
}

#endif
