/* Pre-tokenizers are published as regular expressions; here each is a function that walks the characters. A step gets
 * a range and reports where the words in it end. Ranges hide their surroundings: behind the end is the end of text.
 *
 *   gpt2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *   llama3  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+
 *           |\s+(?!\S)|\s+      (qwen2: the same with \p{N})
 */
#include "base/mem.h"
#include "engine/tokenizer_impl.h"
#include "engine/unicode.h"
#include <stdlib.h>
#include <string.h>

struct range {
	const uint32_t *chars;
	const uint8_t *classes;
	size_t n;
};

/* The end of the word that begins at `at` < r->n; always beyond `at`. `arg` is the step's. */
typedef size_t split_fn(const struct range *r, size_t at, int arg);

struct split_step {
	split_fn *word;
	int arg;
};

#define NO_CHAR UINT32_MAX
#define NO_CLASS 0xff

static uint32_t char_at(const struct range *r, size_t i)
{
	return i < r->n ? r->chars[i] : NO_CHAR;
}

static uint8_t class_at(const struct range *r, size_t i)
{
	return i < r->n ? r->classes[i] : NO_CLASS;
}

static size_t skip_class(const struct range *r, size_t at, uint8_t class)
{
	while (class_at(r, at) == class)
		at++;
	return at;
}

/* [^\s\p{L}\p{N}] */
static bool is_symbol(uint8_t class)
{
	return class == UNICODE_OTHER || class == UNICODE_PUNCTUATION;
}

