#include "db/internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "db/heads.h"
#include <errno.h>
#include <math.h>

static enum greta_code code_of(struct greta_db *db, int rc)
{
	int sys = sqlite3_system_errno(db->sq);

	switch (rc & 0xff) {
	case SQLITE_FULL:
		return GRETA_ENOSPC;
	case SQLITE_IOERR:
		return sys == ENOSPC || sys == EDQUOT ? GRETA_ENOSPC : GRETA_EFAIL;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return GRETA_EBUSY;
	case SQLITE_INTERRUPT:
		return GRETA_ECANCELLED;
	case SQLITE_CONSTRAINT:
		return rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY ? GRETA_EEXIST
											    : GRETA_EFAIL;
	default:
		return GRETA_EFAIL;
	}
}

/* What a person can do about it, in a few words. */
static const char *way_out(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_FULL:
		return "; make room on its disk and try again: nothing committed is lost";
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return "; the file is damaged: restore a backup, or save what is readable with `sqlite3 FILE .recover`";
	case SQLITE_READONLY:
		return "; its file or folder can't be written by this user";
	default:
		return "";
	}
}

int db_fail(struct greta_db *db, struct greta_err *e, const char *fmt, ...)
{
	int rc = sqlite3_extended_errcode(db->sq);
	struct greta_err why = {0};
	cleanup_buf struct greta_buf what = {0};
	va_list ap;

	va_start(ap, fmt);
	greta_buf_vaddf(&what, fmt, ap);
	va_end(ap);
	if (rc == SQLITE_NOTADB) /* whatever was asked of it */
		greta_buf_clear(&what);
	greta_err_set(&why, code_of(db, rc), "%s: %s%s%s%s", db->path, greta_buf_str(&what), what.len ? ": " : "",
		      sqlite3_errmsg(db->sq), way_out(rc));
	why.sys = sqlite3_system_errno(db->sq);
	db->last = why;
	if (e)
		*e = why;
	return -1;
}

/* ---- statements */

static size_t slot_of(const char *sql)
{
	uint64_t h = (uint64_t)(uintptr_t)sql * UINT64_C(0x9e3779b97f4a7c15);

	return (size_t)(h >> 32) & (DB_STATEMENTS - 1);
}

static void statement_drop(struct greta_query *q)
{
	sqlite3_finalize(q->st);
	*q = (struct greta_query){0};
}

/* The prepared statement of a text, unless it is in use. The text is compared too, since an address may come to hold
 * another text. */
static struct greta_query *statement_find(struct greta_db *db, const char *sql)
{
	for (size_t i = 0; i < 4; i++) {
		struct greta_query *q = &db->statements[(slot_of(sql) + i) & (DB_STATEMENTS - 1)];

		if (q->key != sql || q->busy)
			continue;
		if (!strcmp(sqlite3_sql(q->st), sql))
			return q;
		statement_drop(q);
	}
	return NULL;
}

/* A slot for a new one: free, or of a statement that rests. NULL: all four are in use. */
static struct greta_query *statement_room(struct greta_db *db, const char *sql)
{
	struct greta_query *resting = NULL;

	for (size_t i = 0; i < 4; i++) {
		struct greta_query *q = &db->statements[(slot_of(sql) + i) & (DB_STATEMENTS - 1)];

		if (!q->key)
			return q;
		if (!q->busy)
			resting = q;
	}
	if (resting)
		statement_drop(resting);
	return resting;
}

/* SQLite tells each column of each table, also behind views, before the statement may have it. */
static int note_heads(void *arg, int action, const char *table, const char *column, const char *base, const char *view)
{
	struct greta_db *db = arg;

	(void)base, (void)view;
	if (action != SQLITE_READ && action != SQLITE_UPDATE && action != SQLITE_INSERT && action != SQLITE_DELETE)
		return SQLITE_OK;
	db->needs_heads |= heads_have(table, column);
	db->sets_heads |= action == SQLITE_UPDATE && heads_have(table, column);
	return SQLITE_OK;
}

void db_watch_statements(struct greta_db *db)
{
	sqlite3_set_authorizer(db->sq, db->writer ? note_heads : NULL, db);
}

static struct greta_query *statement_make(struct greta_db *db, const char *sql, struct greta_err *e)
{
	struct greta_query *q;
	sqlite3_stmt *st = NULL;

	db->needs_heads = db->sets_heads = false;
	if (sqlite3_prepare_v3(db->sq, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL) != SQLITE_OK) {
		db_fail(db, e, "%.60s", sql);
		return NULL;
	}
	q = statement_room(db, sql);
	if (q)
		*q = (struct greta_query){.kept = true};
	else
		q = greta_alloc(sizeof *q);
	q->db = db;
	q->key = sql;
	q->st = st;
	q->needs_heads = db->needs_heads;
	q->sets_heads = db->sets_heads;
	return q;
}

