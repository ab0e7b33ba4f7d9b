#include "base/fs.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

int greta_fs_read(const char *path, size_t max_bytes, struct greta_buf *out, struct greta_err *e)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return greta_err_sys(e, "can't open %s", path);
	size_t before = out->len;
	for (;;) {
		/* One byte more than allowed, to see that there is more. Sizes from fstat don't hold in /proc. */
		size_t left = max_bytes - (out->len - before);
		size_t most = out->len == before ? 4096 : 65536; /* few files here are longer */
		size_t want = left < most ? left + 1 : most;
		ssize_t n = read(fd, greta_buf_reserve(out, want), want);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			out->len = before;
			return greta_err_sys(e, "can't read %s", path);
		}
		if ((size_t)n > left) {
			out->len = before;
			return greta_err_set(e, GRETA_EINVAL, "%s is larger than %zu bytes, the most that is read here",
					     path, max_bytes);
		}
		out->len += (size_t)n;
		if (n == 0)
			break;
	}
	(void)greta_buf_reserve(out, 0);
	return 0;
}

int greta_fs_write_all(int fd, const void *data, size_t n, struct greta_err *e)
{
	const char *at = data;
	while (n > 0) {
		ssize_t wrote = write(fd, at, n);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return greta_err_sys(e, "can't write");
		at += wrote;
		n -= (size_t)wrote;
	}
	return 0;
}

/* The caller owns it. "a/b" and "a/b/" lie in "a", "b" in ".". */
static char *parent_of(const char *path)
{
	size_t n = strlen(path);
	while (n > 1 && path[n - 1] == '/')
		n--;
	while (n > 0 && path[n - 1] != '/')
		n--;
	while (n > 1 && path[n - 1] == '/')
		n--;
	return n ? greta_strndup(path, n) : greta_strdup(".");
}

int greta_fs_sync_dir(const char *path, struct greta_err *e)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return greta_err_sys(e, "can't open the folder %s", path);
	if (fsync(fd) != 0 && errno != EINVAL) /* EINVAL: a file system that can't, and so has nothing to lose */
		return greta_err_sys(e, "can't sync the folder %s", path);
	return 0;
}

static int fill_and_rename(int fd, const char *tmp, const char *path, const void *data, size_t n, mode_t mode,
			   struct greta_err *e)
{
	if (greta_fs_write_all(fd, data, n, e) != 0)
		return greta_err_wrap(e, "%s", path);
	if (fchmod(fd, mode) != 0)
		return greta_err_sys(e, "can't set the mode of %s", path);
	if (fsync(fd) != 0)
		return greta_err_sys(e, "can't sync %s", path);
	if (rename(tmp, path) != 0)
		return greta_err_sys(e, "can't put %s in its place", path);
	return 0;
}

int greta_fs_write_atomic(const char *path, const void *data, size_t n, mode_t mode, struct greta_err *e)
{
	cleanup_free char *dir = parent_of(path);
	cleanup_free char *tmp = greta_format("%s.tmp.XXXXXX", path);
	cleanup_fd int fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return greta_err_sys(e, "can't create a file beside %s", path);
	if (fill_and_rename(fd, tmp, path, data, n, mode, e) != 0) {
		unlink(tmp);
		return -1;
	}
	return greta_fs_sync_dir(dir, e);
}

static int make_dir(const char *path, mode_t mode, struct greta_err *e)
{
	struct stat st;
	if (mkdir(path, mode) == 0) {
		cleanup_free char *parent = parent_of(path);
		return greta_fs_sync_dir(parent, e);
	}
	int why = errno;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) /* whatever mkdir said: it may be EROFS or EACCES for "/" */
		return 0;
	errno = why == EEXIST ? ENOTDIR : why;
	return greta_err_sys(e, "can't create the folder %s", path);
}

int greta_fs_mkdirs(const char *path, mode_t mode, struct greta_err *e)
{
	cleanup_free char *part = greta_strdup(path);
	for (char *p = part + 1; *part && *p; p++) {
		if (*p != '/' || p[-1] == '/')
			continue;
		*p = '\0';
		if (make_dir(part, mode, e) != 0)
			return -1;
		*p = '/';
	}
	return make_dir(part, mode, e);
}

static int remove_entry(int dir, const char *name, struct greta_err *e);

