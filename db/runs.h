/* runs: which bytes of a log chunk came from which stream, as log_chunk.streams has it: "out", "err" (all of it), or
 * pieces in order: "out 120 err 33 out 5". */
#ifndef DB_RUNS_H
#define DB_RUNS_H

#include "base/buf.h"
#include "db/logs.h"
#include <stddef.h>

struct run {
	enum greta_stream stream; /* OUT or ERR */
	size_t n;
};

struct runs {
	struct run *items;
	size_t n, cap;
};

void runs_add(struct runs *r, enum greta_stream stream, size_t n); /* joins the last one if it is of that stream */
int runs_parse(const char *text, size_t total, struct runs *out); /* adds; -1 unless the pieces come to total */
void runs_print(const struct runs *r, struct greta_buf *out);
void runs_cut(struct runs *r, size_t n, struct runs *rest);         /* keeps the first n bytes; the others go to rest */
enum greta_stream runs_at(const struct runs *r, size_t offset);
void runs_clear(struct runs *r);
void runs_release(struct runs *r);

#endif
