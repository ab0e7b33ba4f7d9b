/* gguf_check: reads all of a file once: is every weight a number, and what identifies the model.
 *
 * file      SHA-256 of the bytes, as sha256sum prints it
 * tensors   SHA-256 over one line for each tensor, sorted by name: "NAME TYPE NE0,NE1... SHA256-OF-ITS-BYTES\n".
 *           The same for the same weights, wherever they lie in the file and whatever stands in the metadata.
 * metadata  SHA-256 over the keys sorted by name: key, a NUL, value type, item type and count as little-endian 32, 32
 *           and 64 bits, and the encoded value.
 */
#ifndef ENGINE_GGUF_CHECK_H
#define ENGINE_GGUF_CHECK_H

#include "base/sha256.h"
#include "engine/gguf.h"

struct gguf_check_tensor {
	char sha256[GRETA_SHA256_HEX + 1];
	uint64_t n_not_finite; /* values that are NaN or infinite */
	uint64_t first;        /* of them: index over the tensor's values */
	bool checked;          /* false: a format that we cannot decode */
};

struct gguf_check {
	char file_sha256[GRETA_SHA256_HEX + 1];
	char tensors_sha256[GRETA_SHA256_HEX + 1];
	char metadata_sha256[GRETA_SHA256_HEX + 1];
	struct gguf_check_tensor *tensors; /* in the file's order */
	size_t n_tensors;
};

/* n_threads 0: one for each core. */
int gguf_check_hash(struct gguf_check *c, const struct gguf *g, int n_threads, struct greta_err *e); /* values not looked at */
int gguf_check_run(struct gguf_check *c, const struct gguf *g, int n_threads, struct greta_err *e);
void gguf_check_release(struct gguf_check *c);

#endif
