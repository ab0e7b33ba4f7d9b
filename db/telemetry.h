/* telemetry: readings taken while an attempt runs: rows of one time stamp with a value for each column, stored in
 * compressed column chunks (docs/database.md has the layout) and summed up a column at a time. */
#ifndef DB_TELEMETRY_H
#define DB_TELEMETRY_H

#include "base/err.h"
#include "base/str.h"
#include "db/db.h"
#include <stdint.h>

struct greta_telemetry {
	const char *const *columns;     /* "gpu0.power_w", no name twice */
	size_t n_columns;
	const int64_t *t_ns;            /* n_rows; wall clock of the node */
	const double *values;           /* [row][column]; NAN: no reading */
	size_t n_rows;
};

/* In the transaction at hand. Agents' telemetry events come here through greta_attempts_apply. */
int greta_telemetry_add(struct greta_db *db, int64_t attempt_id, const struct greta_telemetry *t, struct greta_err *e);
int greta_telemetry_seal(struct greta_db *db, int64_t attempt_id, struct greta_err *e); /* nothing more will come */

/* Calls fn a chunk at a time, in order. Returns as in greta_log_fn. */
typedef int greta_telemetry_fn(void *arg, const struct greta_telemetry *t, struct greta_err *e);
int greta_telemetry_read(struct greta_db *db, int64_t attempt_id, greta_telemetry_fn *fn, void *arg,
			 struct greta_err *e);

#endif