static int bind_one(sqlite3_stmt *st, int i, char type, va_list *ap)
{
	const struct greta_buf *blob;
	const char *text;
	int64_t whole;
	double real;

	switch (type) {
	case 'i':
		return sqlite3_bind_int64(st, i, va_arg(*ap, int64_t));
	case 'o':
		whole = va_arg(*ap, int64_t);
		return whole ? sqlite3_bind_int64(st, i, whole) : sqlite3_bind_null(st, i);
	case 'u':
		whole = va_arg(*ap, int64_t);
		return whole >= 0 ? sqlite3_bind_int64(st, i, whole) : sqlite3_bind_null(st, i);
	case 'f':
		real = va_arg(*ap, double);
		return isnan(real) ? sqlite3_bind_null(st, i) : sqlite3_bind_double(st, i, real);
	case 's':
		text = va_arg(*ap, const char *);
		return text ? sqlite3_bind_text64(st, i, text, strlen(text), SQLITE_STATIC, SQLITE_UTF8)
			    : sqlite3_bind_null(st, i);
	case 'b':
		blob = va_arg(*ap, const struct greta_buf *);
		if (!blob)
			return sqlite3_bind_null(st, i);
		return sqlite3_bind_blob64(st, i, blob->len ? blob->data : "", blob->len, SQLITE_STATIC);
	default:
		return SQLITE_MISUSE;
	}
}

static int bind_all(struct greta_query *q, const char *types, va_list *ap, struct greta_err *e)
{
	int n = (int)strlen(types);

	if (n != sqlite3_bind_parameter_count(q->st))
		return greta_err_set(e, GRETA_EINVAL, "%d values for %d parameters of: %.80s", n,
				     sqlite3_bind_parameter_count(q->st), q->key);
	for (int i = 0; i < n; i++)
		if (bind_one(q->st, i + 1, types[i], ap) != SQLITE_OK)
			return db_fail(q->db, e, "value %d ('%c') of %.60s", i + 1, types[i], q->key);
	return 0;
}

struct greta_query *db_query_va(struct greta_db *db, struct greta_err *e, const char *sql, const char *types,
				va_list ap)
{
	struct greta_query *q;
	va_list copy;
	int rc;

	q = statement_find(db, sql);
	if (!q)
		q = statement_make(db, sql, e);
	if (!q)
		return NULL;
	q->busy = true;
	q->done = false;
	va_copy(copy, ap);
	rc = (q->needs_heads && heads_write(db, e)) || bind_all(q, types, &copy, e) ? -1 : 0;
	va_end(copy);
	if (!rc)
		return q;
	greta_query_close(q);
	return NULL;
}

struct greta_query *greta_query_open(struct greta_db *db, struct greta_err *e, const char *sql, const char *types, ...)
{
	struct greta_query *q;
	va_list ap;

	va_start(ap, types);
	q = db_query_va(db, e, sql, types, ap);
	va_end(ap);
	return q;
}

int greta_query_step(struct greta_query *q, struct greta_err *e)
{
	int rc;

	if (q->done)
		return 0;
	rc = sqlite3_step(q->st);
	if (rc == SQLITE_ROW)
		return 1;
	q->done = true;
	if (rc == SQLITE_DONE)
		return 0;
	return db_fail(q->db, e, "%.60s", sqlite3_sql(q->st));
}

void greta_query_close(struct greta_query *q)
{
	if (!q)
		return;
	if (!q->kept) {
		sqlite3_finalize(q->st);
		free(q);
		return;
	}
	sqlite3_reset(q->st);
	q->busy = false;
}

void greta_query_cleanup_(struct greta_query **q)
{
	greta_query_close(*q);
}

/* ---- columns */

int greta_query_columns(const struct greta_query *q)
{
	return sqlite3_column_count(q->st);
}

const char *greta_query_name(const struct greta_query *q, int column)
{
	return sqlite3_column_name(q->st, column);
}

enum greta_value greta_query_type(struct greta_query *q, int column)
{
	switch (sqlite3_column_type(q->st, column)) {
	case SQLITE_INTEGER:
		return GRETA_VALUE_INTEGER;
	case SQLITE_FLOAT:
		return GRETA_VALUE_REAL;
	case SQLITE_TEXT:
		return GRETA_VALUE_TEXT;
	case SQLITE_BLOB:
		return GRETA_VALUE_BLOB;
	default:
		return GRETA_VALUE_NULL;
	}
}

int64_t greta_query_i64(struct greta_query *q, int column)
{
	return sqlite3_column_int64(q->st, column);
}

double greta_query_f64(struct greta_query *q, int column)
{
	if (sqlite3_column_type(q->st, column) == SQLITE_NULL)
		return NAN;
	return sqlite3_column_double(q->st, column);
}

const char *greta_query_str(struct greta_query *q, int column)
{
	return (const char *)sqlite3_column_text(q->st, column);
}

