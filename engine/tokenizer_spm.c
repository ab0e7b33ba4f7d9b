/* SentencePiece: spaces become U+2581, characters are joined by the scores of the tokens that they make, and what is
 * no token in the end is spelled in byte tokens. */
#include "engine/tokenizer_impl.h"

#define SPACE "\xe2\x96\x81"

static bool spm_priority(const struct tokenizer *t, const char *left, size_t n_left, size_t n_right, double *priority)
{
	uint32_t id = names_find(&t->ids, left, n_left + n_right);

	if (id == TOKENIZER_NONE)
		return false;
	*priority = -(double)t->tokens[id].score;
	return true;
}

static int emit_symbol(const struct tokenizer *t, const char *s, size_t n, struct tokenizer_ids *out,
		       struct greta_err *e)
{
	uint32_t id = names_find(&t->ids, s, n);

	if (id != TOKENIZER_NONE) {
		tokenizer_emit(out, id);
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		id = t->byte_ids[(unsigned char)s[i]];
		id = id != TOKENIZER_NONE ? id : t->unknown;
		if (id == TOKENIZER_NONE)
			return greta_err_set(e, GRETA_EINVAL,
					     "the vocabulary has no token for byte %#04x, and none for what is unknown",
					     (unsigned char)s[i]);
		tokenizer_emit(out, id);
	}
	return 0;
}

static void escape_spaces(const char *text, size_t n, bool space_prefix, struct greta_buf *out)
{
	if (space_prefix)
		greta_buf_adds(out, SPACE);
	for (size_t i = 0; i < n; i++)
		if (text[i] == ' ')
			greta_buf_adds(out, SPACE);
		else
			greta_buf_addc(out, text[i]);
}

int tokenizer_spm_encode(const struct tokenizer *t, const char *text, size_t n, bool space_prefix, struct merge *m,
			 struct tokenizer_ids *out, struct greta_err *e)
{
	cleanup_buf struct greta_buf escaped = {0};
	size_t len;

	escape_spaces(text, n, space_prefix, &escaped);
	merge_clear(m);
	for (size_t at = 0; at < escaped.len; at += len) {
		len = tokenizer_char_len(escaped.data[at]);
		len = len < escaped.len - at ? len : escaped.len - at;
		merge_add(m, (uint32_t)at, (uint32_t)len);
	}
	merge_run(m, t, escaped.data, spm_priority);
	for (size_t i = 0; i < m->n_symbols; i++)
		if (m->symbols[i].n && emit_symbol(t, escaped.data + m->symbols[i].at, m->symbols[i].n, out, e))
			return -1;
	return 0;
}
