#include "schemas/words.h"
#include "base/str.h"
#include "schemas/campaign.h"
#include "schemas/msg.h"

#define X(id, name, ...) name,
static const char *const mode_names[] = {GRETA_MODES(X)};
static const char *const order_names[] = {GRETA_ORDERS(X)};
static const char *const placement_names[] = {GRETA_PLACEMENTS(X)};
static const char *const adapter_names[] = {GRETA_ADAPTERS(X)};
static const char *const slot_names[] = {GRETA_SLOT_KINDS(X)};
static const char *const on_slow_names[] = {GRETA_ON_SLOWS(X)};
static const char *const event_names[] = {GRETA_EVENTS(X)};
static const char *const msg_names[] = {GRETA_MSGS(X)};
#undef X

/* clang-format off */
#define WORDS(list) {list, sizeof(list) / sizeof(list)[0]}
/* clang-format on */
const struct words words_mode = WORDS(mode_names);
const struct words words_order = WORDS(order_names);
const struct words words_placement = WORDS(placement_names);
const struct words words_adapter = WORDS(adapter_names);
const struct words words_slot = WORDS(slot_names);
const struct words words_on_slow = WORDS(on_slow_names);
const struct words words_event = WORDS(event_names);
const struct words words_msg = WORDS(msg_names);

const char *words_name(const struct words *w, int value)
{
	return value >= 0 && value < w->n ? w->names[value] : "?";
}

int words_find(const struct words *w, const char *name)
{
	for (int i = 0; name && i < w->n; i++)
		if (greta_str_eq(w->names[i], name))
			return i;
	return -1;
}

void words_print(const struct words *w, int from, struct greta_buf *out)
{
	for (int i = from; i < w->n; i++)
		greta_buf_addf(out, "%s%s", i > from ? ", " : "", w->names[i]);
}

const char *greta_mode_name(enum greta_mode m)
{
	return words_name(&words_mode, (int)m);
}

const char *greta_order_name(enum greta_order o)
{
	return words_name(&words_order, (int)o);
}

const char *greta_placement_name(enum greta_placement p)
{
	return words_name(&words_placement, (int)p);
}

const char *greta_adapter_name(enum greta_adapter a)
{
	return words_name(&words_adapter, (int)a);
}

const char *greta_slot_kind_name(enum greta_slot_kind s)
{
	return words_name(&words_slot, (int)s);
}

const char *greta_on_slow_name(enum greta_on_slow s)
{
	return words_name(&words_on_slow, (int)s);
}

const char *greta_event_kind_name(enum greta_event_kind k)
{
	return words_name(&words_event, (int)k);
}

const char *greta_msg_type_name(enum greta_msg_type t)
{
	return words_name(&words_msg, (int)t);
}
