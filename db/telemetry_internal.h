/* telemetry_internal: its rows, for the events of attempts. Not for other folders. */
#ifndef DB_TELEMETRY_INTERNAL_H
#define DB_TELEMETRY_INTERNAL_H

#include "db/telemetry.h"

/* Puts them behind the others. The caller keeps attempt.telemetry_loose, which this raises, and calls telemetry_grown
 * after it. EPROTO, before anything is written, for columns that make no sense. */
int telemetry_put(struct greta_db *db, int64_t attempt_id, const struct greta_telemetry *t, int64_t *loose,
		  struct greta_err *e);
int telemetry_grown(struct greta_db *db, int64_t attempt_id, int64_t loose, struct greta_err *e);

#endif
