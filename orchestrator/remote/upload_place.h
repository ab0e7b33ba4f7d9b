/* upload_place: the folder that files are brought to: made, and refused where somebody else could change what lies in it.
 *
 * What runs on the node runs as the user that we log in as, so nobody but that user and root may own a folder on the way
 * there, and none may be open to everybody, unless it is sticky, as /tmp is. The folder itself is none of these and no link.
 * A server that does not tell owners and modes is refused, too (OpenSSH's does).
 */
#ifndef ORCHESTRATOR_REMOTE_UPLOAD_PLACE_H
#define ORCHESTRATOR_REMOTE_UPLOAD_PLACE_H

#include "base/err.h"
#include "orchestrator/remote/sftp.h"

/* why NULL: it is there, as far as it could be made; opening a file in it tells the rest. */
typedef void upload_place_fn(void *arg, const struct greta_err *why);

struct upload_place;
/* store: absolute, or below the login folder. All requests go out at once: one round trip. */
struct upload_place *upload_place_make(struct sftp *s, const char *store, const char *folder, upload_place_fn *fn, void *arg);
void upload_place_release(struct upload_place *p); /* not while answers may still come */

#endif
