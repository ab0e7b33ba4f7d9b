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
#include <stdint.h>

struct greta_db;

/* The path by --db, GRETA_DB, else greta.db in the XDG data folder (greta/). The caller owns it. */
char *greta_db_default_path(const char *from_option);

struct greta_db *greta_db_open_writer(const char *path, struct greta_err *e); /* creates, migrates; the caller holds the lock */
struct greta_db *greta_db_open_reader(const char *path, struct greta_err *e); /* ENOENT names the path and the way out */
void greta_db_close(struct greta_db *db);
const char *greta_db_path(const struct greta_db *db);
const char *greta_db_uuid(const struct greta_db *db);

/* Raises the fence and returns it: once per acquisition of the lock. Every later write transaction checks that the
 * fence in the database still is ours, and fails with EFENCED when it is not. */
int greta_db_raise_fence(struct greta_db *db, int64_t *fence, struct greta_err *e);

/* Transactions nest (savepoints); the outermost one commits. A transaction left without commit rolls back:
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
 * fmt binds: each '?' in sql takes one argument by a letter of `types`: i int64_t, f double, s const char* (NULL ok),
 * b const struct greta_buf*. */
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

/* For `query`: one user's statement on a read-only connection; refuses anything but one SELECT/EXPLAIN/VALUES/WITH. */
struct greta_query *greta_query_user(struct greta_db *db, const char *sql, struct greta_err *e);

int greta_db_backup(struct greta_db *db, const char *to_path, struct greta_err *e);
int greta_db_check(struct greta_db *db, struct greta_err *e); /* integrity_check and foreign_key_check */

#endif
