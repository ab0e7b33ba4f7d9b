/* hangs: what is known of attempts that hung. An attempt hung when it was stopped so (outcome `hung`), or ran out of its
 * budget under a verdict that names a hang: slow is none, nor is what a crash or a sibling's reset ended. */
#ifndef DB_HANGS_H
#define DB_HANGS_H

#include "base/buf.h"
#include "base/err.h"
#include "db/db.h"
#include <stdint.h>

/* Of attempt a, as a condition in SQL. */
#define GRETA_IS_HANG                                                                                           \
	"(a.outcome = 'hung' OR (a.outcome = 'timed_out' AND a.class IS NOT NULL AND a.class <> 'slow' AND"     \
	" a.class <> 'clock_collapse'))"

/* fingerprint.h, made of what is stored of the attempt. Appends nothing where it did not hang. */
int greta_hangs_fingerprint(struct greta_db *db, int64_t attempt_id, struct greta_buf *out, struct greta_err *e);

/* Makes and stores it: attempt.fingerprint. In the caller's transaction. */
int greta_hangs_store_fingerprint(struct greta_db *db, int64_t attempt_id, struct greta_err *e);

#endif
