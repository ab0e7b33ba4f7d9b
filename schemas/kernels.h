/* kernels: what an engine's GPU kernels take of their machine, as `ENGINE --kernel-resources --json` prints it
 * (kernels.schema.json), and the gate no_spill, which reads it before an attempt may take a GPU's time. Pure. */
#ifndef SCHEMAS_KERNELS_H
#define SCHEMAS_KERNELS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>

#define GRETA_KERNELS_TEXT_MAX (1 << 20)

struct greta_kernel {
	char *kernel, *arch;    /* "q_lds_f16_d128", "gfx942" */
	char *attn_impl;        /* the variant that it is of; NULL: used whatever the variant */
	char *code_object_sha256;
	int64_t scratch_bytes;  /* a lane: private memory behind the registers, in VRAM */
	int64_t vgpr, agpr, sgpr, lds_bytes, spills, blocks_per_unit; /* -1: not said */
};

struct greta_kernels {
	struct greta_kernel *items;
	size_t n, cap;
};

/* Reads what the engine printed; lines before the array are passed over. EPROTO: there is no such array in it. */
int greta_kernels_parse(const char *text, size_t n, struct greta_kernels *out, struct greta_err *e);
void greta_kernels_release(struct greta_kernels *k);

/* The gate, for a node whose GPUs are of these architectures (none: not known, all are looked at) and a variant that must
 * run attn_impl (NULL: not said, all are looked at). False: *why says which kernel uses scratch memory, or that there is
 * none to look at, which is no pass. */
bool greta_kernels_no_spill(const struct greta_kernels *k, const struct greta_strs *archs, const char *attn_impl,
			    struct greta_buf *why);

#endif
