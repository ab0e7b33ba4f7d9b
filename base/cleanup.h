/* cleanup: locals that release themselves at the end of their scope. Use either these or one goto label in a
 * function, never both. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void greta_cleanup_free_(void *p)
{
	free(*(void **)p);
}

static inline void greta_cleanup_fd_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void greta_cleanup_file_(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void greta_cleanup_dir_(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define cleanup_free __attribute__((cleanup(greta_cleanup_free_)))
#define cleanup_fd __attribute__((cleanup(greta_cleanup_fd_)))
#define cleanup_file __attribute__((cleanup(greta_cleanup_file_)))
#define cleanup_dir __attribute__((cleanup(greta_cleanup_dir_)))
#define cleanup_with(release) __attribute__((cleanup(release)))

#endif
