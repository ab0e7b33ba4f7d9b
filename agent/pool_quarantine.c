#include "agent/pool_quarantine.h"
#include "agent/files.h"
#include "agent/quarantine.h"
#include "agent/spool.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RELEASED "released"

int pool_quarantine_prepare(const char *spool, struct greta_err *e)
{
	char path[FILE_PATH_MAX];
	if (spool_own_folder(file_path(path, "%s/" QUARANTINE_FOLDER, spool), e) != 0)
		return -1;
	return spool_own_folder(file_path(path, "%s/" RELEASED, spool), e);
}

/* on the machine */

/* What can't be let go here, another user's, stays, and is told of again. */
static void let_go(const char *spool, const char *machine, const char *slots)
{
	char path[FILE_PATH_MAX];
	cleanup_free char *ours = greta_format("%s:", machine), *dir = greta_fs_join(spool, RELEASED);
	cleanup_strs struct greta_strs names = {0};
	file_names(dir, ours, &names);
	for (size_t i = 0; i < names.n; i++) {
		struct greta_err e = {0};
		if (quarantine_release(slots, names.items[i] + strlen(ours), &e) != 0 && e.code != GRETA_ENOENT)
			greta_error("%s", e.text);
		unlink(file_path(path, "%s/%s", dir, names.items[i]));
	}
}

/* With the time of the original, which is when it was put into quarantine. */
static void copy(const char *from, const char *to)
{
	struct stat st;
	cleanup_buf struct greta_buf text = {0};
	if (stat(from, &st) != 0 || greta_fs_read(from, QUARANTINE_REASON_MAX, &text, NULL) != 0 ||
	    greta_fs_write_atomic(to, text.data, text.len, 0600, NULL) != 0)
		return;
	utimensat(AT_FDCWD, to, (const struct timespec[]){st.st_atim, st.st_mtim}, 0);
}

static void tell(const char *spool, const char *machine, const char *slots, const struct greta_strs *here)
{
	char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
	for (size_t i = 0; i < here->n; i++) {
		file_path(from, "%s/" QUARANTINE_FOLDER "/%s", slots, here->items[i]);
		file_path(to, "%s/" QUARANTINE_FOLDER "/%s:%s", spool, machine, here->items[i]);
		if (access(to, F_OK) != 0)
			copy(from, to);
	}
}

static void forget(const char *spool, const char *machine, const struct greta_strs *here)
{
	char path[FILE_PATH_MAX];
	cleanup_free char *ours = greta_format("%s:", machine), *dir = greta_fs_join(spool, QUARANTINE_FOLDER);
	cleanup_strs struct greta_strs told = {0};
	file_names(dir, ours, &told);
	for (size_t i = 0; i < told.n; i++)
		if (!greta_str_in(told.items[i] + strlen(ours), (const char *const *)here->items, here->n))
			unlink(file_path(path, "%s/%s", dir, told.items[i]));
}

void pool_quarantine_share(const char *spool, const char *machine, const char *slots)
{
	cleanup_strs struct greta_strs here = {0};
	let_go(spool, machine, slots);
	quarantine_list(slots, &here);
	tell(spool, machine, slots, &here);
	forget(spool, machine, &here);
}

/* on the login node */

/* The note comes first: a crash between the two repeats what was told, and forgets nothing. */
int pool_quarantine_release(const char *spool, const char *name, struct greta_err *e)
{
	char path[FILE_PATH_MAX], reason[QUARANTINE_REASON_MAX];
	if (strchr(name, '/') || name[0] == '.')
		return greta_err_set(e, GRETA_EINVAL, "\"%s\" is no slot's name", name);
	if (!quarantine_is(spool, name, reason))
		return greta_err_set(e, GRETA_ENOENT, "%s is not in quarantine", name);
	if (greta_fs_write_atomic(file_path(path, "%s/" RELEASED "/%s", spool, name), "", 0, 0600, e) != 0)
		return -1;
	return quarantine_release(spool, name, e);
}

/* Names are sorted, so those of a machine stand together. */
char *pool_quarantine_machines(const char *spool, int64_t gpus)
{
	cleanup_strs struct greta_strs names = {0};
	cleanup_buf struct greta_buf out = {0};
	quarantine_list(spool, &names);
	for (size_t i = 0; i < names.n;) {
		size_t len = strcspn(names.items[i], ":") + 1, first = i;
		int64_t n_gpus = 0;
		bool whole = false;
		for (; i < names.n && strncmp(names.items[i], names.items[first], len) == 0; i++) {
			whole |= strcmp(names.items[i] + len, "node") == 0;
			n_gpus += greta_str_starts(names.items[i] + len, "gpu-");
		}
		if (whole || (gpus > 0 && n_gpus >= gpus))
			greta_buf_addf(&out, "%s%.*s", out.len ? "," : "", (int)len - 1, names.items[first]);
	}
	return greta_buf_steal(&out);
}
