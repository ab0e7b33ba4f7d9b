#include "db/gather.h"

#include "base/mem.h"
#include <sqlite3.h>
#include <string.h>

#define PIECE_BYTES (64 * 1024) /* of more than 127 KiB at once, SQLite writes only a part */
#define AHEAD_BYTES (1024 * 1024)

struct gather {
	sqlite3_file base;
	char *piece;       /* not written yet */
	int n;
	sqlite3_int64 at;  /* where it belongs */
	sqlite3_int64 size; /* of the file, as far as is known: it may have grown or been cut by others */
	sqlite3_file real; /* the system's; longer than that */
};

static sqlite3_file *real_of(sqlite3_file *file)
{
	return &((struct gather *)file)->real;
}

/* Zeros behind what was written up to `end`, where the file ends. Who writes to the log has its lock, so that nobody else
 * does. A disk without room for them gets back what they took of it: the next commit may fit. */
static void reach(struct gather *g, sqlite3_int64 end)
{
	static const char zeros[PIECE_BYTES];
	sqlite3_int64 to = (end + AHEAD_BYTES - 1) / AHEAD_BYTES * AHEAD_BYTES;

	if (end <= g->size || g->real.pMethods->xFileSize(&g->real, &g->size) != SQLITE_OK || end < g->size)
		return;
	for (sqlite3_int64 at = end; at < to; at += PIECE_BYTES) {
		int n = to - at < PIECE_BYTES ? (int)(to - at) : PIECE_BYTES;

		if (g->real.pMethods->xWrite(&g->real, zeros, n, at) != SQLITE_OK) {
			g->real.pMethods->xTruncate(&g->real, end);
			return;
		}
	}
	g->size = to;
}

static int write_real(struct gather *g, const void *bytes, int n, sqlite3_int64 at)
{
	int rc = g->real.pMethods->xWrite(&g->real, bytes, n, at);

	if (rc == SQLITE_OK)
		reach(g, at + n);
	return rc;
}

/* What can't be written is given up: SQLite rolls back, and writes the same place anew. */
static int flush(sqlite3_file *file)
{
	struct gather *g = (struct gather *)file;
	int n = g->n;

	g->n = 0;
	return n ? write_real(g, g->piece, n, g->at) : SQLITE_OK;
}

static int gather_write(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 at)
{
	struct gather *g = (struct gather *)file;
	int rc = SQLITE_OK;

	if (at != g->at + g->n || n > PIECE_BYTES - g->n)
		rc = flush(file);
	if (rc != SQLITE_OK || n > PIECE_BYTES)
		return rc != SQLITE_OK ? rc : write_real(g, bytes, n, at);
	if (!g->n)
		g->at = at;
	memcpy(g->piece + g->n, bytes, (size_t)n);
	g->n += n;
	return SQLITE_OK;
}

static int gather_read(sqlite3_file *file, void *bytes, int n, sqlite3_int64 at)
{
	int rc = flush(file);

	return rc != SQLITE_OK ? rc : real_of(file)->pMethods->xRead(real_of(file), bytes, n, at);
}

static int gather_sync(sqlite3_file *file, int flags)
{
	int rc = flush(file);

	return rc != SQLITE_OK ? rc : real_of(file)->pMethods->xSync(real_of(file), flags);
}

static int gather_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
	int rc = flush(file);

	((struct gather *)file)->size = 0;
	return rc != SQLITE_OK ? rc : real_of(file)->pMethods->xTruncate(real_of(file), bytes);
}

static int gather_size(sqlite3_file *file, sqlite3_int64 *bytes)
{
	int rc = flush(file);

	return rc != SQLITE_OK ? rc : real_of(file)->pMethods->xFileSize(real_of(file), bytes);
}

static int gather_close(sqlite3_file *file)
{
	struct gather *g = (struct gather *)file;
	int flushed = flush(file), rc = g->real.pMethods->xClose(&g->real);

	free(g->piece);
	return flushed != SQLITE_OK ? flushed : rc;
}

static int gather_lock(sqlite3_file *file, int level)
{
	return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int gather_unlock(sqlite3_file *file, int level)
{
	return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int gather_is_reserved(sqlite3_file *file, int *out)
{
	return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

static int gather_control(sqlite3_file *file, int op, void *arg)
{
	return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}

static int gather_sector(sqlite3_file *file)
{
	return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int gather_traits(sqlite3_file *file)
{
	return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = gather_close,
	.xRead = gather_read,
	.xWrite = gather_write,
	.xTruncate = gather_truncate,
	.xSync = gather_sync,
	.xFileSize = gather_size,
	.xLock = gather_lock,
	.xUnlock = gather_unlock,
	.xCheckReservedLock = gather_is_reserved,
	.xFileControl = gather_control,
	.xSectorSize = gather_sector,
	.xDeviceCharacteristics = gather_traits,
};

static int gather_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *out_flags)
{
	sqlite3_vfs *usual = vfs->pAppData;
	struct gather *g = (struct gather *)file;
	int rc;

	if (!(flags & SQLITE_OPEN_WAL))
		return usual->xOpen(usual, path, file, flags, out_flags);
	*g = (struct gather){0};
	rc = usual->xOpen(usual, path, &g->real, flags, out_flags);
	if (rc != SQLITE_OK) /* and SQLite closes what has methods */
		return rc;
	g->piece = greta_alloc(PIECE_BYTES);
	g->base.pMethods = &methods;
	return SQLITE_OK;
}

const char *gather_vfs(void)
{
	static sqlite3_vfs vfs;
	sqlite3_vfs *usual = sqlite3_vfs_find(NULL);

	if (vfs.zName || !usual)
		return vfs.zName;
	vfs = *usual;
	vfs.pNext = NULL;
	vfs.zName = "greta-gather";
	vfs.szOsFile = (int)offsetof(struct gather, real) + usual->szOsFile;
	vfs.pAppData = usual;
	vfs.xOpen = gather_open;
	if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
		vfs.zName = NULL;
	return vfs.zName;
}
