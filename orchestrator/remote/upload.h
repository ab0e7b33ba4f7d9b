/* upload: brings files to a node's content-addressed store over SFTP.
 *
 *	<store>/<folder>/<name>        complete and verified, or absent
 *	<store>/<folder>/<name>.part   on its way; what is there is kept and continued, also by another controller
 *
 * A file that is there with the right size is never sent again. The node hashes what is written while it is sent, and
 * its hash of the whole file is compared with ours before it is renamed into place (for the agent itself, which would
 * compute that hash, the file is read back); a part that turns out wrong is removed and sent once more from the start.
 */
#ifndef ORCHESTRATOR_REMOTE_UPLOAD_H
#define ORCHESTRATOR_REMOTE_UPLOAD_H

#include "base/loop.h"
#include "orchestrator/remote/transport.h"
#include <stdint.h>
#include <sys/types.h>

struct upload_file {
	const char *local;           /* path here */
	const char *name;            /* in the folder there; no slash */
	const char *sha256;
	int64_t bytes;
	bool executable;
};

struct upload;

/* path: absolute path of the folder there. why: NULL when all is in place. The upload is gone after this call. */
typedef void upload_fn(void *arg, const char *path, const struct greta_err *why);

/* files' strings are copied. read_back: verify by reading back, else by `greta-agent hash`. */
struct upload *upload_start(struct greta_loop *loop, struct transport *t, const char *store, const char *folder,
			    const struct upload_file *files, size_t n_files, bool read_back, upload_fn *fn, void *arg,
			    struct greta_err *e);
void upload_cancel(struct upload *u);
void upload_progress(const struct upload *u, const char **name, int64_t *done, int64_t *total);

#endif
