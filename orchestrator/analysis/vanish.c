#include "orchestrator/analysis/vanish.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "db/db.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void vanish_runs_release(struct vanish_runs *r)
{
	for (size_t i = 0; i < r->n; i++) {
		struct vanish_run *run = &r->items[i];
		free(run->uuid), free(run->variant), free(run->node), free(run->campaign), free(run->build), free(run->model);
		free(run->fingerprint);
	}
	free(r->items);
	*r = (struct vanish_runs){0};
}

/* ---- environments, each once */

struct env {
	int64_t id;
	struct greta_strs keys, values;
};
struct envs {
	struct env *items;
	size_t n, cap;
};

static void envs_release(struct envs *v)
{
	for (size_t i = 0; i < v->n; i++) {
		greta_strs_release(&v->items[i].keys);
		greta_strs_release(&v->items[i].values);
	}
	free(v->items);
}

static int env_load(struct greta_db *db, struct envs *v, int64_t id, struct greta_err *e)
{
	for (size_t i = 0; i < v->n; i++)
		if (v->items[i].id == id)
			return 0;
	cleanup_query struct greta_query *q = greta_query_open(
		db, e, "SELECT key, value FROM environment_row WHERE environment_id = ? ORDER BY key", "i", id);
	struct env *env = GRETA_PUSH(v->items, v->n, v->cap);
	*env = (struct env){.id = id};
	int rc = q ? greta_query_step(q, e) : -1;
	for (; rc == 1; rc = greta_query_step(q, e)) {
		greta_strs_add(&env->keys, greta_query_str(q, 0));
		greta_strs_add(&env->values, greta_query_str(q, 1));
	}
	return rc;
}

/* ---- setups: runs that nothing recorded tells apart */

struct setup {
	const struct vanish_run *like;
	const struct env *env;       /* NULL: not known */
	char context[24];
	bool same_cell, same_variant, same_context; /* as one that hung */
	bool of_group;               /* one of them hung by this fingerprint */
	int64_t n, hung, n_since;    /* runs, those that hung by any; good ones since the last hang */
};
struct setups {
	struct setup *items;
	size_t n, cap;
	struct envs envs;
};

static bool alike(const struct vanish_run *a, const struct vanish_run *b)
{
	return a->context == b->context && a->environment_id == b->environment_id && greta_str_eq(a->variant, b->variant) &&
	       greta_str_eq(a->node, b->node) && greta_str_eq(a->build, b->build) && greta_str_eq(a->model, b->model);
}

static struct setup *setup_of(struct setups *s, const struct vanish_run *r)
{
	for (size_t i = 0; i < s->n; i++)
		if (alike(s->items[i].like, r))
			return &s->items[i];
	struct setup *new = GRETA_PUSH(s->items, s->n, s->cap);
	*new = (struct setup){.like = r};
	snprintf(new->context, sizeof new->context, "%" PRId64, r->context);
	return new;
}

static bool is_of(const struct vanish_run *r, const char *fingerprint)
{
	return r->fingerprint && greta_str_eq(r->fingerprint, fingerprint);
}

/* From the first hang on. */
static int take_runs(struct greta_db *db, const struct vanish_runs *runs, const char *fingerprint, struct setups *s,
		     struct greta_err *e)
{
	size_t first = 0, last = runs->n;
	while (first < runs->n && !is_of(&runs->items[first], fingerprint))
		first++;
	while (last > first && !is_of(&runs->items[last - 1], fingerprint))
		last--;
	for (size_t i = first; i < runs->n; i++) {
		const struct vanish_run *r = &runs->items[i];
		struct setup *setup = setup_of(s, r);
		setup->n++;
		setup->hung += r->fingerprint != NULL;
		setup->n_since += i >= last && !r->fingerprint;
		setup->of_group |= is_of(r, fingerprint);
		if (r->environment_id && env_load(db, &s->envs, r->environment_id, e))
			return -1;
	}
	return 0;
}

