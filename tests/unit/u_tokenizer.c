/* tokenizer: small vocabularies made here, for the rules; and llama.cpp's ids for many texts, where they are. */
#include "tests/unit/unit.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/str.h"
#include "engine/gguf_write.h"
#include "engine/synth.h"
#include "engine/tokenizer.h"
#include "engine/tokenizer_impl.h"
#include "engine/unicode.h"
#include "schemas/json.h"
#include <dirent.h>
#include <string.h>

/* --- making a vocabulary --- */

struct vocab {
	struct greta_buf tokens, scores, kinds, merges;
	uint32_t n, n_merges;
};

static void token(struct vocab *v, const char *text, float score, int32_t kind)
{
	gguf_write_item(&v->tokens, text, strlen(text));
	greta_buf_add(&v->scores, &score, sizeof score);
	greta_buf_add(&v->kinds, &kind, sizeof kind);
	v->n++;
}

static void merge(struct vocab *v, const char *text)
{
	gguf_write_item(&v->merges, text, strlen(text));
	v->n_merges++;
}

/* 0 <unk>, 1 <s>, 2 </s>, 3.. bytes; 259 is the first free id. */
static void spm_base(struct vocab *v)
{
	char text[8];

	token(v, "<unk>", 0, TOKEN_UNKNOWN);
	token(v, "<s>", 0, TOKEN_CONTROL);
	token(v, "</s>", 0, TOKEN_CONTROL);
	for (int i = 0; i < 256; i++) {
		snprintf(text, sizeof text, "<0x%02X>", i);
		token(v, text, 0, TOKEN_BYTE);
	}
}

static struct gguf_write *begin(struct vocab *v, const char *model, const char *pre)
{
	struct gguf_write *w = gguf_write_create("vocab.gguf", NULL);

	assert_non_null(w);
	gguf_write_str(w, "tokenizer.ggml.model", model);
	if (pre)
		gguf_write_str(w, "tokenizer.ggml.pre", pre);
	gguf_write_array(w, "tokenizer.ggml.tokens", GGUF_STR, v->n, v->tokens.data, v->tokens.len);
	if (v->n_merges)
		gguf_write_array(w, "tokenizer.ggml.merges", GGUF_STR, v->n_merges, v->merges.data, v->merges.len);
	return w;
}

static void columns(struct gguf_write *w, const struct vocab *v)
{
	gguf_write_array(w, "tokenizer.ggml.scores", GGUF_F32, v->n, v->scores.data, v->scores.len);
	gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_I32, v->n, v->kinds.data, v->kinds.len);
}

static void release(struct vocab *v)
{
	greta_buf_release(&v->tokens);
	greta_buf_release(&v->scores);
	greta_buf_release(&v->kinds);
	greta_buf_release(&v->merges);
}

static struct tokenizer *finish(struct gguf_write *w, struct vocab *v, struct greta_err *e)
{
	if (gguf_write_start(w, e) || gguf_write_commit(w, e))
		fail_msg("%s", e->text);
	gguf_write_destroy(w);
	release(v);
	struct gguf *g = gguf_open("vocab.gguf", e);
	assert_non_null(g);
	struct tokenizer *t = tokenizer_create(g, e);
	gguf_close(g); /* the tokenizer borrows nothing */
	return t;
}

static void assert_ids(const struct tokenizer *t, const char *text, unsigned flags, size_t n, const uint32_t *wanted)
{
	struct tokenizer_ids ids = {0};
	struct greta_err e = {0};

	assert_ok(tokenizer_encode(t, text, strlen(text), flags, &ids, &e));
	assert_int_equal(ids.n, n);
	assert_memory_equal(ids.id, wanted, n * sizeof *wanted);
	tokenizer_ids_release(&ids);
}

#define IDS(...)                                                                                                       \
	sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), (uint32_t[])                                             \
	{                                                                                                              \
		__VA_ARGS__                                                                                            \
	}
#define SP "\xe2\x96\x81"

/* --- SentencePiece --- */

static struct tokenizer *spm_tokenizer(void)
{
	struct greta_err e = {0};
	struct vocab v = {0};

