/* tokenizer_none: stands in until there is a tokenizer; refuses text. */
#include "engine/tokenizer.h"

struct tokenizer *tokenizer_create(const struct gguf *g, struct greta_err *e)
{
	static char none;

	(void)g;
	(void)e;
	return (struct tokenizer *)(void *)&none;
}

void tokenizer_destroy(struct tokenizer *t)
{
	(void)t;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, unsigned flags, struct tokenizer_ids *out,
		     struct greta_err *e)
{
	(void)t, (void)text, (void)n, (void)flags, (void)out;
	return greta_err_set(e, GRETA_EUNSUPPORTED, "this build has no tokenizer: use --tokens-file or --ctx");
}

void tokenizer_piece(const struct tokenizer *t, uint32_t id, struct greta_buf *out)
{
	(void)t, (void)id, (void)out;
}

uint32_t tokenizer_bos(const struct tokenizer *t)
{
	(void)t;
	return 1;
}

bool tokenizer_ends(const struct tokenizer *t, uint32_t id)
{
	(void)t, (void)id;
	return false;
}

void tokenizer_ids_release(struct tokenizer_ids *ids)
{
	(void)ids;
}
