#include "agent/spare.h"
#include "agent/spool.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/uuid.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPARES 16 /* attempts that may end before the next ones begin; a reserved outcome each */

static char *spare_path(const char *spool, int i)
{
	return greta_format("%s/spare/%d", spool, i);
}

static bool is_ours(int folder, const char *name)
{
	struct stat st;
	return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
	       (st.st_mode & 07777) == 0600 && st.st_uid == geteuid();
}

/* Nothing but the two. Takes the descriptor. */
static bool holds_nothing_else(int folder)
{
	cleanup_dir DIR *d = fdopendir(folder);
	int n = 0;
	if (!d) {
		close(folder);
		return false;
	}
	for (struct dirent *entry; (entry = readdir(d));)
		n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	return n == 2;
}

static bool strip(const char *dir)
{
	struct stat st;
	int folder = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (folder < 0)
		return false;
	if (fstat(folder, &st) == 0 && (st.st_mode & 07777) == 0700 && unlinkat(folder, "events", 0) == 0 &&
	    unlinkat(folder, "control", 0) == 0 && unlinkat(folder, "scratch", AT_REMOVEDIR) == 0 &&
	    (unlinkat(folder, "kernels.json", 0) == 0 || errno == ENOENT) &&
	    renameat(folder, "outcome.json", folder, "outcome.part") == 0 && is_ours(folder, "outcome.part") &&
	    is_ours(folder, "spec.json"))
		return holds_nothing_else(folder);
	close(folder);
	return false;
}

bool spare_keep(const char *spool, const char *dead)
{
	if (!strip(dead))
		return false;
	for (int i = 0; i < SPARES; i++) {
		cleanup_free char *spare = spare_path(spool, i);
		if (rename(dead, spare) == 0)
			return true;
	}
	return false;
}

bool spare_take(const char *spool, const char *to)
{
	for (int i = 0; i < SPARES; i++) {
		cleanup_free char *spare = spare_path(spool, i);
		if (rename(spare, to) == 0)
			return true;
	}
	return false;
}

/* Another session may take one at any time: out of its sight first. */
void spare_clear(const char *spool)
{
	char unique[GRETA_UUID_LEN + 1];
	cleanup_free char *out = greta_format("%s/attempts/" SPOOL_DEAD "%s", spool, greta_uuid_new(unique));
	while (spare_take(spool, out))
		greta_fs_remove_tree(out, NULL);
}
