/* recipe: which tensor of a model gets which format, for a format's name or the name of a mix. */
#ifndef ENGINE_RECIPE_H
#define ENGINE_RECIPE_H

#include "engine/quant.h"
#include <stdbool.h>
#include <stdint.h>

/* Q4_K_M and Q5_K_M give the matrices that suffer most from rounding six bits, choosing them as llama.cpp does; the
 * others are one format for all. */
#define RECIPE_NAMES "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K Q4_K_M Q5_K_M"

struct recipe {
	const char *name;
	enum quant_type type, more;
	uint32_t file_type; /* general.file_type */
};

const struct recipe *recipe_named(const char *name); /* any case; NULL if there is none */

/* For a matrix by its name, with rows of n_in values. Rows that a format's blocks do not divide fall back as
 * llama.cpp's do: Q4_K to Q5_0, Q5_K to Q5_1, Q6_K to Q8_0, and where 32 does not divide either, to F16. */
const struct quant_traits *recipe_type(const struct recipe *r, const char *tensor, uint64_t n_in, uint32_t n_layers,
				       bool tied);

#endif
