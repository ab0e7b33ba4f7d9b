/* Any bytes as text for two vocabularies that know every byte: nothing of the text may be lost. */
#include "engine/synth.h"
#include "engine/tokenizer.h"
#include "engine/unicode.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct tokenizer *make(bool bpe)
{
	struct synth_shape shape = {.n_vocab = 4096, .bpe = bpe};
	char path[] = "/tmp/fuzz-vocab-XXXXXX";
	struct greta_err e;
	struct gguf_write *w;

	close(mkstemp(path));
	w = gguf_write_create(path, &e);
	synth_vocab(&shape, w);
	if (gguf_write_start(w, &e) || gguf_write_commit(w, &e))
		abort();
	gguf_write_destroy(w);
	struct gguf *g = gguf_open(path, &e);
	struct tokenizer *t = tokenizer_create(g, &e);
	gguf_close(g);
	unlink(path);
	return t;
}

/* What byte-level BPE sees of bytes that are no UTF-8. */
static void add_readable(struct greta_buf *out, const char *text, size_t n)
{
	char utf8[4];
	size_t len;

	for (size_t at = 0; at < n; at += len)
		greta_buf_add(out, utf8, unicode_encode(unicode_decode(text + at, n - at, &len), utf8));
}

/* A broken character before a space swallows it: it comes back as the bytes of U+2581, as in every implementation. */
static void restore_spaces(struct greta_buf *b)
{
	struct greta_buf out = {0};

	for (size_t i = 0; i < b->len;) {
		bool space = b->len - i >= 3 && !memcmp(b->data + i, "\xe2\x96\x81", 3);
		greta_buf_addc(&out, space ? ' ' : b->data[i]);
		i += space ? 3 : 1;
	}
	greta_buf_release(b);
	*b = out;
}

static void check(const struct tokenizer *t, bool is_spm, const struct greta_buf *wanted, const char *text, size_t n)
{
	struct tokenizer_ids ids = {0};
	struct greta_buf got = {0};
	struct greta_err e;

	if (tokenizer_encode(t, text, n, 0, &ids, &e))
		abort();
	for (size_t i = 0; i < ids.n; i++)
		tokenizer_piece(t, ids.id[i], &got);
	if (is_spm)
		restore_spaces(&got);
	if (got.len != wanted->len || memcmp(greta_buf_str(&got), greta_buf_str(wanted), got.len))
		abort();
	tokenizer_ids_release(&ids);
	/* With special tokens, some of the text becomes tokens without text. */
	if (tokenizer_encode(t, text, n, TOKENIZER_BOS | TOKENIZER_SPECIAL, &ids, &e))
		abort();
	for (size_t i = 0; i < ids.n; i++)
		if (ids.id[i] >= tokenizer_n_vocab(t))
			abort();
	tokenizer_ids_release(&ids);
	greta_buf_release(&got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct tokenizer *spm, *bpe;
	struct greta_buf wanted = {0};

	if (!spm) {
		spm = make(false);
		bpe = make(true);
	}
	if (n)
		greta_buf_addc(&wanted, ' '); /* SentencePiece begins with one */
	greta_buf_add(&wanted, data, n);
	/* U+2581 is SentencePiece's space, in the text too: it comes back as one. */
	if (!memmem(data, n, "\xe2\x96\x81", 3))
		check(spm, true, &wanted, (const char *)data, n);
	greta_buf_clear(&wanted);
	add_readable(&wanted, (const char *)data, n);
	check(bpe, false, &wanted, (const char *)data, n);
	greta_buf_release(&wanted);
	return 0;
}
