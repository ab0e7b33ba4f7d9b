/* tokenizer load: the vocabulary, merges and habits out of a file's metadata, and the indexes that encoding wants. */
#include "engine/tokenizer_impl.h"

#include "base/mem.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TOKENS (UINT32_C(1) << 24)

/* --- the vocabulary --- */

struct load {
	const struct gguf *g;
	struct tokenizer *t;
	struct greta_err *e;
	char *arena_at; /* where the next string goes */
};

static struct gguf_str keep(struct load *l, const char *s, size_t n)
{
	struct gguf_str kept = {memcpy(l->arena_at, s, n), n};

	l->arena_at += n;
	return kept;
}

static int refuse(struct load *l, const char *key, const char *what)
{
	return greta_err_set(l->e, GRETA_EINVAL, "%s: key '%s' %s", gguf_path(l->g), key, what);
}

/* llama.cpp's strings end at a NUL, and tokens without text get a name. */
static struct gguf_str token_text(struct load *l, struct gguf_str s, uint32_t id)
{
	char empty[32];
	size_t n = strnlen(s.s, s.n);

	if (n)
		return keep(l, s.s, n);
	n = (size_t)snprintf(empty, sizeof empty, "[EMPTY_%" PRIu32 "]", id);
	return keep(l, empty, n);
}

static int load_tokens(struct load *l, const struct gguf_kv *texts)
{
	struct tokenizer *t = l->t;
	struct gguf_str s;
	uint64_t at = 0;
	uint32_t other;

	for (uint32_t id = 0; gguf_next_str(texts, &at, &s); id++) {
		t->tokens[id].text = token_text(l, s, id);
		t->tokens[id].kind = TOKEN_NORMAL;
		if (!names_add(&t->ids, t->tokens[id].text, id, &other))
			return greta_err_set(l->e, GRETA_EINVAL,
					     "%s: key 'tokenizer.ggml.tokens': tokens %" PRIu32 " and %" PRIu32
					     " are the same text",
					     gguf_path(l->g), other, id);
	}
	return 0;
}

/* A per-token array that a file may lack: 0 and *kv NULL then. */
static int find_column(struct load *l, const char *key, enum gguf_value_type type, const struct gguf_kv **kv)
{
	*kv = NULL;
	if (!gguf_find(l->g, key))
		return 0;
	*kv = gguf_get_array(l->g, key, type, l->e);
	if (!*kv)
		return -1;
	if ((*kv)->n == l->t->n_tokens)
		return 0;
	return greta_err_set(l->e, GRETA_EINVAL, "%s: key '%s' has %" PRIu64 " items for %" PRIu32 " tokens",
			     gguf_path(l->g), key, (*kv)->n, l->t->n_tokens);
}

static int load_columns(struct load *l)
{
	const struct gguf_kv *scores, *kinds;

	if (find_column(l, "tokenizer.ggml.scores", GGUF_F64, &scores) ||
	    find_column(l, "tokenizer.ggml.token_type", GGUF_I64, &kinds))
		return -1;
	for (uint32_t i = 0; i < l->t->n_tokens; i++) {
		struct token *token = &l->t->tokens[i];
		if (scores)
			token->score = (float)gguf_item_f64(scores, i);
		if (isnan(token->score))
			return refuse(l, "tokenizer.ggml.scores", "has a NaN in it");
		int64_t kind = kinds ? gguf_item_i64(kinds, i) : TOKEN_NORMAL;
		token->kind = kind > 0 && kind <= TOKEN_BYTE ? (uint8_t)kind : 0;
	}
	return 0;
}

static int load_merges(struct load *l, const struct gguf_kv *merges)
{
	struct gguf_str s;
	uint64_t at = 0;
	uint32_t rank = 0, earlier;

	names_init(&l->t->merges, merges->n);
	for (; gguf_next_str(merges, &at, &s); rank++)
		names_add(&l->t->merges, keep(l, s.s, strnlen(s.s, s.n)), rank, &earlier); /* the earlier rank counts */
	return 0;
}

/* --- special tokens --- */

