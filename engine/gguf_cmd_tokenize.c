#include "engine/gguf_cmd.h"

#include "base/fs.h"
#include "engine/tokenizer.h"
#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#define MAX_STDIN ((size_t)256 << 20)

struct values {
	bool bos, special;
};

static const struct greta_opt options[] = {
	{"bos", 0, GRETA_OPT_FLAG, offsetof(struct values, bos), NULL, "add BOS and EOS as the file asks"},
	{"special", 0, GRETA_OPT_FLAG, offsetof(struct values, special), NULL,
	 "control tokens written in the text (<s>) become that token"},
	{0},
};

static int read_stdin(struct greta_buf *text, struct greta_err *e)
{
	ssize_t n;

	do {
		n = read(0, greta_buf_reserve(text, 65536), 65536);
		if (n < 0 && errno != EINTR)
			return greta_err_sys(e, "standard input");
		text->len += n > 0 ? (size_t)n : 0;
		if (text->len > MAX_STDIN)
			return greta_err_set(e, GRETA_EINVAL, "standard input has more than 256 MiB");
	} while (n != 0);
	return 0;
}

static int tokenize(const struct tokenizer *t, unsigned flags, struct greta_buf *out, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};
	struct tokenizer_ids ids = {0};
	int rc = -1;

	if (!read_stdin(&text, e) && !tokenizer_encode(t, greta_buf_str(&text), text.len, flags, &ids, e)) {
		for (size_t i = 0; i < ids.n; i++)
			greta_buf_addf(out, "%s%u", i ? "," : "[", ids.id[i]);
		greta_buf_adds(out, ids.n ? "]\n" : "[]\n");
		rc = GGUF_EXIT_OK;
	}
	tokenizer_ids_release(&ids);
	return rc;
}

static int run(void *values, const struct greta_strs *operands, struct greta_buf *out, struct greta_err *e)
{
	const struct values *v = values;
	unsigned flags = (v->bos ? TOKENIZER_BOS : 0) | (v->special ? TOKENIZER_SPECIAL : 0);
	struct gguf *g = gguf_open(operands->items[0], e);
	struct tokenizer *t = g ? tokenizer_create(g, e) : NULL;
	int rc = t ? tokenize(t, flags, out, e) : -1;

	tokenizer_destroy(t);
	gguf_close(g);
	return rc;
}

const struct gguf_cmd gguf_cmd_tokenize = {
	.name = "tokenize",
	.opts =
		{
			.program = "greta-gguf tokenize",
			.operands = "FILE",
			.min_operands = 1,
			.max_operands = 1,
			.summary = "print standard input's token ids as a JSON array",
			.details = "Example:\n"
				   "  printf 'Hello world' | greta-gguf tokenize --bos model.gguf\n",
			.opts = options,
		},
	.values_bytes = sizeof(struct values),
	.run = run,
};
