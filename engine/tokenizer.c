#include "engine/tokenizer_impl.h"

#include "base/mem.h"
#include "engine/unicode.h"
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT ((size_t)1 << 28) /* bytes of a text: positions are kept in 32 bits, and spaces become three bytes */

bool tokenizer_present(const struct gguf *g)
{
	struct gguf_str model;

	if (!gguf_find(g, "tokenizer.ggml.model"))
		return false;
	return gguf_get_str(g, "tokenizer.ggml.model", &model, NULL) ||
	       (!gguf_str_eq(model, "none") && !gguf_str_eq(model, "no_vocab"));
}

void tokenizer_destroy(struct tokenizer *t)
{
	if (!t)
		return;
	names_release(&t->ids);
	names_release(&t->merges);
	free(t->arena);
	free(t->tokens);
	free(t->special);
	free(t->special_by_byte);
	free(t->ends);
	free(t);
}

uint32_t tokenizer_n_vocab(const struct tokenizer *t)
{
	return t->n_tokens;
}

uint32_t tokenizer_bos(const struct tokenizer *t)
{
	return t->bos;
}

bool tokenizer_ends(const struct tokenizer *t, uint32_t id)
{
	return id < t->n_tokens && t->ends[id];
}

/* --- special tokens in a text ---
 *
 * Each special token in turn, the longest text first, takes its occurrences from left to right in what earlier ones
 * have left. Here all occurrences are found in one pass and then taken in that order, which is the same and does not
 * read the text once for each of hundreds of tokens. */

struct found {
	size_t at;
	size_t order; /* of the token in t->special */
};

struct founds {
	struct found *items;
	size_t n, cap;
};

static bool is_parsed(const struct tokenizer *t, uint32_t id, bool special)
{
	return special || t->tokens[id].kind == TOKEN_USER_DEFINED;
}

static void find_special(const struct tokenizer *t, const char *text, size_t n, bool special, struct founds *out)
{
	for (size_t at = 0; at < n; at++) {
		unsigned char first = (unsigned char)text[at];
		for (size_t k = t->special_begin[first]; k < t->special_begin[first + 1]; k++) {
			size_t order = t->special_by_byte[k];
			struct gguf_str s = t->tokens[t->special[order]].text;
			if (s.n <= n - at && !memcmp(s.s, text + at, s.n) && is_parsed(t, t->special[order], special))
				*GRETA_PUSH(out->items, out->n, out->cap) = (struct found){at, order};
		}
	}
}

static int compare_order(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	if (x->order != y->order)
		return x->order < y->order ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static int compare_place(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

/* Leaves those that overlap none taken before, by place. One taken before is at least as long, so it would cover the
 * first or the last byte. */
static void choose(const struct tokenizer *t, size_t n, struct founds *f)
{
	uint8_t *taken = greta_alloc(n);
	size_t n_chosen = 0;

	qsort(f->items, f->n, sizeof *f->items, compare_order);
	for (size_t i = 0; i < f->n; i++) {
		struct found item = f->items[i];
		size_t len = t->tokens[t->special[item.order]].text.n;
		if (taken[item.at] || taken[item.at + len - 1])
			continue;
		memset(taken + item.at, 1, len);
		f->items[n_chosen++] = item;
	}
	f->n = n_chosen;
	qsort(f->items, f->n, sizeof *f->items, compare_place);
	free(taken);
}

/* --- text to ids --- */

void tokenizer_emit(struct tokenizer_ids *out, uint32_t id)
{
	*GRETA_PUSH(out->id, out->n, out->cap) = id;
}

void tokenizer_ids_release(struct tokenizer_ids *ids)
{
	free(ids->id);
	*ids = (struct tokenizer_ids){0};
}

struct encode {
	const struct tokenizer *t;
	struct merge merge;
	bool after_special; /* SentencePiece: a space goes in front of the next text */
	struct tokenizer_ids *out;
	struct greta_err *e;
};

static int encode_text(struct encode *c, const char *text, size_t n)
{
	const struct tokenizer *t = c->t;
	bool space_prefix = t->add_space_prefix && c->after_special;

	if (n == 0)
		return 0;
	c->after_special = false;
	if (!t->bpe)
		return tokenizer_spm_encode(t, text, n, space_prefix, &c->merge, c->out, c->e);
	tokenizer_bpe_encode(t, text, n, &c->merge, c->out);
	return 0;
}

static int encode_all(struct encode *c, const char *text, size_t n, const struct founds *f)
{
	size_t at = 0;

	for (size_t i = 0; i < f->n; i++) {
		uint32_t id = c->t->special[f->items[i].order];
		if (encode_text(c, text + at, f->items[i].at - at))
			return -1;
		tokenizer_emit(c->out, id);
		c->after_special = true;
		at = f->items[i].at + c->t->tokens[id].text.n;
	}
	return encode_text(c, text + at, n - at);
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, unsigned flags, struct tokenizer_ids *out,
		     struct greta_err *e)
{
	struct encode c = {.t = t, .after_special = true, .out = out, .e = e};
	struct founds found = {0};
	int rc;

	if (n > MAX_TEXT)
		return greta_err_set(e, GRETA_EINVAL,
				     "a text of %zu bytes is too long to tokenize at once, %zu are allowed", n,
				     MAX_TEXT);
	if ((flags & TOKENIZER_BOS) && t->add_bos)
		tokenizer_emit(out, t->bos);
	find_special(t, text, n, flags & TOKENIZER_SPECIAL, &found);
	if (found.n)
		choose(t, n, &found);
	rc = encode_all(&c, text, n, &found);
	if (!rc && (flags & TOKENIZER_BOS) && t->add_eos)
		tokenizer_emit(out, t->eos);
	free(found.items);
	merge_release(&c.merge);
	return rc;
}

/* --- ids to text --- */

static void spm_piece(const struct token *token, struct greta_buf *out)
{
	const char *s = token->text.s, *end = s + token->text.n;

	while (s < end)
		if (end - s >= 3 && !memcmp(s, "\xe2\x96\x81", 3)) {
			greta_buf_addc(out, ' ');
			s += 3;
		} else {
			greta_buf_addc(out, *s++);
		}
}

static void bpe_piece(const struct token *token, struct greta_buf *out)
{
	size_t len;

	for (size_t at = 0; at < token->text.n; at += len) {
		int byte = tokenizer_bpe_byte(unicode_decode(token->text.s + at, token->text.n - at, &len));
		if (byte >= 0)
			greta_buf_addc(out, (char)byte);
		else
			greta_buf_add(out, token->text.s + at, len);
	}
}

void tokenizer_piece(const struct tokenizer *t, uint32_t id, struct greta_buf *out)
{
	const struct token *token = id < t->n_tokens ? &t->tokens[id] : NULL;
	unsigned byte;

	if (!token)
		return;
	if (token->kind == TOKEN_USER_DEFINED)
		greta_buf_add(out, token->text.s, token->text.n);
	else if (token->kind == TOKEN_NORMAL && t->bpe)
		bpe_piece(token, out);
	else if (token->kind == TOKEN_NORMAL)
		spm_piece(token, out);
	else if (token->kind == TOKEN_BYTE && token->text.n == 6 && sscanf(token->text.s, "<0x%2x>", &byte) == 1)
		greta_buf_addc(out, (char)byte);
}
