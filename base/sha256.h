/* sha256: content hashes (by nettle). */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include "base/err.h"
#include <nettle/sha2.h>
#include <stddef.h>
#include <stdint.h>

#define GRETA_SHA256_HEX 64

struct greta_sha256 {
	struct sha256_ctx ctx;
};

void greta_sha256_init(struct greta_sha256 *h);
void greta_sha256_add(struct greta_sha256 *h, const void *data, size_t n);
char *greta_sha256_hex(struct greta_sha256 *h, char out[GRETA_SHA256_HEX + 1]); /* ends the hash; returns out */
char *greta_sha256_of(const void *data, size_t n, char out[GRETA_SHA256_HEX + 1]);
int greta_sha256_file(const char *path, char out[GRETA_SHA256_HEX + 1], struct greta_err *e);

#endif