	spm_base(&v);
	token(&v, SP, -1, TOKEN_NORMAL);             /* 259 */
	token(&v, "a", -2, TOKEN_NORMAL);            /* 260 */
	token(&v, "b", -3, TOKEN_NORMAL);            /* 261 */
	token(&v, "ab", -4, TOKEN_NORMAL);           /* 262 */
	token(&v, SP "a", -5, TOKEN_NORMAL);         /* 263 */
	token(&v, "aa", -4.5f, TOKEN_NORMAL);        /* 264 */
	token(&v, "[user]", 0, TOKEN_USER_DEFINED);  /* 265 */
	token(&v, "[user]2", 0, TOKEN_USER_DEFINED); /* 266 */
	struct gguf_write *w = begin(&v, "llama", NULL);
	columns(w, &v);
	struct tokenizer *t = finish(w, &v, &e);
	assert_non_null(t);
	return t;
}

static void test_tokenizer__spm_joins_by_score_leftmost_first(void **state)
{
	struct tokenizer *t = spm_tokenizer();

	(void)state;
	assert_ids(t, "ab", 0, IDS(259, 262)); /* "ab" beats the better-looking space + "a" */
	assert_ids(t, "aaa", 0, IDS(259, 264, 260));
	assert_ids(t, " a", 0, IDS(259, 263));
	assert_ids(t, "", 0, 0, NULL);
	assert_ids(t, "", TOKENIZER_BOS, IDS(1));
	tokenizer_destroy(t);
}

static void test_tokenizer__spm_falls_back_on_bytes(void **state)
{
	struct tokenizer *t = spm_tokenizer();

	(void)state;
	assert_ids(t, "\xc3\xa9", 0, IDS(259, 3 + 0xc3, 3 + 0xa9));
	assert_ids(t, "\xff", 0, IDS(259, 3 + 0xff)); /* no UTF-8 */
	assert_ids(t, "\xe2\x82", 0, IDS(259, 3 + 0xe2, 3 + 0x82));
	assert_ids(t, "\n\t", 0, IDS(259, 3 + 10, 3 + 9));
	tokenizer_destroy(t);
}

static void test_tokenizer__spm_special_tokens(void **state)
{
	struct tokenizer *t = spm_tokenizer();

	(void)state;
	/* As text only with TOKENIZER_SPECIAL; each text after one gets a space in front. */
	assert_ids(t, "a<s>b", TOKENIZER_SPECIAL, IDS(263, 1, 259, 261));
	assert_ids(t, "<s>", TOKENIZER_BOS | TOKENIZER_SPECIAL, IDS(1, 1));
	assert_ids(t, "<s>", 0, IDS(259, 3 + '<', 3 + 's', 3 + '>'));
	/* User-defined tokens always, the longest first. */
	assert_ids(t, "[user]2[user]", 0, IDS(266, 265));
	tokenizer_destroy(t);
}

static void test_tokenizer__spm_obeys_the_files_habits(void **state)
{
	struct greta_err e = {0};
	struct vocab v = {0};

	(void)state;
	spm_base(&v);
	token(&v, "a", -1, TOKEN_NORMAL); /* 259 */
	struct gguf_write *w = begin(&v, "llama", "default");
	columns(w, &v);
	gguf_write_bool(w, "tokenizer.ggml.add_space_prefix", false);
	gguf_write_bool(w, "tokenizer.ggml.add_bos_token", false);
	gguf_write_bool(w, "tokenizer.ggml.add_eos_token", true);
	gguf_write_u32(w, "tokenizer.ggml.eos_token_id", 259);
	gguf_write_u32(w, "tokenizer.ggml.bos_token_id", UINT32_MAX); /* as none: the default */
	struct tokenizer *t = finish(w, &v, &e);
	assert_ids(t, "a", TOKENIZER_BOS, IDS(259, 259));
	assert_int_equal(tokenizer_bos(t), 1);
	assert_true(tokenizer_ends(t, 259));
	assert_false(tokenizer_ends(t, 2));
	tokenizer_destroy(t);
}

