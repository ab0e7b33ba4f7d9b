#include "agent/gc.h"
#include "agent/files.h"
#include "agent/spool.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PART_MIN_AGE_S (24 * 3600)
#define OPEN_FOLDERS 16

struct entry {
	char *path;
	int64_t bytes;
	time_t used;
	bool pinned;
};

struct entries {
	struct entry *items;
	size_t n, cap;
};

/* nftw has no argument for its callback; gc runs once, in one thread. */
static int64_t summed_bytes;

static int add_size(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)path, (void)at;
	if (type == FTW_F)
		summed_bytes += (int64_t)st->st_blocks * 512;
	return 0;
}

static int64_t tree_bytes(const char *path)
{
	summed_bytes = 0;
	nftw(path, add_size, OPEN_FOLDERS, FTW_PHYS);
	return summed_bytes;
}

static bool is_uploaded_to(const char *entry)
{
	cleanup_strs struct greta_strs names = {0};
	bool young = false;
	file_names(entry, "", &names);
	for (size_t i = 0; i < names.n && !young; i++) {
		struct stat st;
		cleanup_free char *path = greta_fs_join(entry, names.items[i]);
		young = greta_str_ends(path, ".part") && lstat(path, &st) == 0 && time(NULL) - st.st_mtime < PART_MIN_AGE_S;
	}
	return young;
}

static void read_store(const char *store, struct entries *all)
{
	cleanup_strs struct greta_strs names = {0};
	file_names(store, "", &names);
	for (size_t i = 0; i < names.n; i++) {
		struct stat st;
		char *path = greta_fs_join(store, names.items[i]);
		if (lstat(path, &st) != 0) {
			free(path);
			continue;
		}
		struct entry *entry = GRETA_PUSH(all->items, all->n, all->cap);
		*entry = (struct entry){.path = path, .bytes = tree_bytes(path), .used = st.st_mtime};
		entry->pinned = is_uploaded_to(path);
	}
}

static void pin_if_named(struct entries *all, const char *text)
{
	for (size_t i = 0; i < all->n; i++)
		if (strstr(text, strrchr(all->items[i].path, '/') + 1))
			all->items[i].pinned = true;
}

/* An attempt that has not been acknowledged may still run, or be looked into. */
static void pin_spool(struct entries *all, const char *spool)
{
	cleanup_strs struct greta_strs ids = {0};
	spool_list(spool, &ids);
	for (size_t i = 0; i < ids.n; i++) {
		cleanup_buf struct greta_buf text = {0};
		cleanup_free char *dir = spool_attempt_dir(spool, ids.items[i]);
		cleanup_free char *path = greta_fs_join(dir, "spec.json");
		if (greta_fs_read(path, 4 * 1024 * 1024, &text, NULL) == 0)
			pin_if_named(all, greta_buf_str(&text));
	}
}

static void pin_self(struct entries *all)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	self[n > 0 ? n : 0] = '\0';
	pin_if_named(all, self);
}

static int oldest_first(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	return (x->used > y->used) - (x->used < y->used);
}

static int remove_entries(struct entries *all, int64_t keep_bytes, struct gc_report *out, struct greta_err *e)
{
	for (size_t i = 0; i < all->n; i++)
		out->kept_bytes += all->items[i].bytes;
	out->kept = (int64_t)all->n;
	for (size_t i = 0; i < all->n && out->kept_bytes > keep_bytes; i++) {
		if (all->items[i].pinned)
			continue;
		if (greta_fs_remove_tree(all->items[i].path, e) != 0)
			return -1;
		out->kept_bytes -= all->items[i].bytes;
		out->freed_bytes += all->items[i].bytes;
		out->kept--;
		out->removed++;
	}
	return 0;
}

int gc_store(const struct agent_paths *paths, int64_t keep_bytes, struct gc_report *out, struct greta_err *e)
{
	struct entries all = {0};
	cleanup_free char *store = greta_fs_join(paths->cache, "store");
	*out = (struct gc_report){0};
	read_store(store, &all);
	pin_spool(&all, paths->spool);
	pin_self(&all);
	if (all.n > 1)
		qsort(all.items, all.n, sizeof *all.items, oldest_first);
	int rc = remove_entries(&all, keep_bytes, out, e);
	for (size_t i = 0; i < all.n; i++)
		free(all.items[i].path);
	free(all.items);
	return rc;
}

void gc_touch(const struct agent_paths *paths, const char *path)
{
	cleanup_free char *store = greta_format("%s/store/", paths->cache);
	if (!greta_str_starts(path, store))
		return;
	const char *rest = path + strlen(store);
	cleanup_free char *entry = greta_format("%s%.*s", store, (int)strcspn(rest, "/"), rest);
	utimensat(AT_FDCWD, entry, NULL, AT_SYMLINK_NOFOLLOW);
}
