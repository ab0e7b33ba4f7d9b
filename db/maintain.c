/* maintain: backup, check, snapshot, prune, and who holds back the WAL. */
#include "db/checkpoint.h"
#include "db/internal.h"
#include "db/log_index.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

extern const char db_snapshot_sql[];

/* ---- a file that appears whole or not at all */

static int refuse_existing(const char *path, struct greta_err *e)
{
	struct stat st;

	if (!lstat(path, &st))
		return greta_err_set(e, GRETA_EEXIST, "%s: is there already; name another file or remove it first",
				     path);
	return errno == ENOENT ? 0 : greta_err_sys(e, "%s", path);
}

static int sync_file(const char *path, struct greta_err *e)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fsync(fd))
		return greta_err_sys(e, "%s", path);
	return 0;
}

static int sync_folder_of(const char *path, struct greta_err *e)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *folder =
		slash ? greta_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : greta_strdup(".");

	return greta_fs_sync_dir(folder, e);
}

/* link instead of rename, since rename would replace what came to be there meanwhile. */
static int publish(const char *from, const char *to, struct greta_err *e)
{
	if (sync_file(from, e))
		return -1;
	if (link(from, to) && (errno != EPERM || rename(from, to)))
		return greta_err_sys(e, "%s", to);
	unlink(from);
	return sync_folder_of(to, e);
}

/* ---- backup */

static int copy_pages(struct greta_db *db, sqlite3 *to, struct greta_err *e)
{
	sqlite3_backup *b = sqlite3_backup_init(to, "main", db->sq, "main");
	int rc;

	if (!b)
		return greta_err_set(e, GRETA_EFAIL, "%s: backup: %s", db->path, sqlite3_errmsg(to));
	rc = sqlite3_backup_step(b, -1);
	sqlite3_backup_finish(b);
	if (rc == SQLITE_DONE)
		return 0;
	return greta_err_set(e, (rc & 0xff) == SQLITE_FULL ? GRETA_ENOSPC : GRETA_EFAIL, "%s: backup: %s", db->path,
			     sqlite3_errstr(rc));
}

/* A copy is sent and kept as one file: no WAL beside it. */
static int leave_wal(sqlite3 *sq, const char *path, struct greta_err *e)
{
	if (sqlite3_exec(sq, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	return greta_err_set(e, GRETA_EFAIL, "%s: %s", path, sqlite3_errmsg(sq));
}

static int backup_to(struct greta_db *db, const char *path, struct greta_err *e)
{
	sqlite3 *to = NULL;
	int rc;

	if (sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK)
		rc = greta_err_set(e, GRETA_EFAIL, "%s: %s", path, sqlite3_errmsg(to));
	else
		rc = copy_pages(db, to, e) || leave_wal(to, path, e) ? -1 : 0;
	sqlite3_close_v2(to);
	return rc;
}

int greta_db_backup(struct greta_db *db, const char *to_path, struct greta_err *e)
{
	cleanup_free char *temporary = greta_format("%s.part", to_path);

	if (refuse_existing(to_path, e))
		return -1;
	unlink(temporary);
	if (!backup_to(db, temporary, e) && !publish(temporary, to_path, e))
		return 0;
	unlink(temporary);
	return -1;
}

/* ---- check */

static int check_one(struct greta_db *db, const char *sql, const char *good, const char *what, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(db, e, sql, "");
	int rc = q ? greta_query_step(q, e) : -1;

	if (rc <= 0)
		return rc;
	if (good && greta_str_eq(greta_query_str(q, 0), good))
		return 0;
	return greta_err_set(e, GRETA_EFAIL,
			     "%s: %s: %s; restore a backup, or save what is readable with "
			     "`sqlite3 FILE .recover`",
			     db->path, what, greta_query_str(q, 0));
}

int greta_db_check(struct greta_db *db, struct greta_err *e)
{
	if (check_one(db, "PRAGMA integrity_check(1)", "ok", "damaged", e))
		return -1;
	return check_one(db, "PRAGMA foreign_key_check", NULL, "a row refers to one that is gone, in table", e);
}

/* ---- snapshot: a new database, and into it what belongs to one campaign */

static int fill_snapshot(struct greta_db *snap, const char *from, int64_t campaign_id, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;

	if (greta_db_exec(snap, e, "INSERT INTO meta (key, value) VALUES ('snapshot_of', ?)", "s", from) ||
	    greta_txn_begin(snap, &txn, e) ||
	    greta_db_exec(snap, e, "INSERT INTO meta (key, value) VALUES ('snapshot_campaign', ?)", "i", campaign_id) ||
	    db_script(snap, db_snapshot_sql, e) || log_index_build(snap, e))
		return -1;
	return greta_txn_commit(&txn, e);
}

static int attach(struct greta_db *snap, const char *path, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(snap, e, "ATTACH ? AS source", "s", path);

	return q && greta_query_step(q, e) == 0 ? 0 : -1;
}

static int make_snapshot(struct greta_db *db, int64_t campaign_id, const char *path, struct greta_err *e)
{
	struct greta_db *snap = greta_db_open_writer(path, e);
	int rc = -1;

	if (snap && !attach(snap, db->path, e) && !fill_snapshot(snap, db->uuid, campaign_id, e) &&
	    !db_script(snap, "DETACH source", e)) {
		checkpoint_end(snap); /* which has the file open, too */
		rc = leave_wal(snap->sq, path, e);
	}
	greta_db_close(snap);
	return rc;
}

static void remove_database(const char *path)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};

	for (size_t i = 0; i < GRETA_COUNT(suffixes); i++) {
		cleanup_free char *file = greta_format("%s%s", path, suffixes[i]);

		unlink(file);
	}
}

