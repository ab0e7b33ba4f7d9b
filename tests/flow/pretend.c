/* pretend: what this machine does not have, for the programs of a flow. To be preloaded.
 *
 * CLOCK_JUMP=FILE     a wall clock that was set: it is ahead by as many seconds as FILE says now. No other clock is.
 * NETWORK_FS=FOLDER   what is below it lies on NFS. It says so; locks and the rest are those of the real file system.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define NFS_MAGIC 0x6969

static time_t ahead_s(void)
{
	const char *path = getenv("CLOCK_JUMP");
	char text[32] = "";
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof text - 1) < 0)
		text[0] = '\0';
	close(fd);
	return strtol(text, NULL, 10);
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
	static int (*real)(clockid_t, struct timespec *);

	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	if (real(clock, t) != 0)
		return -1;
	if (clock == CLOCK_REALTIME)
		t->tv_sec += ahead_s();
	return 0;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	*t = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
	return 0;
}

time_t time(time_t *out)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (out)
		*out = now.tv_sec;
	return now.tv_sec;
}

int statfs(const char *path, struct statfs *out)
{
	int (*real)(const char *, struct statfs *) = (int (*)(const char *, struct statfs *))dlsym(RTLD_NEXT, "statfs");
	const char *nfs = getenv("NETWORK_FS");
	int rc = real(path, out);

	if (rc == 0 && nfs && strncmp(path, nfs, strlen(nfs)) == 0)
		out->f_type = NFS_MAGIC;
	return rc;
}

int statfs64(const char *path, struct statfs64 *out)
{
	return statfs(path, (struct statfs *)out); /* one struct, where this runs */
}
