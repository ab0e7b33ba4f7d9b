#include "db/internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/checkpoint.h"
#include "db/gather.h"
#include "db/heads.h"
#include <errno.h>
#include <sys/stat.h>

#define BUSY_TIMEOUT_MS 5000
#define WAL_KEPT_BYTES (64 * 1024 * 1024) /* what a checkpoint leaves of the WAL file */

char *greta_db_default_path(const char *from_option)
{
	const char *env = getenv("GRETA_DB");
	const char *xdg = getenv("XDG_DATA_HOME");
	const char *home = getenv("HOME");

	if (from_option && *from_option)
		return greta_strdup(from_option);
	if (env && *env)
		return greta_strdup(env);
	if (xdg && *xdg == '/')
		return greta_format("%s/greta/greta.db", xdg);
	return greta_format("%s/.local/share/greta/greta.db", home && *home ? home : ".");
}

static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return greta_strdup(".");
	return slash == path ? greta_strdup("/") : greta_strndup(path, (size_t)(slash - path));
}

static int refuse_network(const char *path, const char *folder, struct greta_err *e)
{
	const char *type = "network";

	if (!greta_fs_is_network(folder, &type))
		return 0;
	return greta_err_set(e, GRETA_EUNSUPPORTED,
			     "%s: lies on a %s file system, where a database can be damaged by lost locks; "
			     "name a local place with --db or GRETA_DB",
			     path, type);
}

static int configure(struct greta_db *db, struct greta_err *e)
{
	cleanup_free char *wal = greta_format("PRAGMA journal_size_limit = %d", WAL_KEPT_BYTES);

	sqlite3_extended_result_codes(db->sq, 1);
	sqlite3_busy_timeout(db->sq, BUSY_TIMEOUT_MS);
	if (db_register_functions(db->sq) != SQLITE_OK)
		return db_fail(db, e, "registering greta's SQL functions");
	if (db_script(db,
		      "PRAGMA foreign_keys = ON; PRAGMA cache_size = -32768;"
		      "PRAGMA secure_delete = OFF",
		      e))
		return -1;
	if (!db->writer) /* mapped: a question reads many pages once, and copying them took a third of its time */
		return db_script(db, "PRAGMA query_only = ON; PRAGMA mmap_size = 2147418112", e);
	db_watch_statements(db);
	checkpoint_watch(db);
	return db_script(db, wal, e) || db_script(db, "PRAGMA synchronous = FULL", e) ? -1 : 0;
}

static struct greta_db *handle(const char *path, bool writer, struct greta_err *e)
{
	struct greta_db *db = greta_alloc(sizeof *db);
	int flags = writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;

	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* no lock at each allocation; refused, rightly, if SQLite is in use */
	db->path = greta_strdup(path);
	db->writer = writer;
	db->cctx = ZSTD_createCCtx();
	db->dctx = ZSTD_createDCtx();
	if (!db->cctx || !db->dctx)
		greta_err_set(e, GRETA_ENOMEM, "%s: no memory for zstd", path);
	else if (sqlite3_open_v2(path, &db->sq, flags | SQLITE_OPEN_NOMUTEX, writer ? gather_vfs() : NULL) != SQLITE_OK)
		db_fail(db, e, "opening it");
	else if (!configure(db, e))
		return db;
	greta_db_close(db);
	return NULL;
}

static int load_uuid(struct greta_db *db, struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(db, e, "SELECT value FROM meta WHERE key = 'db_uuid'", "");
	int rc = q ? greta_query_step(q, e) : -1;

	if (rc < 0)
		return -1;
	if (rc == 1)
		db_copy_uuid(db->uuid, q, 0);
	if (greta_uuid_valid(db->uuid))
		return 0;
	return greta_err_set(e, GRETA_EFAIL,
			     "%s: has no identity (meta.db_uuid): the file is damaged, restore a backup", db->path);
}

