#include "agent/hash.h"
#include "agent/files.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* What must be equal for the content to be. ctime can't be set back by touch. */
static void describe(const struct stat *st, char *out, size_t cap)
{
	snprintf(out, cap, "%" PRId64 " %lld.%09ld %lld.%09ld ", (int64_t)st->st_size, (long long)st->st_mtim.tv_sec,
		 st->st_mtim.tv_nsec, (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

static bool recall(const char *entry, const char *description, char line[HASH_LINE_MAX])
{
	char text[HASH_LINE_MAX + 128];
	size_t n = strlen(description);
	if (file_text(entry, NULL, text, sizeof text) != 0 || strncmp(text, description, n) != 0 || !text[n])
		return false;
	greta_str_copy(line, HASH_LINE_MAX, text + n);
	return true;
}

/* A file written in this very moment may be written again within the same tick of its time stamps. */
static bool is_settled(const struct stat *st)
{
	int64_t changed_ns = (int64_t)st->st_ctim.tv_sec * GRETA_NS_PER_S + st->st_ctim.tv_nsec;
	return greta_clock_wall_ns() - changed_ns > 2 * GRETA_NS_PER_S;
}

static void remember(const char *cache, const char *entry, const char *text)
{
	char dir[FILE_PATH_MAX];
	if (greta_fs_mkdirs(file_path(dir, "%s/hashes", cache), 0700, NULL) == 0)
		greta_fs_write_atomic(entry, text, strlen(text), 0600, NULL);
}

int hash_remembered(const char *cache, const char *path, const char *kind, hash_find_fn *find, void *arg,
		    char line[HASH_LINE_MAX], struct greta_err *e)
{
	struct stat st, after;
	char entry[FILE_PATH_MAX], before[128], then[128] = "", text[HASH_LINE_MAX + 128];
	if (stat(path, &st) != 0)
		return greta_err_sys(e, "can't find %s", path);
	file_path(entry, "%s/hashes/%llx-%llx%s", cache, (unsigned long long)st.st_dev, (unsigned long long)st.st_ino, kind);
	describe(&st, before, sizeof before);
	if (recall(entry, before, line))
		return 0;
	if (find(arg, path, line, e) != 0)
		return -1;
	if (stat(path, &after) == 0)
		describe(&after, then, sizeof then);
	if (strcmp(before, then) == 0 && is_settled(&st)) {
		snprintf(text, sizeof text, "%s%s", before, line);
		remember(cache, entry, text);
	}
	return 0;
}

static int find_sha256(void *arg, const char *path, char line[HASH_LINE_MAX], struct greta_err *e)
{
	(void)arg;
	return greta_sha256_file(path, line, e);
}

int hash_file(const char *cache, const char *path, char out[GRETA_SHA256_HEX + 1], struct greta_err *e)
{
	char line[HASH_LINE_MAX];
	if (hash_remembered(cache, path, "", find_sha256, NULL, line, e) != 0)
		return -1;
	greta_str_copy(out, GRETA_SHA256_HEX + 1, line);
	return 0;
}