static void test_tokenizer__pieces_are_what_was_written(void **state)
{
	struct tokenizer *t = spm_tokenizer();
	cleanup_buf struct greta_buf b = {0};
	static const uint32_t ids[] = {1, 263, 3 + 0xc3, 3 + 0xa9, 265, 2, 999};

	(void)state;
	for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
		tokenizer_piece(t, ids[i], &b);
	assert_string_equal(greta_buf_str(&b), " a\xc3\xa9[user]");
	tokenizer_destroy(t);
}

/* --- byte-level BPE --- */

/* Bytes as ids 0..255; G stands for the character of a space. */
#define G "\xc4\xa0"

static void bpe_base(struct vocab *v)
{
	char text[5];

	for (int byte = 0; byte < 256; byte++) {
		text[unicode_encode(tokenizer_bpe_char((uint8_t)byte), text)] = 0;
		token(v, text, 0, TOKEN_NORMAL);
	}
}

static struct tokenizer *bpe_tokenizer(const char *pre)
{
	struct greta_err e = {0};
	struct vocab v = {0};

	bpe_base(&v);
	token(&v, "ab", 0, TOKEN_NORMAL);       /* 256 */
	token(&v, "bc", 0, TOKEN_NORMAL);       /* 257 */
	token(&v, G "a", 0, TOKEN_NORMAL);      /* 258 */
	token(&v, "whole", 0, TOKEN_NORMAL);    /* 259: no merges lead to it */
	token(&v, "<|bos|>", 0, TOKEN_CONTROL); /* 260 */
	merge(&v, "b c");
	merge(&v, "a b");
	merge(&v, G " a");
	struct gguf_write *w = begin(&v, "gpt2", pre);
	gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_I32, v.n, v.kinds.data, v.kinds.len);
	gguf_write_u32(w, "tokenizer.ggml.bos_token_id", 260);
	struct tokenizer *t = finish(w, &v, &e);
	assert_non_null(t);
	return t;
}

static void test_tokenizer__bpe_joins_by_rank(void **state)
{
	struct tokenizer *t = bpe_tokenizer("gpt-2");

	(void)state;
	assert_ids(t, "abc", 0, IDS('a', 257));
	assert_ids(t, "ab a", 0, IDS(256, 258));
	assert_ids(t, "whole", 0, IDS('w', 'h', 'o', 'l', 'e'));
	assert_ids(t, "ab", TOKENIZER_BOS, IDS(256)); /* gpt-2 adds no BOS */
	assert_ids(t, "<|bos|>", TOKENIZER_SPECIAL, IDS(260));
	assert_ids(t, "\xff", 0, IDS(0xef, 0xbf, 0xbd)); /* what is no UTF-8 becomes U+FFFD */
	tokenizer_destroy(t);
}

static void test_tokenizer__bpe_of_llama3_takes_whole_words_and_adds_bos(void **state)
{
	struct tokenizer *t = bpe_tokenizer("llama-bpe");

	(void)state;
	assert_ids(t, "whole", TOKENIZER_BOS, IDS(260, 259));
	tokenizer_destroy(t);
}

static void test_tokenizer__bpe_bytes_and_characters_are_inverse(void **state)
{
	(void)state;
	for (int byte = 0; byte < 256; byte++)
		assert_int_equal(tokenizer_bpe_byte(tokenizer_bpe_char((uint8_t)byte)), byte);
	assert_int_equal(tokenizer_bpe_char(' '), 0x120);
	assert_int_equal(tokenizer_bpe_char('\n'), 0x10a);
	assert_int_equal(tokenizer_bpe_char(0xad), 0x143);
	assert_int_equal(tokenizer_bpe_byte(0x144), -1);
}

