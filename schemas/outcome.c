#include "schemas/outcome.h"
#include "schemas/words.h"
#include <stddef.h>

#define X(id, name, ...) name,
static const char *const outcome_names[] = {GRETA_OUTCOMES(X)};
static const char *const phase_names[] = {GRETA_PHASES(X)};
static const char *const class_names[] = {GRETA_CLASSES(X)};
static const char *const certainty_names[] = {GRETA_CERTAINTIES(X)};
#undef X

const struct words words_outcome = {outcome_names, GRETA_OUTCOME_COUNT};
const struct words words_phase = {phase_names, GRETA_PHASE_COUNT};
const struct words words_class = {class_names, GRETA_CLASS_COUNT};
const struct words words_certainty = {certainty_names, sizeof(certainty_names) / sizeof(certainty_names[0])};

/* The zero of every list here is its "unknown" or "none": what an unheard-of name means. */
static int find_or_zero(const struct words *w, const char *name)
{
	int i = words_find(w, name);

	return i < 0 ? 0 : i;
}

const char *greta_outcome_name(enum greta_outcome o)
{
	return words_name(&words_outcome, (int)o);
}

enum greta_outcome greta_outcome_parse(const char *name)
{
	return (enum greta_outcome)find_or_zero(&words_outcome, name);
}

int greta_outcome_default_retries(enum greta_outcome o)
{
	static const int retries[] = {
#define X(id, name, n) [GRETA_OUTCOME_##id] = (n),
		GRETA_OUTCOMES(X)
#undef X
	};

	return (int)o >= 0 && o < GRETA_OUTCOME_COUNT ? retries[o] : 0;
}

const char *greta_phase_name(enum greta_phase p)
{
	return words_name(&words_phase, (int)p);
}

enum greta_phase greta_phase_parse(const char *name)
{
	return (enum greta_phase)find_or_zero(&words_phase, name);
}

const char *greta_class_name(enum greta_class c)
{
	return words_name(&words_class, (int)c);
}

bool greta_class_is_hang(enum greta_class c)
{
	return c != GRETA_CLASS_NONE && c != GRETA_CLASS_SLOW && c != GRETA_CLASS_CLOCK_COLLAPSE;
}

enum greta_class greta_class_parse(const char *name)
{
	return (enum greta_class)find_or_zero(&words_class, name);
}

const char *greta_certainty_name(enum greta_certainty c)
{
	return words_name(&words_certainty, (int)c);
}

enum greta_certainty greta_certainty_parse(const char *name)
{
	return (enum greta_certainty)find_or_zero(&words_certainty, name);
}
