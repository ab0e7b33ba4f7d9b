/* migrate: from any older version to the newest, a step at a time, each step one transaction; the file as it was is
 * kept beside it as FILE.v<N>.bak. Views are not migrated: they are dropped and made anew whenever their text has
 * changed. */
#include "db/internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "base/str.h"
#include "base/version.h"
#include "db/log_index.h"
#include "db/specs.h"

extern const char db_schema_0001[];
extern const char db_schema_0002[];
extern const char db_schema_0003[];
extern const char db_schema_0005[];
extern const char db_schema_0007[];
extern const char db_schema_0008[];
extern const char db_schema_0009[];
extern const char db_views_sql[];

const struct db_migration db_migrations[] = {
	{1, db_schema_0001, NULL},
	{2, db_schema_0002, NULL},
	{3, db_schema_0003, NULL},
	{5, db_schema_0005, NULL},
	{7, db_schema_0007, log_index_build},
	{8, db_schema_0008, NULL},
	{9, db_schema_0009, specs_build},
};
const int db_n_migrations = GRETA_COUNT(db_migrations);

static int pragma_i64(struct greta_db *db, const char *sql, int64_t *out, struct greta_err *e)
{
	return db_get_i64(db, out, e, sql, "") < 0 ? -1 : 0;
}

int db_check_version(struct greta_db *db, int latest, int *version, struct greta_err *e)
{
	int64_t id = 0, found = 0, n_tables = 0;

	if (pragma_i64(db, "PRAGMA application_id", &id, e) || pragma_i64(db, "PRAGMA user_version", &found, e) ||
	    pragma_i64(db, "SELECT count(*) FROM sqlite_schema", &n_tables, e))
		return -1;
	if (id != DB_APPLICATION_ID && (n_tables || id || found))
		return greta_err_set(e, GRETA_EINVAL,
				     "%s: a database, but not one of GRETA's; --db names another place", db->path);
	if (found > latest)
		return greta_err_set(
			e, GRETA_EVERSION,
			"%s: of version %lld, and this greta (%s) knows versions up to %d; use a newer greta", db->path,
			(long long)found, GRETA_VERSION, latest);
	if (version)
		*version = (int)found;
	return 0;
}

static int put_meta(struct greta_db *db, const char *key, const char *value, struct greta_err *e)
{
	return greta_db_exec(db, e,
			     "INSERT INTO meta (key, value) VALUES (?, ?) "
			     "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
			     "ss", key, value);
}

/* A new database gets its identity in the same transaction as its tables. */
static int make_identity(struct greta_db *db, struct greta_err *e)
{
	char uuid[GRETA_UUID_LEN + 1];

	if (put_meta(db, "db_uuid", greta_uuid_new(uuid), e))
		return -1;
	return greta_db_exec(db, e, "INSERT INTO meta (key, value) VALUES ('fence', 0), ('created_ns', ?)", "i",
			     greta_clock_wall_ns());
}

static int step(struct greta_db *db, const struct db_migration *m, bool fresh, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	cleanup_free char *stamp =
		greta_format("PRAGMA application_id = %d; PRAGMA user_version = %d", DB_APPLICATION_ID, m->version);
	int64_t orphans = 0;

	if (greta_txn_begin(db, &txn, e) || db_script(db, m->sql, e) || (m->fill && m->fill(db, e)) || (fresh && make_identity(db, e)) ||
	    put_meta(db, "greta_version", GRETA_VERSION, e) || db_script(db, stamp, e))
		return -1;
	if (pragma_i64(db, "SELECT count(*) FROM pragma_foreign_key_check", &orphans, e))
		return -1;
	if (orphans)
		return greta_err_set(e, GRETA_EFAIL, "%lld rows refer to rows that are gone", (long long)orphans);
	return greta_txn_commit(&txn, e);
}

static int drop_views(struct greta_db *db, struct greta_err *e)
{
	cleanup_strs struct greta_strs names = {0};
	cleanup_query struct greta_query *q =
		greta_query_open(db, e, "SELECT name FROM sqlite_schema WHERE type = 'view'", "");
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e))
		greta_strs_addf(&names, "DROP VIEW \"%s\"", greta_query_str(q, 0));
	if (rc < 0)
		return -1;
	for (size_t i = 0; i < names.n; i++)
		if (db_script(db, names.items[i], e))
			return -1;
	return 0;
}

static int views_are_current(struct greta_db *db, const char *sha256, bool *current, struct greta_err *e)
{
	int64_t n = 0;

	if (db_get_i64(db, &n, e, "SELECT 1 FROM meta WHERE key = 'views_sha256' AND value = ?", "s", sha256) < 0)
		return -1;
	*current = n;
	return 0;
}

int db_make_views(struct greta_db *db, const char *sql, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	char sha256[GRETA_SHA256_HEX + 1];
	bool current;

	greta_sha256_of(sql, strlen(sql), sha256);
	if (views_are_current(db, sha256, &current, e))
		return -1;
	if (current)
		return 0;
	if (greta_txn_begin(db, &txn, e) || drop_views(db, e) || db_script(db, sql, e) ||
	    put_meta(db, "views_sha256", sha256, e))
		return -1;
	return greta_txn_commit(&txn, e);
}

static int keep_backup(struct greta_db *db, int version, struct greta_err *e)
{
	cleanup_free char *path = greta_format("%s.v%d.bak", db->path, version);

	/* One that a failed migration left behind is of the same version, and older. */
	if (!access(path, F_OK) && unlink(path))
		return greta_err_sys(e, "%s", path);
	if (greta_db_backup(db, path, e))
		return greta_err_wrap(e, "no migration without a backup");
	greta_info("%s: migrating from version %d; the database as it was is kept as %s", db->path, version, path);
	return 0;
}

static int run_steps(struct greta_db *db, const struct db_migration *list, int n, int version, struct greta_err *e)
{
	/* Rebuilding a table that others refer to needs this; each step checks the references before it commits. */
	if (db_script(db, "PRAGMA foreign_keys = OFF", e))
		return -1;
	for (int i = 0; i < n; i++)
		if (list[i].version > version && step(db, &list[i], version == 0 && i == 0, e))
			return greta_err_wrap(e, "%s: migration to version %d failed, nothing was changed", db->path,
					      list[i].version);
	return db_script(db, "PRAGMA foreign_keys = ON", e);
}

int db_migrate(struct greta_db *db, const struct db_migration *list, int n, struct greta_err *e)
{
	int version = 0;

	if (db_check_version(db, list[n - 1].version, &version, e))
		return -1;
	if (version > 0 && version < list[n - 1].version && keep_backup(db, version, e))
		return -1;
	if (version < list[n - 1].version && run_steps(db, list, n, version, e))
		return -1;
	return db_make_views(db, db_views_sql, e);
}
