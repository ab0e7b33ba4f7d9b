/* likely: names that a person may have meant, for messages. */
#ifndef DB_LIKELY_H
#define DB_LIKELY_H

#include "db/db.h"

/* Of the names that sql gives, those nearest to `which`, else the first five: "a, b, c". Empty: there are none. */
int db_likely(struct greta_db *db, struct greta_buf *out, const char *which, const char *sql, struct greta_err *e);

#endif
