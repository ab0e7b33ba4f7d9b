/* sftp: a small SFTP client (version 3, draft-ietf-secsh-filexfer-02) that never waits.
 *
 * Fed with bytes from a stream, it answers each request by a callback, in whatever order the server likes. libssh's own
 * client blocks; this one shares the loop with everything else. Only what uploads need is here.
 */
#ifndef ORCHESTRATOR_REMOTE_SFTP_H
#define ORCHESTRATOR_REMOTE_SFTP_H

#include "base/buf.h"
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SFTP_IO_BYTES 32768 /* what every server takes in one packet */

enum sftp_status { SFTP_OK = 0, SFTP_EOF = 1, SFTP_NO_SUCH_FILE = 2, SFTP_PERMISSION_DENIED = 3, SFTP_FAILURE = 4,
		   SFTP_UNSUPPORTED = 8, SFTP_BROKEN = -1};

struct sftp_reply {
	int status;              /* enum sftp_status, or another of the server's */
	const char *text;        /* the server's words; never NULL */
	const void *data;        /* of a read, a handle or a name */
	size_t n;
	int64_t bytes, uid;      /* of a stat; -1: not said */
	mode_t mode;             /* of a stat, with its kind; 0: not said */
};
typedef void sftp_fn(void *arg, const struct sftp_reply *r);

struct sftp;
struct sftp *sftp_create(void);
void sftp_destroy(struct sftp *s);                 /* without calling back */

/* Bytes from the server; -1 with EPROTO when they are no SFTP. A callback may destroy s, then *gone must be checked. */
int sftp_feed(struct sftp *s, const char *bytes, size_t n, bool *gone, struct greta_err *e);
struct greta_buf *sftp_out(struct sftp *s);        /* to be sent; consumed by the caller */
bool sftp_has_fsync(const struct sftp *s);
bool sftp_has_posix_rename(const struct sftp *s);

void sftp_init(struct sftp *s, sftp_fn *fn, void *arg); /* first of all */
void sftp_realpath(struct sftp *s, const char *path, sftp_fn *fn, void *arg);
void sftp_stat(struct sftp *s, const char *path, sftp_fn *fn, void *arg);
void sftp_lstat(struct sftp *s, const char *path, sftp_fn *fn, void *arg); /* of a link itself */
void sftp_mkdir(struct sftp *s, const char *path, mode_t mode, sftp_fn *fn, void *arg);
void sftp_rmdir(struct sftp *s, const char *path, sftp_fn *fn, void *arg);
void sftp_remove(struct sftp *s, const char *path, sftp_fn *fn, void *arg);
void sftp_rename(struct sftp *s, const char *from, const char *to, sftp_fn *fn, void *arg); /* over what is there, if it can */
void sftp_chmod(struct sftp *s, const char *path, mode_t mode, sftp_fn *fn, void *arg);

enum { SFTP_READ = 1, SFTP_WRITE = 2, SFTP_CREATE = 8 };
struct sftp_handle { /* opaque bytes of the server's */
	unsigned char bytes[256];
	size_t n;
};
void sftp_open(struct sftp *s, const char *path, int flags, mode_t mode, sftp_fn *fn, void *arg); /* reply: the handle */
void sftp_write(struct sftp *s, const struct sftp_handle *h, int64_t offset, const void *bytes, size_t n, sftp_fn *fn,
		void *arg);
void sftp_read(struct sftp *s, const struct sftp_handle *h, int64_t offset, size_t n, sftp_fn *fn, void *arg);
void sftp_fsync(struct sftp *s, const struct sftp_handle *h, sftp_fn *fn, void *arg);
void sftp_close(struct sftp *s, const struct sftp_handle *h, sftp_fn *fn, void *arg);

#endif
