/* db: opening, transactions, queries. The only folder that includes sqlite3.h; nobody else sees a statement.
 *
 * One writer: the controller, which holds DB.lock. Its connection is WAL with synchronous=FULL: what a commit returned
 * from has reached the disk. Readers open read-only and never block it. A database on a network file system, or of a
 * newer version, is refused; an older one is migrated after a backup was made beside it.
 */
#ifndef DB_DB_H
#define DB_DB_H

#include "base/buf.h"
#include "base/err.h"
#include "base/uuid.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct greta_db;

/* The path by --db, GRETA_DB, else greta.db in the XDG data folder (greta/). The caller owns it. */
char *greta_db_default_path(const char *from_option);

/* Creates and migrates; the caller holds the lock. */
struct greta_db *greta_db_open_writer(const char *path, struct greta_err *e);
/* Never waits for the writer. ENOENT names the path and the way out; EVERSION: an older one that no writer migrated. */
struct greta_db *greta_db_open_reader(const char *path, struct greta_err *e);
void greta_db_close(struct greta_db *db);
const char *greta_db_path(const struct greta_db *db);
const char *greta_db_uuid(const struct greta_db *db);

/* Raises the fence and returns it: once per acquisition of the lock. Every later write transaction checks that the
 * fence in the database still is ours, and fails with EFENCED when it is not. */
int greta_db_raise_fence(struct greta_db *db, int64_t *fence, struct greta_err *e);

/* Transactions nest; the outermost one commits. One left without commit rolls back; an inner one left so dooms those
 * around it: their commit then fails with the same error. What is refused before anything was written (EINVAL, EEXIST,
 * ENOENT, EPROTO of the stores) dooms nothing.
 *	cleanup_txn struct greta_txn txn = greta_txn_none;
 *	if (greta_txn_begin(db, &txn, e)) ...; ...; return greta_txn_commit(&txn, e);  */
struct greta_txn {
	struct greta_db *db;
	int depth;
};
#define greta_txn_none ((struct greta_txn){0})
int greta_txn_begin(struct greta_db *db, struct greta_txn *t, struct greta_err *e);
int greta_txn_commit(struct greta_txn *t, struct greta_err *e);
void greta_txn_release(struct greta_txn *t); /* rolls back unless committed */
#define cleanup_txn __attribute__((cleanup(greta_txn_release)))

/* Reading: a statement step that is not a row is the end only when SQLite said DONE; anything else is an error.
 *
 * Each '?' in sql takes one argument, by a letter of `types`:
 *	i  int64_t (a smaller integer has to be cast)
 *	o  int64_t of which 0 becomes NULL: an id that may be missing
 *	u  int64_t of which -1 becomes NULL: a count that may be unknown
 *	f  double of which NAN becomes NULL
 *	s  const char *, NULL becomes NULL; borrowed until the query is closed
 *	b  const struct greta_buf *, a blob; likewise
 * Statements are kept prepared by the address of their text, so literals are the fast way. */
struct greta_query;
struct greta_query *greta_query_open(struct greta_db *db, struct greta_err *e, const char *sql, const char *types, ...);
int greta_query_step(struct greta_query *q, struct greta_err *e); /* 1 a row, 0 the end, -1 an error */
int greta_query_columns(const struct greta_query *q);
const char *greta_query_name(const struct greta_query *q, int column);
enum greta_value { GRETA_VALUE_NULL, GRETA_VALUE_INTEGER, GRETA_VALUE_REAL, GRETA_VALUE_TEXT, GRETA_VALUE_BLOB };
enum greta_value greta_query_type(struct greta_query *q, int column);
int64_t greta_query_i64(struct greta_query *q, int column);    /* 0 for NULL */
double greta_query_f64(struct greta_query *q, int column);     /* NAN for NULL */
const char *greta_query_str(struct greta_query *q, int column); /* NULL for NULL; borrowed until the next step */
const void *greta_query_blob(struct greta_query *q, int column, size_t *n);
void greta_query_close(struct greta_query *q);                 /* NULL is fine */
void greta_query_cleanup_(struct greta_query **q);
#define cleanup_query __attribute__((cleanup(greta_query_cleanup_)))

/* One statement that changes something, in the transaction at hand or its own. */
int greta_db_exec(struct greta_db *db, struct greta_err *e, const char *sql, const char *types, ...);
int64_t greta_db_changes(struct greta_db *db);                 /* rows that the last greta_db_exec touched */
int64_t greta_db_inserted(struct greta_db *db);                /* id of the row it inserted */

/* For `query`: one statement of a user's, on a reader. EINVAL for anything that would write, for two statements, and
 * for mistakes, in SQLite's words. */
struct greta_query *greta_query_user(struct greta_db *db, const char *sql, struct greta_err *e);

/* Who keeps the WAL from shrinking, once it is larger than wal_bytes: "process 1234 (sqlite3)", one after the other,
 * appended; nothing while it is smaller. For a controller to say now and then. */
int greta_db_holders(struct greta_db *db, int64_t wal_bytes, struct greta_buf *who, struct greta_err *e);

/* A whole, consistent copy while work goes on. to_path must not exist; it appears complete or not at all. */
int greta_db_backup(struct greta_db *db, const char *to_path, struct greta_err *e);
int greta_db_check(struct greta_db *db, struct greta_err *e); /* integrity_check and foreign_key_check */

/* One campaign (0: all of them) with all that belongs to it, as a database of its own: for sending away. */
int greta_db_snapshot(struct greta_db *db, int64_t campaign_id, const char *to_path, struct greta_err *e);

/* Drops logs and telemetry (summaries, results and evidence stay) of attempts that ended before before_ns: of at most
 * `most` of them, so that a controller is not held up; fewer were dropped when there are no more. */
struct greta_pruned {
	int64_t n_attempts, log_bytes, telemetry_rows; /* log_bytes: as stored */
};
int greta_db_prune(struct greta_db *db, int64_t before_ns, int64_t most, struct greta_pruned *out, struct greta_err *e);

#endif