static int check_campaign(struct greta_db *db, int64_t campaign_id, struct greta_err *e)
{
	int64_t one;
	int rc = db_get_i64(db, &one, e, "SELECT 1 FROM campaign WHERE id = ?1 OR ?1 = 0 LIMIT 1", "i", campaign_id);

	if (rc == 0)
		return greta_err_set(e, GRETA_ENOENT, "there is no campaign %lld", (long long)campaign_id);
	return rc < 0 ? -1 : 0;
}

int greta_db_snapshot(struct greta_db *db, int64_t campaign_id, const char *to_path, struct greta_err *e)
{
	cleanup_free char *temporary = greta_format("%s.part", to_path);

	if (refuse_existing(to_path, e) || check_campaign(db, campaign_id, e))
		return -1;
	remove_database(temporary);
	if (!make_snapshot(db, campaign_id, temporary, e) && !publish(temporary, to_path, e))
		return 0;
	remove_database(temporary);
	return -1;
}

/* ---- prune */

static int prune_one(struct greta_db *db, int64_t attempt_id, struct greta_pruned *out, struct greta_err *e)
{
	int64_t bytes = 0, rows = 0;

	if (db_get_i64(db, &bytes, e,
		       "SELECT coalesce(sum(coalesce(length(raw), 0) + coalesce(length(zstd), 0)), 0) FROM log_chunk"
		       " WHERE attempt_id = ?",
		       "i", attempt_id) < 0 ||
	    db_get_i64(db, &rows, e, "SELECT coalesce(sum(n), 0) FROM telemetry_chunk WHERE attempt_id = ?", "i",
		       attempt_id) < 0 ||
	    greta_db_exec(db, e, "DELETE FROM log_chunk WHERE attempt_id = ?", "i", attempt_id) ||
	    greta_db_exec(db, e, "DELETE FROM telemetry_chunk WHERE attempt_id = ?", "i", attempt_id) ||
	    greta_db_exec(db, e, "UPDATE attempt SET state = 'pruned' WHERE id = ?", "i", attempt_id))
		return -1;
	out->n_attempts++;
	out->log_bytes += bytes;
	out->telemetry_rows += rows;
	return 0;
}

int greta_db_prune(struct greta_db *db, int64_t before_ns, int64_t most, struct greta_pruned *out, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	int64_t id = 0;
	int rc = 1;

	*out = (struct greta_pruned){0};
	if (greta_txn_begin(db, &txn, e))
		return -1;
	while (out->n_attempts < most && rc == 1) {
		rc = db_get_i64(db, &id, e,
				"SELECT id FROM attempt WHERE id > ? AND state = 'ended' AND reported AND ended_ns < ?"
				" ORDER BY id LIMIT 1",
				"ii", id, before_ns);
		if (rc == 1 && prune_one(db, id, out, e))
			rc = -1;
	}
	if (rc < 0 || (out->log_bytes && log_index_prune(db, e)))
		return -1;
	return greta_txn_commit(&txn, e);
}

/* ---- who reads, by the locks on the shared memory file (SQLite's "WAL-index format": readers hold bytes 123 to 127)
 */

#define READ_LOCK_FIRST 123
#define READ_LOCK_LAST 127
#define LOCKS_MAX (4 * 1024 * 1024)

static void name_process(long pid, struct greta_buf *who)
{
	cleanup_free char *path = greta_format("/proc/%ld/comm", pid);
	cleanup_buf struct greta_buf comm = {0};

	greta_buf_addf(who, "%sprocess %ld", who->len ? ", " : "", pid);
	if (!greta_fs_read(path, 256, &comm, NULL))
		greta_buf_addf(who, " (%.*s)", (int)strcspn(greta_buf_str(&comm), "\n"), greta_buf_str(&comm));
}

/* A line of /proc/locks: "1: POSIX  ADVISORY  READ  1234 fe:00:10961883 123 123" */
static void look_at_lock(const char *line, ino_t inode, struct greta_buf *who)
{
	unsigned long long locked, first;
	long pid;

	if (sscanf(line, "%*d: POSIX ADVISORY READ %ld %*x:%*x:%llu %llu", &pid, &locked, &first) != 3)
		return;
	if (locked == inode && first >= READ_LOCK_FIRST && first <= READ_LOCK_LAST && pid != getpid())
		name_process(pid, who);
}

int greta_db_holders(struct greta_db *db, int64_t wal_bytes, struct greta_buf *who, struct greta_err *e)
{
	cleanup_free char *wal = greta_format("%s-wal", db->path), *shm = greta_format("%s-shm", db->path);
	cleanup_buf struct greta_buf locks = {0};
	struct stat st;

	if (stat(wal, &st) || st.st_size <= wal_bytes || stat(shm, &st))
		return 0;
	if (greta_fs_read("/proc/locks", LOCKS_MAX, &locks, e))
		return -1;
	for (const char *line = greta_buf_str(&locks); *line; line += strspn(line, "\n")) {
		look_at_lock(line, st.st_ino, who);
		line += strcspn(line, "\n");
	}
	return 0;
}
