#include "db/heads.h"
#include "db/internal.h"

/* A controller that lost its database to another one learns it here, before it writes. */
static int check_fence(struct greta_db *db, struct greta_err *e)
{
	int64_t fence = 0;
	int rc;

	if (!db->fence)
		return 0;
	rc = db_get_i64(db, &fence, e, "SELECT value FROM meta WHERE key = 'fence'", "");
	if (rc < 0)
		return -1;
	if (rc && fence == db->fence)
		return 0;
	return greta_err_set(e, GRETA_EFENCED,
			     "%s: another controller took over this database (its fence is %lld, ours %lld); "
			     "this one has to end",
			     db->path, (long long)fence, (long long)db->fence);
}

static int begin_outermost(struct greta_db *db, struct greta_err *e)
{
	if (!db->writer)
		return greta_err_set(e, GRETA_EINVAL, "%s: opened for reading only", db->path);
	if (db_script(db, "BEGIN IMMEDIATE", e))
		return -1;
	db->doom = db->last = (struct greta_err){0};
	if (!check_fence(db, e))
		return 0;
	db_script(db, "ROLLBACK", NULL);
	return -1;
}

static void doom(struct greta_db *db)
{
	heads_forget(db);
	if (db->doom.code)
		return;
	db->doom = db->last;
	if (!db->doom.code)
		greta_err_set(&db->doom, GRETA_EFAIL,
			      "%s: a step inside this transaction failed, so it was rolled back", db->path);
}

/* What is doomed goes no further: SQLite may have rolled back already, and would commit each later statement alone. */
static int begin_inner(struct greta_db *db, struct greta_err *e)
{
	if (sqlite3_get_autocommit(db->sq))
		doom(db);
	if (!db->doom.code)
		return 0;
	if (e)
		*e = db->doom;
	return -1;
}

int greta_txn_begin(struct greta_db *db, struct greta_txn *t, struct greta_err *e)
{
	if (db->depth == 0 ? begin_outermost(db, e) : begin_inner(db, e))
		return -1;
	t->db = db;
	t->depth = ++db->depth;
	return 0;
}

/* SQLite itself rolls back on some errors (a full disk, for one): then there is nothing left to end. */
static void roll_back(struct greta_db *db)
{
	heads_forget(db);
	if (!sqlite3_get_autocommit(db->sq))
		db_script(db, "ROLLBACK", NULL);
}

static int commit_outermost(struct greta_db *db, struct greta_err *e)
{
	if (db->doom.code) {
		roll_back(db);
		if (e)
			*e = db->doom;
		return -1;
	}
	if (!db_script(db, "COMMIT", e))
		return 0;
	roll_back(db);
	return -1;
}

int greta_txn_commit(struct greta_txn *t, struct greta_err *e)
{
	struct greta_db *db = t->db;

	if (!db || t->depth != db->depth)
		return greta_err_set(e, GRETA_EINVAL, "a transaction was committed while one inside it was open");
	if (db->depth == 1 && heads_write(db, e)) {
		greta_txn_release(t);
		return -1;
	}
	*t = greta_txn_none;
	if (--db->depth > 0)
		return 0;
	return commit_outermost(db, e);
}

void greta_txn_release(struct greta_txn *t)
{
	struct greta_db *db = t->db;

	if (!db)
		return;
	db->depth = t->depth - 1;
	if (db->depth == 0)
		roll_back(db);
	else
		doom(db);
	*t = greta_txn_none;
}
