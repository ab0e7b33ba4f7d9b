/* file_hash: SHA-256 of files, computed beside the loop (a model takes seconds) and remembered while the file stays the
 * same by device, inode, size, mtime and ctime. */
#ifndef ORCHESTRATOR_CONTROL_FILE_HASH_H
#define ORCHESTRATOR_CONTROL_FILE_HASH_H

#include "base/loop.h"
#include "base/sha256.h"
#include <stdint.h>

struct file_hashes;
struct file_hashes *file_hashes_create(struct greta_loop *loop, void (*done)(void *arg), void *arg);
void file_hashes_destroy(struct file_hashes *h); /* threads that still run end by themselves */

/* 1: known; 0: being computed, `done` is called when any ends; -1: the file can't be read. */
int file_hash(struct file_hashes *h, const char *path, char sha256[GRETA_SHA256_HEX + 1], int64_t *bytes,
	      struct greta_err *e);

#endif
