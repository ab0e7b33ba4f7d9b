/* gguf_write: makes a GGUF file (version 3), which appears under its name whole or not at all.
 *
 * Keys first, then tensors, then gguf_write_start, then data in any order and from several threads, then
 * gguf_write_commit. Until the commit there is nothing under the name but what was there before; where the file system
 * can (O_TMPFILE), a killed writer leaves nothing at all.
 */
#ifndef ENGINE_GGUF_WRITE_H
#define ENGINE_GGUF_WRITE_H

#include "base/buf.h"
#include "base/err.h"
#include "engine/gguf.h"
#include <stdbool.h>
#include <stdint.h>

struct gguf_write;

/* path: where it will appear; a symbolic link is followed. NULL on error. */
struct gguf_write *gguf_write_create(const char *path, struct greta_err *e);
void gguf_write_destroy(struct gguf_write *w); /* gives up what was not committed; NULL is fine */

/* Keys, in the order of the calls. The caller sees to it that none comes twice. */
void gguf_write_u32(struct gguf_write *w, const char *key, uint32_t value);
void gguf_write_f32(struct gguf_write *w, const char *key, float value);
void gguf_write_bool(struct gguf_write *w, const char *key, bool value);
void gguf_write_str(struct gguf_write *w, const char *key, const char *value);
/* `items`: n values encoded as in the file; strings by gguf_write_item. */
void gguf_write_array(struct gguf_write *w, const char *key, enum gguf_value_type item_type, uint64_t n,
		      const void *items, size_t bytes);
void gguf_write_item(struct greta_buf *items, const char *s, size_t n);
void gguf_write_kv(struct gguf_write *w, const struct gguf_kv *kv); /* a copy of another file's */

void gguf_write_alignment(struct gguf_write *w, uint32_t alignment); /* else 32; writes no key */

/* Tensors are laid out in the order of the calls. name: at most GGUF_MAX_NAME bytes, copied. */
void gguf_write_tensor(struct gguf_write *w, const char *name, const struct quant_traits *type, int n_dims,
		       const uint64_t *ne);

/* Writes the head and reserves the space; ENOSPC says how much is needed. */
int gguf_write_start(struct gguf_write *w, struct greta_err *e);
/* Bytes of tensor i (in the order of the calls) from `at` on. Threads may call it at once. */
int gguf_write_data(struct gguf_write *w, size_t i, uint64_t at, const void *data, size_t n, struct greta_err *e);
/* Durable and under its name, or an error and nothing. */
int gguf_write_commit(struct gguf_write *w, struct greta_err *e);

uint64_t gguf_write_total_bytes(const struct gguf_write *w); /* of the file; after gguf_write_start */
int gguf_write_fd(const struct gguf_write *w); /* the file without a name, for reading back before the commit */

#endif
