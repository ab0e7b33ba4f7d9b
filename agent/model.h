/* model: what identifies the model that an attempt runs, as one JSON object on a line.
 *
 * Of a GGUF file, greta-gguf beside this program tells the hashes of tensors and of metadata apart, so that a patched
 * context length is seen to be the same model; without it, and of other files, the file's own hash is all that is known. */
#ifndef AGENT_MODEL_H
#define AGENT_MODEL_H

#include "agent/hash.h"

/* {"file_sha256", "file_bytes"}, and of a GGUF file also what `greta-gguf hash --json` says. Remembered as hashes are. */
int model_identify(const char *cache, const char *path, char line[HASH_LINE_MAX], struct greta_err *e);

#endif
