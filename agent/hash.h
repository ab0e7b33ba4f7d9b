/* hash: content hashes of files, remembered by (device, inode, size, mtime, ctime) so that a model of many gigabytes is
 * read once and not before every attempt. */
#ifndef AGENT_HASH_H
#define AGENT_HASH_H

#include "base/err.h"
#include "base/sha256.h"

/* cache: the agent's cache folder; what can't be remembered there is hashed again next time. */
int hash_file(const char *cache, const char *path, char out[GRETA_SHA256_HEX + 1], struct greta_err *e);

#endif
