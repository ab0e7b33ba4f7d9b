/* example: the engine's API (greta_engine.h) in one page. Continues a text greedily:
 *
 *	engine-example model.gguf "Once upon a time" 40
 */
#include "base/cleanup.h"
#include "base/str.h"
#include "engine/greta_engine.h"
#include <stdio.h>
#include <string.h>

/* Prefills the prompt, then appends the likeliest token n times, or until the model ends the text. */
static int continue_text(struct greta_engine *eng, struct greta_session *s, const uint32_t *prompt, size_t n_prompt,
			 int64_t n, struct greta_buf *text, struct greta_err *e)
{
	if (greta_session_eval(s, prompt, n_prompt, e))
		return -1;
	for (int64_t i = 0; i < n; i++) {
		uint32_t token = greta_argmax(greta_session_logits(s), greta_engine_n_vocab(eng));
		if (greta_engine_ends(eng, token))
			return 0;
		greta_engine_piece(eng, token, text);
		if (greta_session_eval(s, &token, 1, e))
			return -1;
	}
	return 0;
}

static int run(struct greta_engine *eng, const char *text, int64_t n, struct greta_err *e)
{
	cleanup_free uint32_t *prompt = NULL;
	cleanup_buf struct greta_buf out = {0};
	size_t n_prompt;

	if (greta_engine_tokenize(eng, text, strlen(text), &prompt, &n_prompt, e))
		return -1;
	const struct greta_session_params params = {.n_ctx = (uint32_t)(n_prompt + (size_t)n)};
	struct greta_session *s = greta_session_create(eng, &params, e);
	int rc = s ? continue_text(eng, s, prompt, n_prompt, n, &out, e) : -1;
	greta_session_destroy(s);
	if (rc == 0)
		printf("%s%s\n", text, greta_buf_str(&out));
	return rc;
}

int main(int argc, char **argv)
{
	struct greta_err e = {0};
	int64_t n;

	if (argc != 4 || greta_str_i64(argv[3], &n) || n < 1 || n > 100000) {
		fprintf(stderr, "Usage: engine-example MODEL.gguf TEXT N\n");
		return 2;
	}
	struct greta_engine *eng = greta_engine_open(argv[1], &(struct greta_engine_params){0}, &e);
	int rc = eng ? run(eng, argv[2], n, &e) : -1;
	greta_engine_close(eng);
	if (rc)
		fprintf(stderr, "engine-example: %s\n", e.text);
	return rc ? 1 : 0;
}
