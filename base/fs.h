/* fs: files and folders, the durable way. */
#ifndef BASE_FS_H
#define BASE_FS_H

#include "base/buf.h"
#include "base/err.h"
#include <stdint.h>
#include <sys/types.h>

/* Appends the whole file; refuses one larger than max_bytes (EINVAL). */
int greta_fs_read(const char *path, size_t max_bytes, struct greta_buf *out, struct greta_err *e);

/* Appears whole or not at all: temporary file beside it, fsync, rename, fsync of the folder. mode is
 * exact, whatever the umask. */
int greta_fs_write_atomic(const char *path, const void *data, size_t n, mode_t mode, struct greta_err *e);

int greta_fs_write_all(int fd, const void *data, size_t n, struct greta_err *e); /* EINTR and short writes handled */
int greta_fs_mkdirs(const char *path, mode_t mode, struct greta_err *e);
int greta_fs_sync_dir(const char *path, struct greta_err *e);
int greta_fs_remove_tree(const char *path, struct greta_err *e); /* does not follow links; absent is fine */

/* flock without waiting: an open descriptor (close-on-exec), or -1 with EBUSY and the holder's name. The file is
 * created if missing, with exactly this mode; pid is written in. Devices can be locked too. Links are not followed. */
int greta_fs_lock(const char *path, mode_t mode, struct greta_err *e);

/* True for NFS, CIFS, 9p, FUSE-sshfs, Lustre, GPFS and the like: no place for locks or a database.
 * FUSE counts unless its kind is known to be local. What does not exist yet lies where its folder does. */
bool greta_fs_is_network(const char *path, const char **type);

char *greta_fs_join(const char *dir, const char *name);   /* the caller owns it */
char *greta_fs_cache_dir(void); /* GRETA_CACHE_DIR, else greta/ in XDG_CACHE_HOME or ~/.cache; NULL: none is set; caller owns */
char *greta_fs_self_dir(void);                            /* the folder of the running executable; caller owns */
int greta_fs_set_nonblock(int fd, struct greta_err *e);

#endif
