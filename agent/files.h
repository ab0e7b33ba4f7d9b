/* files: small reads from /proc and /sys. Whatever can't be read reads as absent; a caller that must tell the two apart
 * does not use these. */
#ifndef AGENT_FILES_H
#define AGENT_FILES_H

#include "base/str.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILE_PATH_MAX 1024
/* A path put together in a caller's buffer, returning it; cut if it is too long, and then not found. */
char *file_path(char out[FILE_PATH_MAX], const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The file DIR/NAME (name may hold slashes; NULL: dir alone) without trailing white space; -1 if it can't be read. */
int file_text(const char *dir, const char *name, char *out, size_t cap);
int file_i64(const char *dir, const char *name, int64_t *out);

/* The value behind KEY in lines of "KEY value" or "KEY: value" or "KEY = value"; -1 if there is none. */
int file_field(const char *text, const char *key, char *out, size_t cap);
int file_field_i64(const char *text, const char *key, int64_t *out);

/* Names in a folder that start with prefix, sorted with numbers in numeric order. No folder: none. */
void file_names(const char *dir, const char *prefix, struct greta_strs *out);

int64_t file_free_bytes(const char *path); /* of its file system; 0: not known */

#endif
