/* heads: the rows of attempts that events come for, at hand. For the files of db/.
 *
 * Every event needs its attempt's row, and most change a few columns of it: how far the events are in, when it began, the
 * last progress, how much output there is. Such changes stay here, and output with them, until a statement is opened that
 * reads or sets one of those columns, or the transaction ends: an attempt that sends twenty events in one transaction is
 * written once.
 *
 * So what is read from the database is always what was said, and a transaction that rolls back takes with it what is
 * here. A statement that sets such a column, other than those of a held event, lets everything here go. */
#ifndef DB_HEADS_H
#define DB_HEADS_H

#include "db/attempts.h"
#include "db/runs.h"
#include <stdbool.h>
#include <stdint.h>

struct greta_db;
struct heads;

struct head {
	int64_t id, job_id, committed_seq;
	int64_t log_bytes, log_sealed, telemetry_loose;
	bool reported;           /* its node has said how it ended */
	/* not written yet: how it began, and how it grew */
	const char *state;       /* that it came to by beginning; NULL: as it was */
	bool grows;
	int64_t dispatched_ns, started_ns, build_id, model_id; /* 0: as it was */
	int64_t log_dropped;     /* besides those that were */
	const char *phase;       /* NULL: as it was */
	struct greta_buf progress; /* empty: as it was */
	struct greta_buf text;   /* output up to log_bytes */
	struct runs runs;        /* whose it is */
};

/* The head of an attempt: borrowed until the next call of anything here. NULL: there is none (ENOENT), or e. */
struct head *heads_get(struct greta_db *db, int64_t attempt_id, struct greta_err *e);

/* It was changed, in one way or the other. */
void heads_begins(struct greta_db *db, struct head *h, enum greta_attempt_state state);
void heads_grows(struct greta_db *db, struct head *h);

/* Whether a head has this column, or output that belongs into this table. */
bool heads_have(const char *table, const char *column);

/* Between these two, statements leave alone what is here: for the handling of an event that reads and sets these columns
 * by its head alone. */
void heads_hold(struct greta_db *db);
void heads_let(struct greta_db *db);
/* What was to be written of it is: it is let go, also while they are held. */
void heads_drop(struct greta_db *db, struct head *h);

int heads_put_text(struct greta_db *db, struct head *h, struct greta_err *e); /* its output alone */
/* Writes what is changed. Nothing to do, and nothing done, while they are held. */
int heads_write(struct greta_db *db, struct greta_err *e);
/* Lets go what is here, written or not; not while they are held. */
void heads_forget(struct greta_db *db);
void heads_destroy(struct greta_db *db);

#endif
