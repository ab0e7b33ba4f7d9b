/* writer: the right to change the database: DB.lock held, the database open for writing, the fence raised. Held by the
 * one controller, or for a moment by a command where no controller runs. */
#ifndef ORCHESTRATOR_WRITER_H
#define ORCHESTRATOR_WRITER_H

#include "base/err.h"
#include "db/db.h"
#include <stdint.h>

struct writer {
	struct greta_db *db;
	int64_t fence;
	int lock_fd;
};

/* EBUSY: somebody else holds it; the text says who. The database's folder is made if it is missing. */
int writer_open(const char *db_path, struct writer *out, struct greta_err *e);
void writer_close(struct writer *w);

#endif