/* Takes fd. */
static int remove_entries(int fd, struct greta_err *e)
{
	int result = 0;
	struct stat st;
	if (fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700)
		(void)fchmod(fd, 0700); /* where that is not allowed, removing will tell */
	cleanup_dir DIR *d = fdopendir(fd);
	if (!d) {
		greta_err_sys(e, "can't read the folder");
		close(fd);
		return -1;
	}
	for (struct dirent *entry; (entry = readdir(d));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    remove_entry(dirfd(d), entry->d_name, result == 0 ? e : NULL) != 0)
			result = -1; /* goes on: as much as can be removed is, and *e tells of the first that can't */
	return result;
}

/* Also one that is ours and that we may not read. */
static int open_folder(int dir, const char *name)
{
	const int flags = O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	char path[40];
	int fd = openat(dir, name, O_RDONLY | flags);
	if (fd >= 0 || errno != EACCES)
		return fd;
	cleanup_fd int there = openat(dir, name, O_PATH | flags);
	snprintf(path, sizeof path, "/proc/self/fd/%d", there);
	if (there >= 0 && chmod(path, 0700) == 0)
		return openat(dir, name, O_RDONLY | flags);
	errno = EACCES;
	return -1;
}

/* unlink first: of a link to a folder that removes the link. */
static int remove_entry(int dir, const char *name, struct greta_err *e)
{
	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR)
		return greta_err_sys(e, "can't remove %s", name);
	int fd = open_folder(dir, name);
	if (fd < 0)
		return errno == ENOENT ? 0 : greta_err_sys(e, "can't open the folder %s", name);
	if (remove_entries(fd, e) != 0)
		return greta_err_wrap(e, "%s", name);
	if (unlinkat(dir, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
		return greta_err_sys(e, "can't remove the folder %s", name);
	return 0;
}

int greta_fs_remove_tree(const char *path, struct greta_err *e)
{
	cleanup_free char *plain = greta_strdup(path);
	for (size_t n = strlen(plain); n > 1 && plain[n - 1] == '/'; n--)
		plain[n - 1] = '\0'; /* "link/" would name what the link points to */
	return remove_entry(AT_FDCWD, plain, e);
}

static int busy(int fd, const char *path, struct greta_err *e)
{
	char pid[24] = "", comm_path[48];
	int64_t n;
	ssize_t got = pread(fd, pid, sizeof pid - 1, 0);
	pid[got > 0 ? strcspn(pid, "\n") : 0] = '\0';
	if (greta_str_i64(pid, &n) != 0 || n <= 0)
		return greta_err_set(e, GRETA_EBUSY, "%s is locked by another process", path);
	cleanup_buf struct greta_buf comm = {0};
	snprintf(comm_path, sizeof comm_path, "/proc/%s/comm", pid);
	if (greta_fs_read(comm_path, 64, &comm, NULL) != 0)
		return greta_err_set(e, GRETA_EBUSY, "%s is locked by process %s", path, pid);
	comm.data[strcspn(comm.data, "\n")] = '\0';
	return greta_err_set(e, GRETA_EBUSY, "%s is locked by process %s (%s)", path, pid, comm.data);
}

/* Not one open with O_CREAT: in a sticky folder that all may write to, the kernel refuses that for a file of another
 * user (fs.protected_regular). flock works on a read-only descriptor too. */
static int open_lock_file(const char *path, mode_t mode)
{
	const int flags = O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;
	for (int tries = 0; tries < 100; tries++) {
		int fd = open(path, O_RDWR | flags);
		if (fd < 0 && (errno == EACCES || errno == EROFS))
			fd = open(path, O_RDONLY | flags);
		if (fd >= 0 || errno != ENOENT)
			return fd;
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | flags, mode);
		if (fd >= 0 && fchmod(fd, mode) == 0) /* past the umask: others may have to open it */
			return fd;
		if (fd >= 0) {
			close(fd);
			return -1;
		}
		if (errno != EEXIST)
			return -1;
	}
	return -1;
}

/* A device may be locked as well: ftruncate refuses it, and nothing is written. */
static void write_pid(int fd)
{
	char text[24];
	int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
	if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n) {
		/* The lock holds without it (full disk, read-only descriptor); only its holder is not named. */
	}
}

int greta_fs_lock(const char *path, mode_t mode, struct greta_err *e)
{
	for (int tries = 0; tries < 100; tries++) {
		struct stat held, there;
		cleanup_fd int fd = open_lock_file(path, mode);
		if (fd < 0)
			return greta_err_sys(e, "can't open the lock %s", path);
		if (flock(fd, LOCK_EX | LOCK_NB) != 0)
			return errno == EWOULDBLOCK ? busy(fd, path, e) : greta_err_sys(e, "can't lock %s", path);
		if (fstat(fd, &held) != 0)
			return greta_err_sys(e, "can't lock %s", path);
		/* Somebody may have removed it between open and flock: then this locks nothing. */
		if (stat(path, &there) != 0 || there.st_ino != held.st_ino || there.st_dev != held.st_dev)
			continue;
		write_pid(fd);
		int taken = fd;
		fd = -1;
		return taken;
	}
	return greta_err_set(e, GRETA_EBUSY, "%s is being removed and created again by another process", path);
}