static uint32_t fold(uint32_t c, bool ignore_case)
{
	return ignore_case && c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

/* Length of 's 't 'm 'd 're 've 'll at `at`, or 0. */
static size_t contraction(const struct range *r, size_t at, bool ignore_case)
{
	uint32_t a = fold(char_at(r, at + 1), ignore_case), b = fold(char_at(r, at + 2), ignore_case);

	if (char_at(r, at) != '\'')
		return 0;
	if (a == 's' || a == 't' || a == 'm' || a == 'd')
		return 2;
	return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* \s+(?!\S)|\s+ : all of the white space, but the last of it goes to the word that follows. */
static size_t spaces(const struct range *r, size_t at)
{
	size_t end = skip_class(r, at, UNICODE_SPACE);

	return end < r->n && end - at > 1 ? end - 1 : end;
}

static size_t word_gpt2(const struct range *r, size_t at, int arg)
{
	size_t n = contraction(r, at, false), begin = at + (r->chars[at] == ' ');
	uint8_t class = class_at(r, begin);

	(void)arg;
	if (n)
		return at + n;
	if (class == UNICODE_LETTER || class == UNICODE_NUMBER)
		return skip_class(r, begin, class);
	if (is_symbol(class)) {
		while (is_symbol(class_at(r, begin)))
			begin++;
		return begin;
	}
	return spaces(r, at);
}

static bool is_newline(uint32_t c)
{
	return c == '\r' || c == '\n';
}

/* \s*[\r\n]+ : up to the last newline of the white space; `at` if there is none. */
static size_t lines(const struct range *r, size_t at)
{
	size_t end = at;

	for (size_t i = at; class_at(r, i) == UNICODE_SPACE; i++)
		if (is_newline(r->chars[i]))
			end = i + 1;
	return end;
}

/* max_digits: of \p{N}{1,max_digits} */
static size_t word_llama3(const struct range *r, size_t at, int max_digits)
{
	size_t n = contraction(r, at, true), end = at, begin = at + (r->chars[at] == ' ');
	uint8_t class = r->classes[at];

	if (n)
		return at + n;
	if (class == UNICODE_LETTER)
		return skip_class(r, at, UNICODE_LETTER);
	if (class == UNICODE_NUMBER) {
		while (class_at(r, end) == UNICODE_NUMBER && end - at < (size_t)max_digits)
			end++;
		return end;
	}
	if (!is_newline(r->chars[at]) && class_at(r, at + 1) == UNICODE_LETTER)
		return skip_class(r, at + 1, UNICODE_LETTER);
	if (is_symbol(class_at(r, begin))) {
		while (is_symbol(class_at(r, begin)))
			begin++;
		while (is_newline(char_at(r, begin)))
			begin++;
		return begin;
	}
	end = lines(r, at);
	return end > at ? end : spaces(r, at);
}

/* Runs of one kind become words, and what is between them. */
static size_t run_of(const struct range *r, size_t at, bool (*is)(const struct range *r, size_t i))
{
	size_t end = at + 1;

	while (end < r->n && is(r, end) == is(r, at))
		end++;
	return end;
}

static bool is_number(const struct range *r, size_t i)
{
	return r->classes[i] == UNICODE_NUMBER;
}

/* [\p{P}\$\+<=>\^~\|] */
static bool is_mark(const struct range *r, size_t i)
{
	uint32_t c = r->chars[i];

	return r->classes[i] == UNICODE_PUNCTUATION || (c < 0x80 && c && strchr("$+<=>^~|", (int)c));
}

static size_t word_marks(const struct range *r, size_t at, int arg)
{
	(void)arg;
	return run_of(r, at, is_mark);
}

/* \p{N}+ */
static size_t word_numbers(const struct range *r, size_t at, int arg)
{
	(void)arg;
	return run_of(r, at, is_number);
}

/* \p{N}: each alone */
static size_t word_single_numbers(const struct range *r, size_t at, int arg)
{
	(void)arg;
	return is_number(r, at) ? at + 1 : run_of(r, at, is_number);
}

static bool three_digits(const struct range *r, size_t at)
{
	for (size_t i = at; i < at + 3; i++)
		if (i >= r->n || r->chars[i] < '0' || r->chars[i] > '9')
			return false;
	return true;
}

/* [0-9][0-9][0-9] */
static size_t word_digit_triples(const struct range *r, size_t at, int arg)
{
	size_t end = at + 1;

	(void)arg;
	if (three_digits(r, at))
		return at + 3;
	while (end < r->n && !three_digits(r, end))
		end++;
	return end;
}

/* --- the table --- */

static const struct split_step steps_gpt2[] = {{word_gpt2, 0}, {0}};
static const struct split_step steps_llama3[] = {{word_llama3, 3}, {0}};
static const struct split_step steps_qwen2[] = {{word_llama3, 1}, {0}};
static const struct split_step steps_single_numbers[] = {{word_single_numbers, 0}, {word_gpt2, 0}, {0}};
static const struct split_step steps_default[] = {
	{word_marks, 0}, {word_gpt2, 0}, {word_numbers, 0}, {word_digit_triples, 0}, {0}};

static const struct split_rules rules[] = {
	{"default", false, false, steps_default},
	{"llama3 llama-v3 llama-bpe falcon3", true, true, steps_llama3},
	{"dbrx smaug-bpe", false, false, steps_llama3},
	{"gpt-2 phi-2 jina-es jina-de gigachat jina-v1-en jina-v2-es jina-v2-de jina-v2-code roberta-bpe mpt olmo jais",
	 false, false, steps_gpt2},
	{"starcoder refact command-r smollm codeshell exaone minerva-7b", false, false, steps_single_numbers},
	{"qwen2 stablelm2 megrez", false, false, steps_qwen2},
};

static bool has_word(const char *words, struct gguf_str name)
{
	for (const char *w = words; *w; w += strspn(w, " ")) {
		size_t n = strcspn(w, " ");
		if (n == name.n && !memcmp(w, name.s, n))
			return true;
		w += n;
	}
	return false;
}

const struct split_rules *split_rules_named(struct gguf_str name)
{
	for (size_t i = 0; i < GRETA_COUNT(rules); i++)
		if (has_word(rules[i].names, name))
			return &rules[i];
	return NULL;
}

/* --- running --- */

static void decode(const char *text, size_t n, struct split_text *out)
{
	size_t len;

	out->chars = greta_alloc((n + 1) * sizeof *out->chars);
	out->classes = greta_alloc(n + 1);
	for (size_t at = 0; at < n; at += len) {
		out->chars[out->n] = unicode_decode(text + at, n - at, &len);
		out->classes[out->n] = (uint8_t)unicode_class(out->chars[out->n]);
		out->n++;
	}
}

/* Cuts each of the words so far further. */
static void run_step(const struct split_step *step, struct split_text *t)
{
	size_t *old = t->ends, n_old = t->n_ends, begin = 0;

	t->ends = NULL;
	t->n_ends = t->cap_ends = 0;
	for (size_t i = 0; i < n_old; begin = old[i++]) {
		struct range r = {t->chars + begin, t->classes + begin, old[i] - begin};
		for (size_t at = 0; at < r.n;) {
			at = step->word(&r, at, step->arg);
			*GRETA_PUSH(t->ends, t->n_ends, t->cap_ends) = begin + at;
		}
	}
	free(old);
}

void split_run(const struct split_rules *r, const char *text, size_t n, struct split_text *out)
{
	decode(text, n, out);
	if (out->n)
		*GRETA_PUSH(out->ends, out->n_ends, out->cap_ends) = out->n;
	for (const struct split_step *step = r->steps; step->word; step++)
		run_step(step, out);
}

void split_release(struct split_text *t)
{
	free(t->chars);
	free(t->classes);
	free(t->ends);
	*t = (struct split_text){0};
}
