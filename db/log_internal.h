/* log_internal: the log rows, for the other files of db/. Not for other folders. */
#ifndef DB_LOG_INTERNAL_H
#define DB_LOG_INTERNAL_H

#include "db/internal.h"
#include "db/logs.h"
#include "db/runs.h"

/* A loose row of output, and one for output that was not kept. The caller keeps attempt.log_bytes, and calls
 * log_grown after it. */
int log_put(struct greta_db *db, int64_t attempt_id, const struct runs *runs, int64_t offset,
	    const struct greta_buf *text, struct greta_err *e);
int log_put_gap(struct greta_db *db, int64_t attempt_id, int64_t offset, int64_t dropped, struct greta_err *e);
int log_grown(struct greta_db *db, int64_t attempt_id, int64_t loose_bytes, struct greta_err *e);

/* Seals the output of an attempt that ends, if all that is not sealed is at hand; *done: it was, and so is log_tail. */
struct head;
int log_seal_at_hand(struct greta_db *db, struct head *h, bool *done, struct greta_err *e);

/* The text of a row, appended, and whose bytes it is made of, added. Columns from `first`: raw_bytes, streams, raw,
 * zstd. */
int log_chunk_text(struct greta_db *db, struct greta_query *q, int first, struct greta_buf *text, struct runs *runs,
		   struct greta_err *e);

#endif