static void mark(struct setups *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct setup *setup = &s->items[i];
		for (size_t k = 0; k < s->envs.n; k++)
			if (s->envs.items[k].id == setup->like->environment_id)
				setup->env = &s->envs.items[k];
		for (size_t k = 0; k < s->n; k++) {
			const struct vanish_run *hung = s->items[k].like;
			if (!s->items[k].of_group)
				continue;
			bool variant = greta_str_eq(hung->variant, setup->like->variant), context = hung->context == setup->like->context;
			setup->same_variant |= variant;
			setup->same_context |= context;
			setup->same_cell |= variant && context;
		}
	}
}

/* ---- settings */

static const char *const own_keys[] = {"variant", "context", "node", "engine build", "model"};

static bool is_own(const char *key)
{
	for (size_t i = 0; i < GRETA_COUNT(own_keys); i++)
		if (greta_str_eq(key, own_keys[i]))
			return true;
	return false;
}

/* NULL: not known. A variable that is not in an environment which is known is unset. */
static const char *value_of(const struct setup *s, const char *key)
{
	const char *own[] = {s->like->variant, s->context, s->like->node, s->like->build, s->like->model};
	for (size_t i = 0; i < GRETA_COUNT(own_keys); i++)
		if (greta_str_eq(key, own_keys[i]))
			return own[i];
	for (size_t i = 0; s->env && i < s->env->keys.n; i++)
		if (greta_str_eq(s->env->keys.items[i], key))
			return s->env->values.items[i];
	return s->env && greta_str_starts(key, "env.") ? "" : NULL;
}

/* The runs that a setting is judged by: of the same cells; for another variant or context, of the same other one. */
static bool is_beside(const struct setup *s, const char *key)
{
	return greta_str_eq(key, "variant") ? s->same_context : greta_str_eq(key, "context") ? s->same_variant : s->same_cell;
}

/* In an environment that is not on record a variable may well have been unset. */
static bool hung_with(const struct setups *s, const char *key, const char *value)
{
	for (size_t i = 0; i < s->n; i++) {
		const char *other = s->items[i].of_group ? value_of(&s->items[i], key) : NULL;
		if (s->items[i].of_group && (other ? greta_str_eq(other, value) : !*value))
			return true;
	}
	return false;
}

/* Nothing is said of a key that is not known of any run that hung. */
static bool is_known_of_hung(const struct setups *s, const char *key)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->items[i].of_group && value_of(&s->items[i], key))
			return true;
	return false;
}

static char *setting_text(const char *key, const char *value)
{
	if (is_own(key))
		return greta_format("%s %s", key, value);
	const char *name = greta_str_starts(key, "env.") ? key + 4 : key;
	return *value ? greta_format("%s=%s", name, value) : greta_format("%s unset", name);
}

/* A setting while it is looked for: which setups have it. */
struct candidate {
	struct vanish v;
	bool *has;                   /* of every setup */
	int64_t hung;
};
struct candidates {
	struct candidate *items;
	size_t n, cap;
};

static void tally(const struct setups *s, const char *key, const char *value, struct candidate *c)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct setup *setup = &s->items[i];
		const char *own = value_of(setup, key);
		if (!is_beside(setup, key))
			continue;
		c->has[i] = own && greta_str_eq(own, value);
		c->v.n += c->has[i] ? setup->n : 0;
		c->hung += c->has[i] ? setup->hung : 0;
		c->v.n_without += c->has[i] ? 0 : setup->n;
		c->v.hung_without += c->has[i] ? 0 : setup->hung;
	}
}

static void candidate_release(struct candidate *c)
{
	greta_strs_release(&c->v.with);
	free(c->has);
}

