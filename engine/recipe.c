#include "engine/recipe.h"

#include "base/mem.h"
#include "base/str.h"
#include <stdio.h>
#include <strings.h>

static const struct recipe recipes[] = {
	{"F32", QUANT_F32, QUANT_F32, 0},       {"F16", QUANT_F16, QUANT_F16, 1},
	{"BF16", QUANT_BF16, QUANT_BF16, 32},   {"Q8_0", QUANT_Q8_0, QUANT_Q8_0, 7},
	{"Q4_0", QUANT_Q4_0, QUANT_Q4_0, 2},    {"Q4_1", QUANT_Q4_1, QUANT_Q4_1, 3},
	{"Q5_0", QUANT_Q5_0, QUANT_Q5_0, 8},    {"Q5_1", QUANT_Q5_1, QUANT_Q5_1, 9},
	{"Q4_K", QUANT_Q4_K, QUANT_Q4_K, 14},   {"Q5_K", QUANT_Q5_K, QUANT_Q5_K, 16},
	{"Q6_K", QUANT_Q6_K, QUANT_Q6_K, 18},   {"Q4_K_M", QUANT_Q4_K, QUANT_Q6_K, 15},
	{"Q5_K_M", QUANT_Q5_K, QUANT_Q6_K, 17},
};

const struct recipe *recipe_named(const char *name)
{
	for (size_t i = 0; i < GRETA_COUNT(recipes); i++)
		if (!strcasecmp(recipes[i].name, name))
			return &recipes[i];
	return NULL;
}

/* attn_v and ffn_down of the first and last eighth of the layers, and of every third between. */
static bool layer_takes_more(uint32_t i, uint32_t n)
{
	return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

static bool takes_more(const char *tensor, uint32_t n_layers, bool tied)
{
	uint32_t layer;

	if (greta_str_eq(tensor, tied ? "token_embd.weight" : "output.weight"))
		return true;
	if (sscanf(tensor, "blk.%u.", &layer) != 1 || layer >= n_layers)
		return false;
	return (greta_str_ends(tensor, ".attn_v.weight") || greta_str_ends(tensor, ".ffn_down.weight")) &&
	       layer_takes_more(layer, n_layers);
}

const struct quant_traits *recipe_type(const struct recipe *r, const char *tensor, uint64_t n_in, uint32_t n_layers,
				       bool tied)
{
	static const enum quant_type fallback[QUANT_ID_LIMIT] = {
		[QUANT_Q4_K] = QUANT_Q5_0, [QUANT_Q5_K] = QUANT_Q5_1, [QUANT_Q6_K] = QUANT_Q8_0};
	const struct quant_traits *t = quant_traits(takes_more(tensor, n_layers, tied) ? r->more : r->type);

	if (n_in % t->block_n && t->block_n == 256)
		t = quant_traits(fallback[t->type]);
	return n_in % t->block_n ? quant_traits(QUANT_F16) : t;
}
