#include "orchestrator/writer.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include <string.h>
#include <unistd.h>

static int make_folder(const char *db_path, struct greta_err *e)
{
	const char *slash = strrchr(db_path, '/');
	if (!slash || slash == db_path)
		return 0;
	cleanup_free char *dir = greta_strndup(db_path, (size_t)(slash - db_path));
	return greta_fs_mkdirs(dir, 0700, e);
}

int writer_open(const char *db_path, struct writer *out, struct greta_err *e)
{
	struct writer w = {.lock_fd = -1};
	cleanup_free char *lock = greta_format("%s.lock", db_path);
	if (make_folder(db_path, e))
		return -1;
	w.lock_fd = greta_fs_lock(lock, 0600, e);
	if (w.lock_fd < 0)
		return -1;
	w.db = greta_db_open_writer(db_path, e);
	if (!w.db || greta_db_raise_fence(w.db, &w.fence, e)) {
		writer_close(&w);
		return -1;
	}
	*out = w;
	return 0;
}

void writer_close(struct writer *w)
{
	greta_db_close(w->db);
	if (w->lock_fd >= 0)
		close(w->lock_fd);
	*w = (struct writer){.lock_fd = -1};
}
