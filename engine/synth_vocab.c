/* A vocabulary that tokenizes any text: the bytes that its kind of tokenizer falls back on, then pieces in a fixed
 * order: single printable characters, then letters of growing length, bare and at the beginning of a word. */
#include "engine/synth.h"

#include "base/mem.h"
#include "base/str.h"
#include <stdio.h>

#define SPACE "\xe2\x96\x81" /* U+2581, SentencePiece's space */
#define BPE_SPACE "\xc4\xa0" /* U+0120, byte 0x20 in byte-level BPE */

enum token_type { TOKEN_NORMAL = 1, TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_BYTE = 6 };

struct vocab {
	const struct synth_shape *shape;
	struct greta_buf tokens, scores, types, merges;
	uint32_t n, n_merges;
	uint32_t n_pieces; /* ids below this are bytes and pieces; what follows are control tokens */
};

static void add_token(struct vocab *v, const char *text, float score, int32_t type)
{
	gguf_write_item(&v->tokens, text, strlen(text));
	greta_buf_add(&v->scores, &score, sizeof score);
	greta_buf_add(&v->types, &type, sizeof type);
	v->n++;
}

/* A piece that is left + right, as far as there is room. Earlier pieces merge first. */
static void add_piece(struct vocab *v, const char *left, const char *right)
{
	char text[64];

	if (v->n >= v->n_pieces)
		return;
	snprintf(text, sizeof text, "%s%s", left, right);
	add_token(v, text, -(float)v->n, TOKEN_NORMAL);
	if (!v->shape->bpe)
		return;
	snprintf(text, sizeof text, "%s %s", left, right);
	gguf_write_item(&v->merges, text, strlen(text));
	v->n_merges++;
}

/* Letters number `i` of the words of `length` letters, in alphabetical order. */
static void spell(uint64_t i, int length, char *out)
{
	out[length] = 0;
	for (int k = length - 1; k >= 0; k--, i /= 26)
		out[k] = (char)('a' + i % 26);
}

/* All words of 1, 2, 3 ... letters, each after its beginning, which both kinds of merging need: bare, and after a
 * space. */
static void add_words(struct vocab *v, const char *space)
{
	uint64_t words = 26;

	for (int length = 1; v->n < v->n_pieces; length++, words *= 26)
		for (uint64_t i = 0; i < words && v->n < v->n_pieces; i++) {
			char word[32], begin[64], last[2];
			spell(i, length, word);
			last[0] = word[length - 1];
			last[1] = 0;
			word[length - 1] = 0;
			if (length > 1)
				add_piece(v, word, last);
			snprintf(begin, sizeof begin, "%s%s", space, word);
			add_piece(v, begin, last);
		}
}

static void fill_spm(struct vocab *v)
{
	char text[8];

	add_token(v, "<unk>", 0, TOKEN_UNKNOWN);
	add_token(v, "<s>", 0, TOKEN_CONTROL);
	add_token(v, "</s>", 0, TOKEN_CONTROL);
	for (int byte = 0; byte < 256; byte++) {
		snprintf(text, sizeof text, "<0x%02X>", byte);
		add_token(v, text, 0, TOKEN_BYTE);
	}
	v->n_pieces = v->shape->n_vocab;
	add_piece(v, SPACE, "");
	for (int c = '!'; c <= '~'; c++)
		add_piece(v, "", (char[]){(char)c, 0});
	add_words(v, SPACE);
}

/* The character that stands for a byte in byte-level BPE: itself where it is visible in Latin-1, else one of the 68
 * from U+0100 on, in order. */
static void byte_text(int byte, int *n_hidden, char out[3])
{
	bool visible = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xff && byte != 0xad);
	int c = visible ? byte : 0x100 + (*n_hidden)++;

	if (c < 0x80) {
		out[0] = (char)c;
		out[1] = 0;
	} else {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		out[2] = 0;
	}
}

static void fill_bpe(struct vocab *v)
{
	int n_hidden = 0;
	char text[3];

	for (int byte = 0; byte < 256; byte++) {
		byte_text(byte, &n_hidden, text);
		add_token(v, text, 0, TOKEN_NORMAL);
	}
	v->n_pieces = v->shape->n_vocab - 2;
	add_words(v, BPE_SPACE);
	add_token(v, "<|begin_of_text|>", 0, TOKEN_CONTROL);
	add_token(v, "<|end_of_text|>", 0, TOKEN_CONTROL);
}

static void write_kind(const struct vocab *v, struct gguf_write *w)
{
	if (!v->shape->bpe) {
		gguf_write_str(w, "tokenizer.ggml.model", "llama");
		gguf_write_u32(w, "tokenizer.ggml.bos_token_id", 1);
		gguf_write_u32(w, "tokenizer.ggml.eos_token_id", 2);
		gguf_write_u32(w, "tokenizer.ggml.unknown_token_id", 0);
	} else {
		gguf_write_str(w, "tokenizer.ggml.model", "gpt2");
		gguf_write_str(w, "tokenizer.ggml.pre", "llama-bpe");
		gguf_write_u32(w, "tokenizer.ggml.bos_token_id", v->n - 2);
		gguf_write_u32(w, "tokenizer.ggml.eos_token_id", v->n - 1);
		gguf_write_array(w, "tokenizer.ggml.merges", GGUF_STR, v->n_merges, v->merges.data, v->merges.len);
	}
	gguf_write_bool(w, "tokenizer.ggml.add_bos_token", true);
	gguf_write_bool(w, "tokenizer.ggml.add_eos_token", false);
}

void synth_vocab(const struct synth_shape *s, struct gguf_write *w)
{
	struct vocab v = {.shape = s};

	if (s->bpe)
		fill_bpe(&v);
	else
		fill_spm(&v);
	write_kind(&v, w);
	gguf_write_array(w, "tokenizer.ggml.tokens", GGUF_STR, v.n, v.tokens.data, v.tokens.len);
	gguf_write_array(w, "tokenizer.ggml.scores", GGUF_F32, v.n, v.scores.data, v.scores.len);
	gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_I32, v.n, v.types.data, v.types.len);
	greta_buf_release(&v.tokens);
	greta_buf_release(&v.scores);
	greta_buf_release(&v.types);
	greta_buf_release(&v.merges);
}
