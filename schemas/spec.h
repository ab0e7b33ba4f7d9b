/* spec: from a campaign's cell to what an attempt is told to do. */
#ifndef SCHEMAS_SPEC_H
#define SCHEMAS_SPEC_H

#include "schemas/campaign.h"
#include "schemas/msg.h"

/* Placeholders in a command, in arguments and in values of variables:
 *   {model} {context} {repeat} {variant} {samples} {warmup} {max_seq_len} (context + 2) {slot} (filled by the node)
 * "{{name}" stands for the text {name}. */

/* Where files lie on the node that will run the attempt; borrowed. */
struct greta_spec_paths {
	const char *model;      /* NULL where the campaign names none */
	const char *executable; /* argv[0]; NULL: as the campaign says */
};

#define GRETA_TERM_GRACE_S 30 /* as Slurm's KillWait */

/* Fills *out for one cell (variant: its index; repeat: from 1). Left to the caller: attempt, try_no, cwd,
 * slot_wait_s. The environment is put together in this order, later ones winning: engine, campaign, variant, mode.
 * -1 with EINVAL when a variable that is taken from the environment is not there. */
int greta_spec_build(const struct greta_campaign *c, size_t variant, int64_t context, int64_t repeat,
		     const struct greta_spec_paths *paths, struct greta_spec *out, struct greta_err *e);

/* The attention kernel that the variant must have run (its expect.attn_impl); NULL: not said. */
const char *greta_spec_attn_impl(const struct greta_spec *spec);

/* True for names of variables that hold secrets, whose values are stored nowhere. In any case of letters: those that
 * end in TOKEN, _KEY, _KEYS, _PASS, _PWD, _AUTH or _PAT; those with TOKEN_, SECRET, PASSWORD, PASSWD, PASSPHRASE,
 * CREDENTIAL or APIKEY in them; AWS_* but for AWS_REGION, AWS_DEFAULT_REGION and AWS_PROFILE. MAX_TOKENS and
 * TOKENIZERS_PARALLELISM are none. */
bool greta_secret_name(const char *key);

/* What stands in place of a value that is stored nowhere, and whether a variable's is: a secret by its name, or taken from
 * the controller's environment. */
#define GRETA_NOT_STORED "(not stored)"
bool greta_spec_hides(const struct greta_spec *spec, const char *name);

/* Puts the values back, out of this process's environment. -1 with EINVAL when one is not there. */
int greta_spec_reveal(struct greta_spec *spec, struct greta_err *e);

/* Whether all variables are there that the variant takes from this process's environment. -1 with EINVAL. */
int greta_spec_check_env(const struct greta_campaign *c, size_t variant, struct greta_err *e);

#endif
