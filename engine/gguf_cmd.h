/* gguf_cmd: the verbs of greta-gguf. Each gguf_cmd_NAME.c exports one const entry; adding a verb touches its file, one
 * line of the list in gguf_main.c and one of CMakeLists.txt. */
#ifndef ENGINE_GGUF_CMD_H
#define ENGINE_GGUF_CMD_H

#include "base/buf.h"
#include "base/err.h"
#include "base/opt.h"
#include "base/str.h"
#include "engine/gguf.h"

enum gguf_exit {
	GGUF_EXIT_OK = 0,
	GGUF_EXIT_UNSOUND = 1, /* verify: the file can be read, but there is something wrong in it */
	GGUF_EXIT_USAGE = 2,   /* wrong usage, or a file that cannot be used */
	GGUF_EXIT_SYSTEM = 3,  /* the disk, the memory */
};

struct gguf_cmd {
	const char *name;
	struct greta_opts opts; /* its summary stands in the overview */
	size_t values_bytes;    /* of the struct that the options fill */
	/* Returns an exit code, or -1 with *e. What it adds to out is printed to stdout, also when it fails. */
	int (*run)(void *values, const struct greta_strs *operands, struct greta_buf *out, struct greta_err *e);
};

extern const struct gguf_cmd gguf_cmd_inspect, gguf_cmd_set, gguf_cmd_synth, gguf_cmd_verify, gguf_cmd_hash,
	gguf_cmd_quantize, gguf_cmd_tokenize;

/* Whether an engine would take it: its tokenizer and, if it has tensors, its model. A file without a vocabulary, or
 * with a vocabulary alone, is fine. */
int gguf_cmd_usable(const struct gguf *g, struct greta_err *e);

/* Appends text of unknown origin for a terminal: control characters as \xNN, invalid UTF-8 too. */
void gguf_cmd_text(struct greta_buf *out, const char *s, size_t n);
/* "4096 x 32000" */
void gguf_cmd_shape(struct greta_buf *out, const struct gguf_tensor *t);

#endif