/* Tokens known by their text. llama.cpp takes them for control tokens whatever the file says of their kind. */
static const struct known_token {
	const char *text;
	bool ends; /* generation stops after it */
} known_tokens[] = {
	{"<|eot_id|>", true},
	{"<|im_end|>", true},
	{"<|end|>", true},
	{"<end_of_turn>", true},
	{"<|endoftext|>", true},
	{"<|eom_id|>", true},
	{"<EOT>", true},
	{"<\xef\xbd\x9c"
	 "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
	 true},
	{"<|fim_prefix|>", false},
	{"<fim-prefix>", false},
	{"<PRE>", false},
	{"<|fim_suffix|>", false},
	{"<fim-suffix>", false},
	{"<SUF>", false},
	{"<|fim_middle|>", false},
	{"<fim-middle>", false},
	{"<MID>", false},
	{"<|fim_pad|>", true},
	{"<fim-pad>", true},
	{"<PAD>", true},
	{"<|fim_repo|>", true},
	{"<|repo_name|>", true},
	{"<fim-repo>", true},
	{"<REPO>", true},
	{"<|file_sep|>", true},
};

static void mark_known(struct tokenizer *t)
{
	for (size_t i = 0; i < GRETA_COUNT(known_tokens); i++) {
		const char *text = known_tokens[i].text;
		uint32_t id = names_find(&t->ids, text, strlen(text));
		if (id == TOKENIZER_NONE)
			continue;
		t->tokens[id].kind = TOKEN_CONTROL;
		t->ends[id] |= known_tokens[i].ends;
	}
}

/* 0xFFFFFFFF in a file, as no key, means what the kind of tokenizer has by default. */
static int load_id(struct load *l, const char *key, uint32_t fallback, uint32_t *out)
{
	uint32_t id;

	*out = fallback < l->t->n_tokens ? fallback : TOKENIZER_NONE;
	if (gguf_get_u32_or(l->g, key, TOKENIZER_NONE, &id, l->e))
		return -1;
	if (id == TOKENIZER_NONE)
		return 0;
	if (id >= l->t->n_tokens)
		return greta_err_set(l->e, GRETA_EINVAL,
				     "%s: key '%s' is %" PRIu32 ", but there are %" PRIu32 " tokens", gguf_path(l->g),
				     key, id, l->t->n_tokens);
	*out = id;
	return 0;
}

static int load_special_ids(struct load *l)
{
	struct tokenizer *t = l->t;

	if (load_id(l, "tokenizer.ggml.bos_token_id", t->bpe ? 11 : 1, &t->bos) ||
	    load_id(l, "tokenizer.ggml.eos_token_id", t->bpe ? 11 : 2, &t->eos) ||
	    load_id(l, "tokenizer.ggml.unknown_token_id", t->bpe ? TOKENIZER_NONE : 0, &t->unknown) ||
	    load_id(l, "tokenizer.ggml.eot_token_id", TOKENIZER_NONE, &t->eot))
		return -1;
	mark_known(t);
	if (t->eos != TOKENIZER_NONE)
		t->ends[t->eos] = 1;
	if (t->eot != TOKENIZER_NONE)
		t->ends[t->eot] = 1;
	return 0;
}

static int load_habits(struct load *l)
{
	struct tokenizer *t = l->t;

	if (gguf_get_bool_or(l->g, "tokenizer.ggml.add_bos_token", !t->bpe || t->split->add_bos, &t->add_bos, l->e) ||
	    gguf_get_bool_or(l->g, "tokenizer.ggml.add_eos_token", false, &t->add_eos, l->e) ||
	    gguf_get_bool_or(l->g, "tokenizer.ggml.add_space_prefix", !t->bpe, &t->add_space_prefix, l->e))
		return -1;
	if (t->add_bos && t->bos == TOKENIZER_NONE)
		return refuse(l, "tokenizer.ggml.bos_token_id", "is missing, and BOS is to be added");
	if (t->add_eos && t->eos == TOKENIZER_NONE)
		return refuse(l, "tokenizer.ggml.eos_token_id", "is missing, and EOS is to be added");
	return 0;
}

static int compare_ids(const void *a, const void *b, void *arg)
{
	const struct token *tokens = arg;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	if (tokens[x].text.n != tokens[y].text.n)
		return tokens[x].text.n > tokens[y].text.n ? -1 : 1;
	return x < y ? -1 : x > y;
}

