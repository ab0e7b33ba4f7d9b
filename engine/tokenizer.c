#include "engine/tokenizer_impl.h"

#include "base/mem.h"
#include "engine/unicode.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT ((size_t)1 << 28) /* bytes of a text: positions are kept in 32 bits, and spaces become three bytes */
#define MAX_TOKENS (UINT32_C(1) << 24)

/* --- strings to numbers --- */

static uint64_t hash_add(uint64_t h, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * UINT64_C(0x100000001b3);
	return h;
}

static size_t hash_slot(const struct names *m, uint64_t h)
{
	return (size_t)((h ^ h >> 32) * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (m->cap - 1);
}

#define HASH_SEED UINT64_C(0xcbf29ce484222325)

void names_init(struct names *m, size_t n_entries)
{
	m->cap = 16;
	while (m->cap < 2 * n_entries)
		m->cap *= 2;
	m->slot = greta_alloc(m->cap * sizeof *m->slot);
}

void names_release(struct names *m)
{
	free(m->slot);
	*m = (struct names){0};
}

bool names_add(struct names *m, struct gguf_str text, uint32_t value, uint32_t *there)
{
	size_t i = hash_slot(m, hash_add(HASH_SEED, text.s, text.n));

	for (; m->slot[i].used; i = (i + 1) & (m->cap - 1))
		if (m->slot[i].text.n == text.n && !memcmp(m->slot[i].text.s, text.s, text.n)) {
			*there = m->slot[i].value;
			return false;
		}
	m->slot[i] = (struct name){text, value, true};
	return true;
}

uint32_t names_find(const struct names *m, const char *s, size_t n)
{
	for (size_t i = hash_slot(m, hash_add(HASH_SEED, s, n)); m->slot[i].used; i = (i + 1) & (m->cap - 1))
		if (m->slot[i].text.n == n && !memcmp(m->slot[i].text.s, s, n))
			return m->slot[i].value;
	return TOKENIZER_NONE;
}

uint32_t names_find_pair(const struct names *m, const char *a, size_t n_a, const char *b, size_t n_b)
{
	uint64_t h = hash_add(hash_add(hash_add(HASH_SEED, a, n_a), " ", 1), b, n_b);

	for (size_t i = hash_slot(m, h); m->slot[i].used; i = (i + 1) & (m->cap - 1)) {
		struct gguf_str text = m->slot[i].text;
		if (text.n == n_a + 1 + n_b && text.s[n_a] == ' ' && !memcmp(text.s, a, n_a) &&
		    !memcmp(text.s + n_a + 1, b, n_b))
			return m->slot[i].value;
	}
	return TOKENIZER_NONE;
}

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

/* --- making one --- */

bool tokenizer_present(const struct gguf *g)
{
	struct gguf_str model;

	if (!gguf_find(g, "tokenizer.ggml.model"))
		return false;
	return gguf_get_str(g, "tokenizer.ggml.model", &model, NULL) ||
	       (!gguf_str_eq(model, "none") && !gguf_str_eq(model, "no_vocab"));
}

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

uint32_t tokenizer_eos(const struct tokenizer *t)
{
	return t->eos;
}

bool tokenizer_adds_bos(const struct tokenizer *t)
{
	return t->add_bos;
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
