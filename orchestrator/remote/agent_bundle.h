/* agent_bundle: what has to lie on a node so that the agent runs there: greta-agent, beside it the one library that
 * Debian has no static archive of, and the programs that the agent asks (greta-gguf for a model's identity,
 * greta-gpu-probe for a GPU's health). Content-addressed: the folder is named by the hash of it all. */
#ifndef ORCHESTRATOR_REMOTE_AGENT_BUNDLE_H
#define ORCHESTRATOR_REMOTE_AGENT_BUNDLE_H

#include "base/err.h"
#include "base/sha256.h"
#include <stdint.h>

#define AGENT_BUNDLE_FILES 4

struct bundle_file {
	char *local;                      /* path here */
	const char *name;                 /* in the folder there */
	char sha256[GRETA_SHA256_HEX + 1];
	int64_t bytes;
};

struct agent_bundle {
	char *agent;                      /* path of greta-agent here */
	struct bundle_file files[AGENT_BUNDLE_FILES];
	int n_files;                      /* 0: not hashed yet */
	char sha256[GRETA_SHA256_HEX + 1];
};

/* Finds greta-agent, once: GRETA_AGENT, else beside this program. ENOENT says where it was looked for. */
int agent_bundle_find(struct agent_bundle *b, struct greta_err *e);
int agent_bundle_hash(struct agent_bundle *b, struct greta_err *e); /* once, before the first upload */
void agent_bundle_release(struct agent_bundle *b);

#endif