/* Words joined by '|'. */
static void assert_split(const char *pre, const char *text, const char *wanted)
{
	struct gguf_str name = {pre, strlen(pre)};
	struct split_text split = {0};
	cleanup_buf struct greta_buf b = {0};
	char utf8[4];

	assert_non_null(split_rules_named(name));
	split_run(split_rules_named(name), text, strlen(text), &split);
	for (size_t i = 0, at = 0; i < split.n_ends; i++) {
		for (; at < split.ends[i]; at++)
			greta_buf_add(&b, utf8, unicode_encode(split.chars[at], utf8));
		greta_buf_adds(&b, i + 1 < split.n_ends ? "|" : "");
	}
	assert_string_equal(greta_buf_str(&b), wanted);
	split_release(&split);
}

static void test_tokenizer__words_of_each_pre_tokenizer(void **state)
{
	(void)state;
	assert_split("gpt-2", "Hello world's  12345!?\n\n x", "Hello| world|'s| | 12345|!?|\n\n| x");
	assert_split("gpt-2", "IT'S we'll  ", "IT|'|S| we|'ll|  ");
	assert_split("llama-bpe", "IT'S we'll 12345!\n\n x", "IT|'S| we|'ll| |123|45|!\n\n| x");
	assert_split("llama3", "\ta,b  \n  c", "\ta|,b|  \n| | c");
	assert_split("qwen2", "a 123", "a| |1|2|3");
	assert_split("smollm", "a 123", "a| |1|2|3");
	assert_split("default", "a 12345,+b", "a| |123|45|,+|b");
	assert_split("default", "\xe4\xbd\xa0\xe5\xa5\xbd\xe3\x80\x82ok", "\xe4\xbd\xa0\xe5\xa5\xbd|\xe3\x80\x82|ok");
	assert_split("gpt-2", "", "");
}

