/* power_cut: what would be on the disk if the power failed now. To be preloaded into the programs of a flow.
 *
 * Below POWER_CUT_ROOT a file has on the disk what it had at its last fsync or fdatasync, and a folder the names that it
 * had at its own: the least that a disk which keeps its promises may have kept. After each sync that is written down in
 * POWER_CUT_DISK, by inode and time of birth: KEY.file, a copy; KEY.folder, a line "KEY MODE NAME" for each name in it.
 * power_cut.py makes a tree of that.
 *
 * POWER_CUT_LIES: part of a path; what has it in its path is never kept, though the program is told so.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct seen {
	char key[64];
	unsigned mode;
};

static bool look(int at, const char *name, struct seen *out)
{
	struct statx x;

	if (statx(at, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &x) != 0)
		return false;
	snprintf(out->key, sizeof out->key, "%llu-%lld.%u", (unsigned long long)x.stx_ino, (long long)x.stx_btime.tv_sec,
		 x.stx_btime.tv_nsec);
	out->mode = x.stx_mode;
	return true;
}

/* The file's offset stays where it is. */
static void copy_file(int fd, FILE *out)
{
	char buf[65536];
	char path[64];
	int in, n;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	in = open(path, O_RDONLY | O_CLOEXEC);
	while (in >= 0 && (n = (int)read(in, buf, sizeof buf)) > 0)
		fwrite(buf, 1, (size_t)n, out);
	if (in >= 0)
		close(in);
}

static void copy_names(int fd, FILE *out)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = own >= 0 ? fdopendir(own) : NULL;
	struct seen s;

	for (struct dirent *e; d && (e = readdir(d));)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && look(fd, e->d_name, &s))
			fprintf(out, "%s %o %s\n", s.key, s.mode, e->d_name);
	if (d)
		closedir(d);
}

static bool below_root(int fd)
{
	const char *root = getenv("POWER_CUT_ROOT"), *lies = getenv("POWER_CUT_LIES");
	char link[64], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = root ? readlink(link, path, sizeof path - 1) : -1;
	if (n < 0)
		return false;
	path[n] = '\0';
	return strncmp(path, root, strlen(root)) == 0 && !(lies && strstr(path, lies));
}

static void keep(int fd)
{
	const char *disk = getenv("POWER_CUT_DISK");
	char path[PATH_MAX], part[PATH_MAX + 32];
	struct seen s;
	bool folder;
	FILE *out;

	if (!disk || !below_root(fd) || !look(fd, "", &s))
		return;
	folder = S_ISDIR(s.mode);
	snprintf(path, sizeof path, "%s/%s.%s", disk, s.key, folder ? "folder" : "file");
	snprintf(part, sizeof part, "%s.part%d", path, (int)getpid());
	out = fopen(part, "we");
	if (!out)
		return;
	if (folder)
		copy_names(fd, out);
	else
		copy_file(fd, out);
	if (fclose(out) == 0)
		rename(part, path);
}

static int sync_and_keep(const char *name, int fd)
{
	static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER; /* an older copy must not replace a newer one */
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
	int rc, sys;

	pthread_mutex_lock(&one_at_a_time);
	rc = real(fd);
	sys = errno;
	if (rc == 0)
		keep(fd);
	pthread_mutex_unlock(&one_at_a_time);
	errno = sys;
	return rc;
}

int fsync(int fd)
{
	return sync_and_keep("fsync", fd);
}

int fdatasync(int fd)
{
	return sync_and_keep("fdatasync", fd);
}
