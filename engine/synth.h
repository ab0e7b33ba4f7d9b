/* synth: writes a llama-shaped GGUF file with random weights that compute sane logits, and a vocabulary that works.
 * The same description and seed give the same bytes on every machine. */
#ifndef ENGINE_SYNTH_H
#define ENGINE_SYNTH_H

#include "base/err.h"
#include "engine/gguf_write.h"
#include <stdbool.h>
#include <stdint.h>

struct synth_shape {
	const char *name;
	uint32_t n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ffn, n_vocab, n_ctx;
	float rope_theta;
	bool tied;         /* no output.weight: the token embedding serves */
	bool rope_factors; /* rope_freqs.weight as llama 3.1 and later have it */
	bool bpe;          /* a byte-level BPE vocabulary as llama 3 has; else SentencePiece */
};

struct synth_spec {
	struct synth_shape shape;
	const char *type; /* "F16", "Q8_0" ...: of every matrix; or a mix, "Q4_K_M" or "Q5_K_M" */
	uint64_t seed;
	int n_threads; /* 0: one for each core */
};

#define SYNTH_MIN_VOCAB 259 /* SentencePiece: unknown, BOS, EOS and 256 bytes; BPE needs 258 */

const struct synth_shape *synth_shape_named(const char *name);
uint64_t synth_parameters(const struct synth_shape *s);

/* What is wrong with the description, if anything: EINVAL naming the option. */
int synth_check(const struct synth_spec *spec, struct greta_err *e);

/* Writes it whole or not at all. file_bytes: of the finished file; may be NULL. */
int synth_file(const struct synth_spec *spec, const char *path, uint64_t *file_bytes, struct greta_err *e);

/* synth_vocab.c: the tokenizer's keys. */
void synth_vocab(const struct synth_shape *s, struct gguf_write *w);

#endif