/* WAL mode is a property of the file; asking for it again is free. Some file systems can't have it. */
static int use_wal(struct greta_db *db, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(db, e, "PRAGMA journal_mode = WAL", "");
	int rc = q ? greta_query_step(q, e) : -1;

	if (rc < 0)
		return -1;
	if (rc == 1 && greta_str_eq(greta_query_str(q, 0), "wal"))
		return 0;
	return greta_err_set(e, GRETA_EUNSUPPORTED,
			     "%s: its file system has no shared memory for SQLite's WAL; name another place with --db",
			     db->path);
}

struct greta_db *greta_db_open_writer(const char *path, struct greta_err *e)
{
	cleanup_free char *folder = folder_of(path);
	struct greta_db *db;

	if (greta_fs_mkdirs(folder, 0700, e) || refuse_network(path, folder, e))
		return NULL;
	db = handle(path, true, e);
	if (!db)
		return NULL;
	if (db_check_version(db, db_migrations[db_n_migrations - 1].version, NULL, e) || use_wal(db, e) ||
	    db_migrate(db, db_migrations, db_n_migrations, e) || load_uuid(db, e)) {
		greta_db_close(db);
		return NULL;
	}
	return db;
}

/* Looked at before SQLite opens it, since SQLite's "unable to open database file" says too little. */
static int check_readable(const char *path, struct greta_err *e)
{
	struct stat st;

	if (stat(path, &st)) {
		if (errno == ENOENT)
			return greta_err_set(e, GRETA_ENOENT,
					     "%s: no database there; `greta-orch submit` makes one, "
					     "--db or GRETA_DB name another",
					     path);
		return greta_err_sys(e, "%s", path);
	}
	if (!S_ISREG(st.st_mode))
		return greta_err_set(e, GRETA_EINVAL, "%s: not a file", path);
	if (access(path, R_OK))
		return greta_err_sys(e, "%s", path);
	return 0;
}

static int check_reader_version(struct greta_db *db, struct greta_err *e)
{
	int latest = db_migrations[db_n_migrations - 1].version;
	int version = 0;

	if (db_check_version(db, latest, &version, e))
		return -1;
	if (version == latest)
		return 0;
	if (version == 0)
		return greta_err_set(e, GRETA_ENOENT, "%s: an empty database; `greta-orch submit` fills it", db->path);
	return greta_err_set(e, GRETA_EVERSION,
			     "%s: of version %d, and this greta reads version %d; any command that writes "
			     "(such as `greta-orch resume`) migrates it and keeps a backup",
			     db->path, version, latest);
}

struct greta_db *greta_db_open_reader(const char *path, struct greta_err *e)
{
	cleanup_free char *folder = folder_of(path);
	struct greta_db *db;

	if (check_readable(path, e) || refuse_network(path, folder, e))
		return NULL;
	db = handle(path, false, e);
	if (!db)
		return NULL;
	if (check_reader_version(db, e) || load_uuid(db, e)) {
		greta_db_close(db);
		return NULL;
	}
	return db;
}

void greta_db_close(struct greta_db *db)
{
	if (!db)
		return;
	heads_destroy(db);
	checkpoint_end(db);
	for (size_t i = 0; i < DB_STATEMENTS; i++)
		sqlite3_finalize(db->statements[i].st);
	sqlite3_close_v2(db->sq);
	ZSTD_freeCCtx(db->cctx);
	ZSTD_freeDCtx(db->dctx);
	free(db->path);
	free(db);
}

const char *greta_db_path(const struct greta_db *db)
{
	return db->path;
}

const char *greta_db_uuid(const struct greta_db *db)
{
	return db->uuid;
}

int greta_db_raise_fence(struct greta_db *db, int64_t *fence, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	int64_t raised = 0;
	int rc;

	db->fence = 0;
	if (greta_txn_begin(db, &txn, e))
		return -1;
	rc = db_get_i64(db, &raised, e, "UPDATE meta SET value = value + 1 WHERE key = 'fence' RETURNING value", "");
	if (rc < 0)
		return -1;
	if (rc == 0)
		return greta_err_set(e, GRETA_EFAIL, "%s: has no fence: the file is damaged, restore a backup",
				     db->path);
	if (greta_txn_commit(&txn, e))
		return -1;
	db->fence = raised;
	*fence = raised;
	return 0;
}
