/* heads: the rows of attempts that events come for, at hand. For the files of db/.
 *
 * Every event needs its attempt's row, and most change nothing else: how far the events are in, the last progress, how
 * much output there is. Such changes stay here, and output with them, until anything else is done with the database (a
 * statement is opened, the transaction ends): an attempt that sends twenty events in one transaction is written once.
 *
 * So what is read from the database is always what was said, and a transaction that rolls back takes with it what is
 * here. A statement that changes something, other than those of a held event, lets everything here go. */
#ifndef DB_HEADS_H
#define DB_HEADS_H

#include "db/runs.h"
#include <stdbool.h>
#include <stdint.h>

struct greta_db;
struct heads;

struct head {
	int64_t id, job_id, committed_seq;
	int64_t log_bytes, log_sealed, telemetry_loose;
	bool reported;           /* its node has said how it ended */
	/* not written yet */
	bool is_changed;
	int64_t log_dropped;     /* besides those that were */
	const char *phase;       /* NULL: as it was */
	struct greta_buf progress; /* empty: as it was */
	struct greta_buf text;   /* output up to log_bytes */
	struct runs runs;        /* whose it is */
};

/* The head of an attempt: borrowed until the next call of anything here. NULL: there is none (ENOENT), or e. */
struct head *heads_get(struct greta_db *db, int64_t attempt_id, struct greta_err *e);

void heads_mark(struct greta_db *db, struct head *h); /* it was changed */

/* Between these two, statements leave alone what is here: for the handling of an event that reads and writes no row of
 * `attempt` but by its head. */
void heads_hold(struct greta_db *db);
void heads_let(struct greta_db *db);

int heads_put_text(struct greta_db *db, struct head *h, struct greta_err *e); /* its output alone */
/* Writes what is changed. Nothing to do, and nothing done, while they are held. */
int heads_write(struct greta_db *db, struct greta_err *e);
/* Lets go what is here, written or not; not while they are held. */
void heads_forget(struct greta_db *db);
void heads_destroy(struct greta_db *db);

#endif