/* What the same runs had is one observation. */
static void add_candidate(const struct setups *s, struct candidates *all, const char *key, const char *value)
{
	cleanup_free char *text = setting_text(key, value);
	struct candidate c = {.has = greta_alloc(s->n * sizeof *c.has)};
	tally(s, key, value, &c);
	for (size_t i = 0; i < all->n; i++) {
		if (memcmp(all->items[i].has, c.has, s->n * sizeof *c.has) != 0)
			continue;
		greta_strs_add(&all->items[i].v.with, text);
		candidate_release(&c);
		return;
	}
	if (c.v.n == 0 || c.hung) {
		candidate_release(&c);
		return;
	}
	greta_strs_add(&c.v.with, text);
	*GRETA_PUSH(all->items, all->n, all->cap) = c;
}

static bool is_new_value(const struct setups *s, size_t upto, const char *key, const char *value)
{
	for (size_t i = 0; i < upto; i++) {
		const char *other = is_beside(&s->items[i], key) ? value_of(&s->items[i], key) : NULL;
		if (other && greta_str_eq(other, value))
			return false;
	}
	return true;
}

static void look_at_key(const struct setups *s, const char *key, struct candidates *all)
{
	if (!is_known_of_hung(s, key))
		return;
	for (size_t i = 0; i < s->n; i++) {
		const char *value = is_beside(&s->items[i], key) ? value_of(&s->items[i], key) : NULL;
		if (value && is_new_value(s, i, key, value) && !hung_with(s, key, value))
			add_candidate(s, all, key, value);
	}
}

static bool is_new_key(const struct envs *v, size_t upto, const char *key)
{
	for (size_t i = 0; i < upto; i++)
		for (size_t k = 0; k < v->items[i].keys.n; k++)
			if (greta_str_eq(v->items[i].keys.items[k], key))
				return false;
	return true;
}

static void look_at_environment(const struct setups *s, bool variables, struct candidates *all)
{
	for (size_t i = 0; i < s->envs.n; i++)
		for (size_t k = 0; k < s->envs.items[i].keys.n; k++) {
			const char *key = s->envs.items[i].keys.items[k];
			if (greta_str_starts(key, "env.") == variables && is_new_key(&s->envs, i, key))
				look_at_key(s, key, all);
		}
}

/* What a person can set first, then what the node has. */
static void look_at_all(const struct setups *s, struct candidates *all)
{
	look_at_environment(s, true, all);
	look_at_environment(s, false, all);
	for (size_t i = 0; i < GRETA_COUNT(own_keys); i++)
		look_at_key(s, own_keys[i], all);
}

static bool has_any(const struct candidates *all, size_t setup)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->items[i].has[setup])
			return true;
	return false;
}

static int most_first(const void *a, const void *b)
{
	const struct vanish *x = a, *y = b;
	return (x->n < y->n) - (x->n > y->n);
}

/* Takes the candidates. */
static void conclude(const struct setups *s, struct candidates *all, struct vanish_list *out)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->items[i].same_cell && !has_any(all, i))
			out->n_unchanged += s->items[i].n_since;
	for (size_t i = 0; i < all->n; i++) {
		*GRETA_PUSH(out->items, out->n, out->cap) = all->items[i].v;
		free(all->items[i].has);
	}
	free(all->items);
	if (out->n)
		qsort(out->items, out->n, sizeof *out->items, most_first);
}

int vanish_find(struct greta_db *db, const struct vanish_runs *runs, const char *fingerprint, struct vanish_list *out,
		struct greta_err *e)
{
	struct setups s = {0};
	struct candidates all = {0};
	*out = (struct vanish_list){0};
	int rc = take_runs(db, runs, fingerprint, &s, e);
	if (rc == 0) {
		mark(&s);
		look_at_all(&s, &all);
		conclude(&s, &all, out);
	}
	envs_release(&s.envs);
	free(s.items);
	return rc;
}

void vanish_list_release(struct vanish_list *v)
{
	for (size_t i = 0; i < v->n; i++)
		greta_strs_release(&v->items[i].with);
	free(v->items);
	*v = (struct vanish_list){0};
}
