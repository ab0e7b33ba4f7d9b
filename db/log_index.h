/* log_index: which sealed chunks may hold a text, so that a search reads some hundred pages, not all logs. For the files
 * of db/.
 *
 * A column is the trigrams of one large chunk or of several small neighbours (by id), a set of 65536 bits. Once there are
 * LOG_COLUMNS full ones they become a group: the same bits the other way round, a slice for each trigram with one bit a
 * column. A needle of k trigrams then costs at most k rows a group, where a group stands for some 128 MB of output; most
 * groups are done after the needle's rarest trigram.
 *
 * Spans of ids may hold chunks that are gone or that are not sealed. A sealed chunk is in some column's span, always. */
#ifndef DB_LOG_INDEX_H
#define DB_LOG_INDEX_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct greta_db;

#define LOG_COLUMNS 496 /* of a group: then 64 slices of 62 bytes, with their row's header, fill a page of 4 KiB */

/* Text NULL: nobody knows what a match in it may hold (its first or last line goes on in a neighbour). */
int log_index_add(struct greta_db *db, int64_t chunk_id, const char *text, size_t n, struct greta_err *e);
/* Takes in all sealed chunks of a database whose index is empty. */
int log_index_build(struct greta_db *db, struct greta_err *e);
/* Drops what speaks of chunks that are all gone. */
int log_index_prune(struct greta_db *db, struct greta_err *e);

struct log_span {
	int64_t first, last; /* ids of chunks */
};
struct log_spans {
	struct log_span *items; /* by first */
	size_t n, cap;
	int64_t n_chunks, raw_bytes; /* all that the index ever took in, whether it may match or not */
};
/* Where a text may be, in any case of its letters. One shorter than three bytes may be anywhere. */
int log_index_find(struct greta_db *db, const char *needle, size_t n, struct log_spans *out, struct greta_err *e);
bool log_spans_have(const struct log_spans *s, int64_t chunk_id);
void log_spans_release(struct log_spans *s);

#endif
