/* hash: content hashes of files, remembered by (device, inode, size, mtime, ctime) so that a model of many gigabytes is
 * read once and not before every attempt. */
#ifndef AGENT_HASH_H
#define AGENT_HASH_H

#include "base/err.h"
#include "base/sha256.h"

/* cache: the agent's cache folder; what can't be remembered there is hashed again next time. */
int hash_file(const char *cache, const char *path, char out[GRETA_SHA256_HEX + 1], struct greta_err *e);

/* The same for whatever else is found out by reading the whole of a file: one line, found by `find`, of one `kind`. */
#define HASH_LINE_MAX 1024
typedef int hash_find_fn(void *arg, const char *path, char line[HASH_LINE_MAX], struct greta_err *e);
int hash_remembered(const char *cache, const char *path, const char *kind, hash_find_fn *find, void *arg,
		    char line[HASH_LINE_MAX], struct greta_err *e);

#endif
