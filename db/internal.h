/* internal: what the files of db/ share. Not for other folders. */
#ifndef DB_INTERNAL_H
#define DB_INTERNAL_H

#include "db/db.h"
#include <sqlite3.h>
#include <stdarg.h>
#include <zstd.h>

#define DB_APPLICATION_ID 0x47525441 /* "GRTA" */
#define DB_STATEMENTS 512            /* slots of the statement cache; a power of two */

struct greta_query {
	struct greta_db *db;
	const char *key;   /* address of the statement's text; NULL: the slot is free */
	sqlite3_stmt *st;
	bool busy;         /* between open and close */
	bool kept;         /* a slot of the cache; else a lone one, freed at close */
	bool done;         /* stepped to its end */
	bool needs_heads;  /* reads or sets what heads.h may have in memory alone */
	bool sets_heads;
};

struct greta_db {
	sqlite3 *sq;
	char *path;
	char uuid[GRETA_UUID_LEN + 1];
	bool writer;
	int64_t fence;         /* ours; 0: never raised, no check */
	int depth;             /* of open transactions */
	struct greta_err last; /* SQLite's last complaint in the open transaction */
	struct greta_err doom; /* code not OK: why the open transaction can't be committed any more */
	struct greta_query statements[DB_STATEMENTS];
	struct heads *heads;   /* of attempts; heads.h */
	bool needs_heads, sets_heads; /* of the statement that is being prepared */
	struct checkpoint *checkpoint; /* a writer's; checkpoint.h */
	ZSTD_CCtx *cctx;
	ZSTD_DCtx *dctx;
};

/* Puts SQLite's last error, and what was tried, into e. Returns -1. */
int db_fail(struct greta_db *db, struct greta_err *e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

struct greta_query *db_query_va(struct greta_db *db, struct greta_err *e, const char *sql, const char *types,
				va_list ap);
void db_watch_statements(struct greta_db *db); /* notes of each what heads.h has to know */
int db_script(struct greta_db *db, const char *sql, struct greta_err *e); /* several statements, no results */

/* The first column of the first row: 1, or 0 when there is none (*out untouched), or -1. */
int db_get_i64(struct greta_db *db, int64_t *out, struct greta_err *e, const char *sql, const char *types, ...);

/* A new string of the column, or NULL for NULL. */
char *db_dup(struct greta_query *q, int column);
void db_copy_uuid(char out[GRETA_UUID_LEN + 1], struct greta_query *q, int column);
/* The place of the column's text in a list of names; 0 when it is not in it. */
int db_word(struct greta_query *q, int column, const char *const *names, int n);

/* ---- migrate.c */

struct db_migration {
	int version;       /* that it leads to */
	const char *sql;
	int (*fill)(struct greta_db *db, struct greta_err *e); /* what SQL can't do, behind it; NULL: nothing */
};
extern const struct db_migration db_migrations[];
extern const int db_n_migrations;
/* Brings an open writer's file to the last version of the list, after a backup beside it if it had one before. */
int db_migrate(struct greta_db *db, const struct db_migration *list, int n, struct greta_err *e);
/* Refuses what is not GRETA's, and what is newer than `latest`. *version 0: an empty file. */
int db_check_version(struct greta_db *db, int latest, int *version, struct greta_err *e);
int db_make_views(struct greta_db *db, const char *sql, struct greta_err *e);

/* ---- sqlfn.c: greta_zstd(), greta_telemetry(); also in the loadable extension */
int db_register_functions(sqlite3 *sq);

/* ---- pack.c: zstd with the database's contexts */
int db_pack(struct greta_db *db, int level, const void *data, size_t n, struct greta_buf *out, struct greta_err *e);
/* raw_bytes: what it must come to. A frame that says otherwise is refused before memory is taken for it. */
int db_unpack(struct greta_db *db, const void *data, size_t n, size_t raw_bytes, struct greta_buf *out,
	      struct greta_err *e);

#endif