/* The type of the file system that `dev` is, from /proc/self/mountinfo: "... MAJOR:MINOR ... - TYPE ...". */
static int mount_type(dev_t dev, char *out, size_t cap)
{
	char want[40], *line = NULL;
	size_t line_cap = 0;
	int found = -1;
	cleanup_file FILE *f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return -1;
	snprintf(want, sizeof want, "%u:%u", major(dev), minor(dev));
	while (found != 0 && getline(&line, &line_cap, f) > 0) {
		char device[40], *dash = strstr(line, " - ");
		if (!dash || sscanf(line, "%*s %*s %39s", device) != 1 || strcmp(device, want) != 0)
			continue;
		dash[3 + strcspn(dash + 3, " \n")] = '\0';
		greta_str_copy(out, cap, dash + 3);
		found = 0;
	}
	free(line);
	return found;
}

/* FUSE serves both disks and networks. Those known to be local are; of the rest nothing is known. */
static bool fuse_is_network(dev_t dev, const char **type)
{
	static const char *const local[] = {"fuseblk",        "fuse.fuse-overlayfs", "fuse.bindfs", "fuse.mergerfs",
					    "fuse.gocryptfs", "fuse.encfs",          "fuse.unionfs"};
	static _Thread_local char name[64];
	*type = "fuse";
	if (mount_type(dev, name, sizeof name) != 0)
		return true;
	*type = name;
	for (size_t i = 0; i < GRETA_COUNT(local); i++)
		if (strcmp(name, local[i]) == 0)
			return false;
	return true;
}

static const struct {
	unsigned magic;
	const char *type;
} network_types[] = {
	{0x6969, "nfs"},        {0x517b, "smb"},          {0xff534d42, "cifs"},  {0xfe534d42, "smb2"},
	{0x01021997, "9p"},     {0x0bd00bd0, "lustre"},   {0x47504653, "gpfs"},  {0x00c36400, "ceph"},
	{0x5346414f, "afs"},    {0x6b414653, "afs"},      {0x73757245, "coda"},  {0x19830326, "beegfs"},
	{0xaad7aaea, "panfs"},  {0x20030528, "orangefs"}, {0x7461636f, "ocfs2"}, {0x01161970, "gfs2"},
	{0xbacbacbc, "vmhgfs"}, {0x786f4256, "vboxsf"},
};
#define FUSE_MAGIC 0x65735546

bool greta_fs_is_network(const char *path, const char **type)
{
	struct statfs fs;
	struct stat st;
	const char *ignored;
	type = type ? type : &ignored;
	*type = NULL;
	cleanup_free char *at = greta_strdup(path);
	while (statfs(at, &fs) != 0 || stat(at, &st) != 0) { /* what is not there yet will be where its folder is */
		char *up = parent_of(at);
		bool top = strcmp(up, at) == 0;
		free(at);
		at = up;
		if (top)
			return false;
	}
	if ((unsigned)fs.f_type == FUSE_MAGIC)
		return fuse_is_network(st.st_dev, type);
	for (size_t i = 0; i < GRETA_COUNT(network_types); i++)
		if ((unsigned)fs.f_type == network_types[i].magic) {
			*type = network_types[i].type;
			return true;
		}
	return false;
}

char *greta_fs_join(const char *dir, const char *name)
{
	size_t n = strlen(dir);
	return greta_format("%s%s%s", dir, n == 0 || dir[n - 1] == '/' ? "" : "/", name);
}

char *greta_fs_cache_dir(void)
{
	const char *set = getenv("GRETA_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	if (set && *set)
		return greta_strdup(set);
	if (xdg && xdg[0] == '/')
		return greta_fs_join(xdg, "greta");
	return home && *home ? greta_fs_join(home, ".cache/greta") : NULL;
}

char *greta_fs_self_dir(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	path[n > 0 ? n : 0] = '\0';
	return parent_of(path);
}

int greta_fs_set_nonblock(int fd, struct greta_err *e)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return greta_err_sys(e, "can't make descriptor %d non-blocking", fd);
	return 0;
}
