/* template: "{context}" and its like in arguments and environment values. Private to schemas/. */
#ifndef SCHEMAS_TEMPLATE_H
#define SCHEMAS_TEMPLATE_H

#include "schemas/words.h"
#include <stdbool.h>
#include <stddef.h>

#define PLACEHOLDERS(X)                   \
	X(MODEL,       "model")           \
	X(CONTEXT,     "context")         \
	X(REPEAT,      "repeat")          \
	X(VARIANT,     "variant")         \
	X(SAMPLES,     "samples")         \
	X(WARMUP,      "warmup")          \
	X(MAX_SEQ_LEN, "max_seq_len")     \
	X(SLOT,        "slot")

enum placeholder {
#define X(id, name) PLACEHOLDER_##id,
	PLACEHOLDERS(X)
#undef X
	PLACEHOLDER_COUNT
};

extern const struct words words_placeholder;

/* One "{name}": lower-case letters and _ in braces. "{{name}" stands for the text {name}; other braces are text. */
struct template_hole {
	const char *begin;
	size_t len;
	int which; /* -1: no placeholder of ours */
};

bool template_next(const char *text, struct template_hole *out); /* the first hole from text on */
bool template_uses(const char *text, enum placeholder which);

/* The text with holes filled; one whose value is NULL, or unknown, stays. The caller owns it. */
char *template_fill(const char *text, const char *const values[PLACEHOLDER_COUNT]);

#endif