/* Which of t->special begin with a byte: places begin[byte] up to begin[byte + 1] of by_byte. */
static void index_special_bytes(struct tokenizer *t)
{
	size_t place[257] = {0};

	for (size_t i = 0; i < t->n_special; i++)
		place[(unsigned char)t->tokens[t->special[i]].text.s[0] + 1]++;
	for (int byte = 0; byte < 256; byte++)
		place[byte + 1] += place[byte];
	memcpy(t->special_begin, place, sizeof place);
	t->special_by_byte = greta_alloc((t->n_special + 1) * sizeof *t->special_by_byte);
	for (size_t i = 0; i < t->n_special; i++)
		t->special_by_byte[place[(unsigned char)t->tokens[t->special[i]].text.s[0]]++] = i;
}

static void index_special(struct tokenizer *t)
{
	t->special = greta_alloc((t->n_tokens + 1) * sizeof *t->special);
	for (uint32_t id = 0; id < t->n_tokens; id++) {
		uint8_t kind = t->tokens[id].kind;
		if (kind == TOKEN_CONTROL || kind == TOKEN_USER_DEFINED || kind == TOKEN_UNKNOWN)
			t->special[t->n_special++] = id;
	}
	qsort_r(t->special, t->n_special, sizeof *t->special, compare_ids, t->tokens);
	index_special_bytes(t);
}

static void index_bytes(struct tokenizer *t)
{
	char text[8];

	for (int byte = 0; byte < 256; byte++) {
		char raw = (char)byte;
		snprintf(text, sizeof text, "<0x%02X>", byte);
		t->byte_ids[byte] = names_find(&t->ids, text, 6);
		if (t->byte_ids[byte] == TOKENIZER_NONE)
			t->byte_ids[byte] = names_find(&t->ids, &raw, 1);
	}
}

/* --- the whole --- */

static int load_kind(struct load *l)
{
	struct gguf_str model, pre;

	if (gguf_get_str(l->g, "tokenizer.ggml.model", &model, l->e) ||
	    gguf_get_str_or(l->g, "tokenizer.ggml.pre", "", &pre, l->e))
		return -1;
	l->t->bpe = gguf_str_eq(model, "gpt2");
	if (!l->t->bpe && !gguf_str_eq(model, "llama"))
		return greta_err_set(
			l->e, GRETA_EUNSUPPORTED,
			"%s: key 'tokenizer.ggml.model': tokenizer '%.*s' is not supported; llama and gpt2 are",
			gguf_path(l->g), (int)(model.n < 64 ? model.n : 64), model.s);
	if (!l->t->bpe)
		return 0;
	l->t->split = split_rules_named(pre.n ? pre : (struct gguf_str){"default", 7});
	if (l->t->split)
		return 0;
	return greta_err_set(
		l->e, GRETA_EUNSUPPORTED,
		"%s: key 'tokenizer.ggml.pre': pre-tokenizer '%.*s' is not supported; default, gpt-2, llama-bpe, "
		"qwen2, smollm and their like are",
		gguf_path(l->g), (int)(pre.n < 64 ? pre.n : 64), pre.s);
}

static int load(struct load *l)
{
	struct tokenizer *t = l->t;
	const struct gguf_kv *texts, *merges = NULL;

	if (load_kind(l))
		return -1;
	texts = gguf_get_array(l->g, "tokenizer.ggml.tokens", GGUF_STR, l->e);
	if (texts && t->bpe)
		merges = gguf_get_array(l->g, "tokenizer.ggml.merges", GGUF_STR, l->e);
	if (!texts || (t->bpe && !merges))
		return -1;
	if (texts->n == 0 || texts->n > MAX_TOKENS)
		return refuse(l, "tokenizer.ggml.tokens", texts->n ? "has more than 2^24 tokens" : "is empty");
	t->n_tokens = (uint32_t)texts->n;
	/* Room for every string, and for "[EMPTY_n]" where the file has only a length of 8 bytes. */
	t->arena = greta_alloc(texts->bytes + 16 * texts->n + (merges ? merges->bytes : 0));
	t->tokens = greta_alloc(texts->n * sizeof *t->tokens);
	t->ends = greta_alloc(texts->n);
	l->arena_at = t->arena;
	names_init(&t->ids, texts->n);
	if (load_tokens(l, texts) || load_columns(l) || (merges && load_merges(l, merges)) || load_special_ids(l) ||
	    load_habits(l))
		return -1;
	index_special(t);
	index_bytes(t);
	return 0;
}

struct tokenizer *tokenizer_create(const struct gguf *g, struct greta_err *e)
{
	struct load l = {.g = g, .t = greta_alloc(sizeof *l.t), .e = e};

	if (!load(&l))
		return l.t;
	tokenizer_destroy(l.t);
	return NULL;
}
