/* infer_prompt: the tokens that are prefilled, from text, a file, a list of ids, or a seed. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "engine/infer.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PROMPT_BYTES ((size_t)256 << 20)
#define MAX_SYNTHETIC ((int64_t)1 << 24)

static const char *skip_space(const char *s)
{
	while (*s == ' ' || *s == '\t' || *s == '\n' || *s == '\r')
		s++;
	return s;
}

static int bad_list(const char *path, const char *text, const char *at, struct greta_err *e)
{
	return greta_err_set(e, GRETA_EINVAL, "%s: not a JSON array of token ids, at byte %td", path, at - text);
}

/* [1, 15043, ...]: nothing else. */
static int parse_ids(const char *path, const char *text, struct prompt *p, struct greta_err *e)
{
	const char *at = skip_space(text);
	size_t cap = 0;

	if (*at++ != '[')
		return bad_list(path, text, at - 1, e);
	at = skip_space(at);
	while (*at != ']') {
		char *end;
		if (!isdigit((unsigned char)*at))
			return bad_list(path, text, at, e);
		errno = 0;
		unsigned long id = strtoul(at, &end, 10);
		if (errno || id > UINT32_MAX)
			return bad_list(path, text, at, e);
		*GRETA_PUSH(p->tokens, p->n, cap) = (uint32_t)id;
		at = skip_space(end);
		if (*at == ']')
			break;
		if (*at != ',')
			return bad_list(path, text, at, e);
		at = skip_space(at + 1);
		if (*at == ']')
			return bad_list(path, text, at, e);
	}
	at = skip_space(at + 1);
	return *at ? bad_list(path, text, at, e) : 0;
}

static int read_ids(const char *path, struct prompt *p, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};

	if (greta_fs_read(path, MAX_PROMPT_BYTES, &text, e))
		return -1;
	if (strlen(greta_buf_str(&text)) != text.len)
		return bad_list(path, text.data, text.data + strlen(text.data), e);
	return parse_ids(path, greta_buf_str(&text), p, e);
}

static int tokenize(struct prompt *p, const struct greta_engine *eng, const char *what, const char *text, size_t n,
		    struct greta_err *e)
{
	if (n == 0)
		return greta_err_set(e, GRETA_EINVAL, "%s is empty: there is nothing to prefill", what);
	return greta_engine_tokenize(eng, text, n, &p->tokens, &p->n, e);
}

static int from_file(struct prompt *p, const struct greta_engine *eng, const char *path, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};

	if (greta_fs_read(path, MAX_PROMPT_BYTES, &text, e))
		return -1;
	return tokenize(p, eng, path, greta_buf_str(&text), text.len, e);
}

static int synthetic(struct prompt *p, const struct greta_engine *eng, const struct infer_options *o, struct greta_err *e)
{
	if (o->ctx < 1 || o->ctx > MAX_SYNTHETIC)
		return greta_err_set(e, GRETA_EINVAL, "--ctx %lld: give the number of tokens to prefill, 1 to %lld",
				     (long long)o->ctx, (long long)MAX_SYNTHETIC);
	p->n = (size_t)o->ctx;
	p->tokens = greta_alloc(p->n * sizeof *p->tokens);
	greta_engine_synthetic(eng, (uint64_t)o->seed, p->tokens, p->n);
	return 0;
}

static int read_source(struct prompt *p, const struct greta_engine *eng, const struct infer_options *o, struct greta_err *e)
{
	if (o->prompt)
		return tokenize(p, eng, "--prompt", o->prompt, strlen(o->prompt), e);
	if (o->prompt_file)
		return from_file(p, eng, o->prompt_file, e);
	if (o->tokens_file)
		return read_ids(o->tokens_file, p, e);
	return synthetic(p, eng, o, e);
}

int prompt_read(struct prompt *p, const struct greta_engine *eng, const struct infer_options *o, struct greta_err *e)
{
	int64_t begun = greta_clock_mono_ns();

	if (read_source(p, eng, o, e))
		return -1;
	if (p->n == 0)
		return greta_err_set(e, GRETA_EINVAL, "%s: the prompt has no tokens: there is nothing to prefill",
				     o->tokens_file ? o->tokens_file : "prompt");
	p->tokenize_s = (double)(greta_clock_mono_ns() - begun) / 1e9;
	return 0;
}