static void test_tokenizer__unicode_classes(void **state)
{
	static const struct {
		uint32_t c;
		enum unicode_class class;
	} cases[] = {
		{'a', UNICODE_LETTER},         {'0', UNICODE_NUMBER},     {'$', UNICODE_OTHER},
		{'_', UNICODE_PUNCTUATION},    {0x85, UNICODE_SPACE},     {0xa0, UNICODE_SPACE},
		{0x3000, UNICODE_SPACE},       {0x200b, UNICODE_OTHER},   {0xaa, UNICODE_LETTER},
		{0xb2, UNICODE_NUMBER},        {0x2167, UNICODE_NUMBER},  {0x301, UNICODE_OTHER},
		{0x3042, UNICODE_LETTER},      {0x4e00, UNICODE_LETTER},  {0x9fff, UNICODE_LETTER},
		{0xac00, UNICODE_LETTER},      {0xd7a3, UNICODE_LETTER},  {0xd7a4, UNICODE_OTHER},
		{0xd800, UNICODE_OTHER},       {0xe000, UNICODE_OTHER},   {0xff10, UNICODE_NUMBER},
		{0x1f600, UNICODE_OTHER},      {0x20000, UNICODE_LETTER}, {0x2ebf0, UNICODE_LETTER},
		{0x2ee5d, UNICODE_LETTER},     {0x2ee5e, UNICODE_OTHER},  {0x323af, UNICODE_LETTER},
		{0x323b0, UNICODE_OTHER},      {0x10ffff, UNICODE_OTHER}, {UINT32_MAX, UNICODE_OTHER},
		{0x3002, UNICODE_PUNCTUATION},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		if (unicode_class(cases[i].c) != cases[i].class)
			fail_msg("U+%04X is of class %d", cases[i].c, unicode_class(cases[i].c));
}

/* --- refusals --- */

static void assert_refused(struct gguf_write *w, struct vocab *v, const char *part)
{
	struct greta_err e = {0};

	assert_null(finish(w, v, &e));
	if (!strstr(e.text, part) || !greta_str_starts(e.text, "vocab.gguf: "))
		fail_msg("'%s' is not in '%s'", part, e.text);
}

static struct gguf_write *refusable(struct vocab *v, const char *model, const char *pre)
{
	*v = (struct vocab){0};
	spm_base(v);
	return begin(v, model, pre);
}

static void test_tokenizer__refuses_by_name(void **state)
{
	struct vocab v;
	struct gguf_write *w = refusable(&v, "bert", NULL);

	(void)state;
	assert_refused(w, &v, "tokenizer 'bert' is not supported");
	w = refusable(&v, "gpt2", "tekken");
	assert_refused(w, &v, "pre-tokenizer 'tekken' is not supported");
	w = refusable(&v, "gpt2", "gpt-2");
	assert_refused(w, &v, "key 'tokenizer.ggml.merges' is missing");
}

static void test_tokenizer__a_file_may_have_none(void **state)
{
	struct greta_err e = {0};
	struct vocab v;
	struct gguf_write *w = refusable(&v, "none", NULL);

	(void)state;
	assert_ok(gguf_write_start(w, &e));
	assert_ok(gguf_write_commit(w, &e));
	gguf_write_destroy(w);
	release(&v);
	struct gguf *g = gguf_open("vocab.gguf", &e);
	assert_false(tokenizer_present(g));
	assert_null(tokenizer_create(g, &e));
	gguf_close(g);
}

static void test_tokenizer__refuses_what_does_not_fit(void **state)
{
	static const float few[] = {1, 2}, nan[259] = {[7] = 0.0f / 0.0f};
	struct vocab v;
	struct gguf_write *w = refusable(&v, "llama", NULL);

	(void)state;
	gguf_write_array(w, "tokenizer.ggml.scores", GGUF_F32, 2, few, sizeof few);
	assert_refused(w, &v, "key 'tokenizer.ggml.scores' has 2 items for 259 tokens");
	w = refusable(&v, "llama", NULL);
	gguf_write_array(w, "tokenizer.ggml.scores", GGUF_F32, 259, nan, sizeof nan);
	assert_refused(w, &v, "key 'tokenizer.ggml.scores' has a NaN");
	w = refusable(&v, "llama", NULL);
	gguf_write_u32(w, "tokenizer.ggml.bos_token_id", 259);
	assert_refused(w, &v, "key 'tokenizer.ggml.bos_token_id' is 259, but there are 259 tokens");
	v = (struct vocab){0};
	spm_base(&v);
	token(&v, "<s>", 0, TOKEN_NORMAL);
	assert_refused(begin(&v, "llama", NULL), &v, "tokens 1 and 259 are the same text");
}

/* --- time --- */

/* A quadratic way would take minutes for a megabyte without a space. */
static void test_tokenizer__long_texts_take_no_quadratic_time(void **state)
{
	const size_t n = 1000000;
	char *text = malloc(n);
	struct greta_err e = {0};

	(void)state;
	memset(text, 'a', n);
	for (int bpe = 0; bpe < 2; bpe++) {
		struct tokenizer *t = bpe ? bpe_tokenizer("gpt-2") : spm_tokenizer();
		struct tokenizer_ids ids = {0};
		int64_t begun = greta_clock_mono_ns();
		assert_ok(tokenizer_encode(t, text, n, 0, &ids, &e));
		assert_true(ids.n >= n / 2);
		assert_true(greta_clock_mono_ns() - begun < 30 * GRETA_NS_PER_S);
		tokenizer_ids_release(&ids);
		tokenizer_destroy(t);
	}
	free(text);
}

/* --- the reference cases --- */

static void read_hex(const char *hex, struct greta_buf *out)
{
	unsigned byte;

	greta_buf_clear(out);
	for (; sscanf(hex, "%2x", &byte) == 1; hex += 2)
		greta_buf_addc(out, (char)byte);
}

static void assert_case(const struct tokenizer *t, const char *file, const struct greta_json_val *c, const char *mode,
			unsigned flags)
{
	const struct greta_json_val *wanted = greta_json_get(c, mode), *item = greta_json_first(wanted);
	cleanup_buf struct greta_buf text = {0};
	struct tokenizer_ids ids = {0};
	struct greta_err e = {0};
	const char *hex;
	int64_t id;

	assert_int_equal(greta_json_str(greta_json_get(c, "hex"), &hex), 0);
	read_hex(hex, &text);
	assert_ok(tokenizer_encode(t, greta_buf_str(&text), text.len, flags, &ids, &e));
	if (ids.n != greta_json_size(wanted))
		fail_msg("%s: %s of %.60s: %zu tokens, %zu wanted", file, mode, hex, ids.n, greta_json_size(wanted));
	for (size_t i = 0; i < ids.n; i++, item = greta_json_next(item))
		if (greta_json_i64(item, &id) || ids.id[i] != id)
			fail_msg("%s: %s of %.60s: token %zu is %u", file, mode, hex, i, ids.id[i]);
	tokenizer_ids_release(&ids);
}

static struct tokenizer *tokenizer_of(const char *path)
{
	struct greta_err e = {0};
	struct gguf *g = gguf_open(path, &e);
	struct tokenizer *t = g ? tokenizer_create(g, &e) : NULL;

	if (!t)
		fail_msg("%s", e.text);
	gguf_close(g);
	return t;
}

static size_t check_reference(const char *file, const char *model)
{
	struct greta_err e = {0};
	struct greta_json *j = greta_json_load(file, 16 << 20, &e);
	const struct greta_json_val *c;
	size_t n = 0;

	if (!j)
		fail_msg("%s", e.text);
	c = greta_json_first(greta_json_get(greta_json_root(j), "tokenize"));
	struct tokenizer *t = tokenizer_of(model);
	for (; c; c = greta_json_next(c), n++) {
		assert_case(t, file, c, "plain", 0);
		assert_case(t, file, c, "bos", TOKENIZER_BOS);
		assert_case(t, file, c, "special", TOKENIZER_BOS | TOKENIZER_SPECIAL);
	}
	tokenizer_destroy(t);
	greta_json_destroy(j);
	return n;
}

#define DATA GRETA_SHARED_DATA "/gguf"

static void test_tokenizer__reference_cases(void **state)
{
	DIR *dir = opendir(DATA "/ref");
	struct dirent *entry;
	char file[4096], model[4096];
	size_t n = 0;

	(void)state;
	if (!dir) {
		print_message("no %s: skipped\n", DATA "/ref");
		skip();
	}
	while ((entry = readdir(dir))) {
		size_t stem = strlen(entry->d_name) - 5;
		if (!greta_str_ends(entry->d_name, ".json") || !strcmp(entry->d_name, "long.json"))
			continue;
		snprintf(file, sizeof file, "%s/ref/%s", DATA, entry->d_name);
		snprintf(model, sizeof model, "%s/models/%.*s.gguf", DATA, (int)stem, entry->d_name);
		n += check_reference(file, model);
	}
	closedir(dir);
	n += check_reference(DATA "/tokenizer/gpt-2.json", DATA "/tokenizer/ggml-vocab-gpt-2.gguf");
	n += check_reference(DATA "/tokenizer/llama-spm.json", DATA "/tokenizer/ggml-vocab-llama-spm.gguf");
	assert_true(n > 800);
}

/* Inputs separated by a marker line; one line of ids each. */
static void check_inp_out(const char *vocab)
{
	static const char marker[] = "\n__ggml_vocab_test__\n";
	cleanup_buf struct greta_buf in = {0}, out = {0};
	struct greta_err e = {0};
	char path[4096];

	snprintf(path, sizeof path, "%s.inp", vocab);
	assert_ok(greta_fs_read(path, 1 << 20, &in, &e));
	snprintf(path, sizeof path, "%s.out", vocab);
	assert_ok(greta_fs_read(path, 1 << 20, &out, &e));
	struct tokenizer *t = tokenizer_of(vocab);
	const char *text = in.data, *ids_text = out.data;
	while (*ids_text) {
		const char *end = memmem(text, (size_t)(in.data + in.len - text), marker, sizeof marker - 1);
		size_t n = (size_t)((end ? end : in.data + in.len) - text);
		struct tokenizer_ids ids = {0};
		assert_ok(tokenizer_encode(t, text, n, 0, &ids, &e));
		for (size_t i = 0; i < ids.n; i++)
			assert_int_equal(ids.id[i], strtoul(ids_text, (char **)&ids_text, 10));
		ids_text += strspn(ids_text, " ");
		assert_true(*ids_text == '\n' || !*ids_text);
		ids_text += *ids_text == '\n';
		tokenizer_ids_release(&ids);
		text = end ? end + sizeof marker - 1 : in.data + in.len;
	}
	assert_ptr_equal(text, in.data + in.len);
	tokenizer_destroy(t);
}

static void test_tokenizer__llama_cpp_vocab_tests(void **state)
{
	(void)state;
	if (access(DATA "/tokenizer/ggml-vocab-gpt-2.gguf", R_OK)) {
		print_message("no %s: skipped\n", DATA "/tokenizer");
		skip();
	}
	check_inp_out(DATA "/tokenizer/ggml-vocab-gpt-2.gguf");
	check_inp_out(DATA "/tokenizer/ggml-vocab-llama-spm.gguf");
}

/* Greedy continuations come with the bytes of their pieces. */
static void check_pieces(const char *file, const char *model)
{
	struct greta_err e = {0};
	struct greta_json *j = greta_json_load(file, 16 << 20, &e);
	cleanup_buf struct greta_buf wanted = {0}, got = {0};
	const struct greta_json_val *c, *item;
	const char *hex;
	int64_t id;

	assert_non_null(j);
	struct tokenizer *t = tokenizer_of(model);
	for (c = greta_json_first(greta_json_get(greta_json_root(j), "greedy")); c; c = greta_json_next(c)) {
		assert_int_equal(greta_json_str(greta_json_get(c, "text_hex"), &hex), 0);
		read_hex(hex, &wanted);
		greta_buf_clear(&got);
		for (item = greta_json_first(greta_json_get(c, "next")); item; item = greta_json_next(item)) {
			assert_int_equal(greta_json_i64(item, &id), 0);
			tokenizer_piece(t, (uint32_t)id, &got);
		}
		assert_int_equal(got.len, wanted.len);
		assert_memory_equal(greta_buf_str(&got), greta_buf_str(&wanted), got.len);
	}
	tokenizer_destroy(t);
	greta_json_destroy(j);
}

static void test_tokenizer__pieces_of_reference_continuations(void **state)
{
	(void)state;
	if (access(DATA "/ref/spm32k-f16-tied.json", R_OK)) {
		print_message("no %s: skipped\n", DATA "/ref");
		skip();
	}
	check_pieces(DATA "/ref/spm32k-f16-tied.json", DATA "/models/spm32k-f16-tied.gguf");
	check_pieces(DATA "/ref/bpe-gpt2-q8_0-tied.json", DATA "/models/bpe-gpt2-q8_0-tied.gguf");
	check_pieces(DATA "/ref/ropefreqs-f32.json", DATA "/models/ropefreqs-f32.gguf");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tokenizer__spm_joins_by_score_leftmost_first),
		cmocka_unit_test(test_tokenizer__spm_falls_back_on_bytes),
		cmocka_unit_test(test_tokenizer__spm_special_tokens),
		cmocka_unit_test(test_tokenizer__spm_obeys_the_files_habits),
		cmocka_unit_test(test_tokenizer__pieces_are_what_was_written),
		cmocka_unit_test(test_tokenizer__bpe_joins_by_rank),
		cmocka_unit_test(test_tokenizer__bpe_of_llama3_takes_whole_words_and_adds_bos),
		cmocka_unit_test(test_tokenizer__bpe_bytes_and_characters_are_inverse),
		cmocka_unit_test(test_tokenizer__words_of_each_pre_tokenizer),
		cmocka_unit_test(test_tokenizer__unicode_classes),
		cmocka_unit_test(test_tokenizer__refuses_by_name),
		cmocka_unit_test(test_tokenizer__a_file_may_have_none),
		cmocka_unit_test(test_tokenizer__refuses_what_does_not_fit),
		cmocka_unit_test(test_tokenizer__long_texts_take_no_quadratic_time),
		cmocka_unit_test(test_tokenizer__reference_cases),
		cmocka_unit_test(test_tokenizer__llama_cpp_vocab_tests),
		cmocka_unit_test(test_tokenizer__pieces_of_reference_continuations),
	};

	return cmocka_run_group_tests(tests, unit_tmp_create, unit_tmp_remove);
}