const void *greta_query_blob(struct greta_query *q, int column, size_t *n)
{
	const void *blob = sqlite3_column_blob(q->st, column);

	*n = (size_t)sqlite3_column_bytes(q->st, column);
	return blob;
}

char *db_dup(struct greta_query *q, int column)
{
	return greta_strdup(greta_query_str(q, column));
}

void db_copy_uuid(char out[GRETA_UUID_LEN + 1], struct greta_query *q, int column)
{
	const char *s = greta_query_str(q, column);

	greta_str_copy(out, GRETA_UUID_LEN + 1, s ? s : "");
}

int db_word(struct greta_query *q, int column, const char *const *names, int n)
{
	const char *s = greta_query_str(q, column);

	for (int i = 0; s && i < n; i++)
		if (!strcmp(s, names[i]))
			return i;
	return 0;
}

/* ---- statements that need no loop */

int db_get_i64(struct greta_db *db, int64_t *out, struct greta_err *e, const char *sql, const char *types, ...)
{
	struct greta_query *q;
	va_list ap;
	int rc;

	va_start(ap, types);
	q = db_query_va(db, e, sql, types, ap);
	va_end(ap);
	if (!q)
		return -1;
	rc = greta_query_step(q, e);
	if (rc == 1)
		*out = greta_query_i64(q, 0);
	greta_query_close(q);
	return rc;
}

static int exec_va(struct greta_db *db, struct greta_err *e, const char *sql, const char *types, va_list ap)
{
	struct greta_query *q = db_query_va(db, e, sql, types, ap);
	int rc;

	if (!q)
		return -1;
	do
		rc = greta_query_step(q, e);
	while (rc == 1);
	if (q->sets_heads)
		heads_forget(db);
	greta_query_close(q);
	return rc;
}

int greta_db_exec(struct greta_db *db, struct greta_err *e, const char *sql, const char *types, ...)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	va_list ap;
	int rc;

	if (greta_txn_begin(db, &txn, e))
		return -1;
	va_start(ap, types);
	rc = exec_va(db, e, sql, types, ap);
	va_end(ap);
	return rc ? rc : greta_txn_commit(&txn, e);
}

int64_t greta_db_changes(struct greta_db *db)
{
	return sqlite3_changes64(db->sq);
}

int64_t greta_db_inserted(struct greta_db *db)
{
	return sqlite3_last_insert_rowid(db->sq);
}

int db_script(struct greta_db *db, const char *sql, struct greta_err *e)
{
	if (sqlite3_exec(db->sq, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	return db_fail(db, e, "%.60s", sql);
}

/* ---- a user's own statement */

/* Reading is allowed, and nothing else: no PRAGMA, no ATTACH, no transaction control. */
static int only_reading(void *arg, int action, const char *a, const char *b, const char *c, const char *d)
{
	(void)arg, (void)a, (void)b, (void)c, (void)d;
	switch (action) {
	case SQLITE_SELECT:
	case SQLITE_READ:
	case SQLITE_FUNCTION:
	case SQLITE_RECURSIVE:
		return SQLITE_OK;
	default:
		return SQLITE_DENY;
	}
}

/* Whether what follows the first statement is space and comments. */
static bool is_nothing(struct greta_db *db, const char *sql)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db->sq, sql, -1, &st, NULL);

	sqlite3_finalize(st);
	return rc == SQLITE_OK && !st;
}

struct greta_query *greta_query_user(struct greta_db *db, const char *sql, struct greta_err *e)
{
	struct greta_query *q;
	sqlite3_stmt *st = NULL;
	const char *tail = "";
	int rc;

	sqlite3_set_authorizer(db->sq, only_reading, NULL);
	rc = sqlite3_prepare_v2(db->sq, sql, -1, &st, &tail);
	db_watch_statements(db);
	if (st && !(sqlite3_stmt_readonly(st) && sqlite3_column_count(st))) /* VACUUM INTO asks no authorizer */
		rc = SQLITE_AUTH;
	if (rc == SQLITE_AUTH)
		greta_err_set(e, GRETA_EINVAL, "only reading is allowed here: one SELECT, WITH, VALUES or EXPLAIN");
	else if (rc != SQLITE_OK)
		greta_err_set(e, GRETA_EINVAL, "SQL: %s", sqlite3_errmsg(db->sq));
	else if (!st)
		greta_err_set(e, GRETA_EINVAL, "SQL: nothing to do");
	else if (!is_nothing(db, tail))
		rc = greta_err_set(e, GRETA_EINVAL, "SQL: one statement at a time, please; this is a second one: %.40s",
				   tail);
	if (rc != SQLITE_OK || !st) {
		sqlite3_finalize(st);
		return NULL;
	}
	q = greta_alloc(sizeof *q);
	*q = (struct greta_query){.db = db, .key = sql, .st = st, .busy = true};
	return q;
}
