/* Byte-level BPE: the text is cut into words; in each, bytes become visible characters, and neighbours are joined in
 * the order of the file's merges. */
#include "engine/tokenizer_impl.h"
#include "engine/unicode.h"

/* Bytes that are visible in Latin-1 stand for themselves; the other 68 are U+0100 on, in order. */
static bool visible(unsigned byte)
{
	return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte != 0xad);
}

uint32_t tokenizer_bpe_char(uint8_t byte)
{
	if (visible(byte))
		return byte;
	if (byte <= 0x20)
		return 0x100u + byte;
	return byte == 0xad ? 0x143u : 0x100u + byte - 0x7f + 0x21;
}

int tokenizer_bpe_byte(uint32_t c)
{
	if (c < 0x100)
		return visible(c) ? (int)c : -1;
	if (c <= 0x120)
		return (int)(c - 0x100);
	if (c <= 0x142)
		return (int)(c - 0x121 + 0x7f);
	return c == 0x143 ? 0xad : -1;
}

static bool bpe_priority(const struct tokenizer *t, const char *left, size_t n_left, size_t n_right, double *priority)
{
	uint32_t rank = names_find_pair(&t->merges, left, n_left, left + n_left, n_right);

	*priority = rank;
	return rank != TOKENIZER_NONE;
}

/* A symbol that is no token is spelled by single bytes of its visible characters; those that are no token either (all
 * outside ASCII) are left out, as llama.cpp does. */
static void emit_symbol(const struct tokenizer *t, const char *s, size_t n, struct tokenizer_ids *out)
{
	uint32_t id = names_find(&t->ids, s, n);

	if (id != TOKENIZER_NONE) {
		tokenizer_emit(out, id);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		id = names_find(&t->ids, s + i, 1);
		if (id != TOKENIZER_NONE)
			tokenizer_emit(out, id);
	}
}

static void add_visible(struct greta_buf *out, uint32_t c)
{
	char utf8[4], shown[4];
	size_t n = unicode_encode(c, utf8);

	for (size_t i = 0; i < n; i++)
		greta_buf_add(out, shown, unicode_encode(tokenizer_bpe_char((uint8_t)utf8[i]), shown));
}

static void encode_word(const struct tokenizer *t, const struct greta_buf *word, struct merge *m,
			struct tokenizer_ids *out)
{
	uint32_t len, id = t->split->ignore_merges ? names_find(&t->ids, word->data, word->len) : TOKENIZER_NONE;

	if (id != TOKENIZER_NONE) {
		tokenizer_emit(out, id);
		return;
	}
	merge_clear(m);
	for (size_t at = 0; at < word->len; at += len) {
		len = tokenizer_char_len(word->data[at]);
		merge_add(m, (uint32_t)at, len);
	}
	merge_run(m, t, word->data, bpe_priority);
	for (size_t i = 0; i < m->n_symbols; i++)
		if (m->symbols[i].n)
			emit_symbol(t, word->data + m->symbols[i].at, m->symbols[i].n, out);
}

void tokenizer_bpe_encode(const struct tokenizer *t, const char *text, size_t n, struct merge *m,
			  struct tokenizer_ids *out)
{
	cleanup_buf struct greta_buf word = {0};
	struct split_text split = {0};
	size_t begin = 0;

	split_run(t->split, text, n, &split);
	for (size_t i = 0; i < split.n_ends; i++) {
		greta_buf_clear(&word);
		for (; begin < split.ends[i]; begin++)
			add_visible(&word, split.chars[begin]);
		encode_word(t, &word, m, out);
	}
	split_release(&split);
}
