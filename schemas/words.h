/* words: the lists of names behind the enums of this folder. Private to schemas/. */
#ifndef SCHEMAS_WORDS_H
#define SCHEMAS_WORDS_H

#include "base/buf.h"

struct words {
	const char *const *names; /* by enum value */
	int n;
};

extern const struct words words_outcome, words_phase, words_class, words_certainty;         /* outcome.c */
extern const struct words words_mode, words_order, words_placement, words_adapter, words_slot, words_on_slow; /* words.c */
extern const struct words words_event, words_msg;                                           /* words.c */

const char *words_name(const struct words *w, int value);       /* "?" outside the list */
int words_find(const struct words *w, const char *name);        /* -1: not in the list */
/* "perf, debug": the names from value `from` on. */
void words_print(const struct words *w, int from, struct greta_buf *out);

#endif
