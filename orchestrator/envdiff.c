#include "orchestrator/envdiff.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/db.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VALUES_SHOWN 3

/* ---- environments, each once */

struct env {
	int64_t id;
	struct greta_strs keys, values;
};

struct envs {
	struct env *items;
	size_t n, cap;
};

static struct env *env_find(const struct envs *v, int64_t id)
{
	for (size_t i = 0; i < v->n; i++)
		if (v->items[i].id == id)
			return &v->items[i];
	return NULL;
}

static int env_load(struct greta_db *db, struct envs *v, int64_t id, struct greta_err *e)
{
	if (id == 0 || env_find(v, id))
		return 0;
	struct env *env = GRETA_PUSH(v->items, v->n, v->cap);
	env->id = id;
	cleanup_query struct greta_query *q = greta_query_open(
		db, e, "SELECT key, value FROM environment_row WHERE environment_id = ? ORDER BY key", "i", id);
	int rc = q ? 0 : -1;
	while (q && (rc = greta_query_step(q, e)) == 1) {
		greta_strs_add(&env->keys, greta_query_str(q, 0));
		greta_strs_add(&env->values, greta_query_str(q, 1));
	}
	return rc;
}

static int envs_load(struct greta_db *db, struct envs *v, const struct history *h, struct greta_err *e)
{
	for (size_t i = 0; h && i < h->n; i++)
		if (env_load(db, v, h->items[i].environment_id, e))
			return -1;
	return 0;
}

static void envs_release(struct envs *v)
{
	for (size_t i = 0; i < v->n; i++) {
		greta_strs_release(&v->items[i].keys);
		greta_strs_release(&v->items[i].values);
	}
	free(v->items);
}

/* ---- keys: those of the environment, and what else a run is made of */

static const char *const own_keys[] = {"engine build", "command", "model", "node", "device type", "dtype", "attention"};

static const char *value_of(const struct envs *envs, const struct history_run *r, const char *key)
{
	const char *own[] = {r->build, r->command, r->model, r->node, r->device_type, r->dtype, r->attn_impl};
	for (size_t i = 0; i < GRETA_COUNT(own_keys); i++)
		if (greta_str_eq(key, own_keys[i]))
			return own[i];
	const struct env *env = env_find(envs, r->environment_id);
	for (size_t i = 0; env && i < env->keys.n; i++)
		if (greta_str_eq(env->keys.items[i], key))
			return env->values.items[i];
	return NULL;
}

static bool has(const struct greta_strs *v, const char *s)
{
	for (size_t i = 0; i < v->n; i++)
		if (greta_str_eq(v->items[i], s))
			return true;
	return false;
}

static void values_of(const struct envs *envs, const struct history *h, const char *key, struct greta_strs *out)
{
	for (size_t i = 0; i < h->n; i++) {
		const char *value = value_of(envs, &h->items[i], key);
		if (!has(out, value ? value : "not known"))
			greta_strs_add(out, value ? value : "not known");
	}
}

static bool same_set(const struct greta_strs *a, const struct greta_strs *b)
{
	bool same = a->n == b->n;
	for (size_t i = 0; same && i < a->n; i++)
		same = has(b, a->items[i]);
	return same;
}

static char *joined(const struct greta_strs *v)
{
	struct greta_buf out = {0};
	for (size_t i = 0; i < v->n && i < VALUES_SHOWN; i++)
		greta_buf_addf(&out, "%s%s", i ? " / " : "", v->items[i]);
	if (v->n > VALUES_SHOWN)
		greta_buf_addf(&out, " and %zu more", v->n - VALUES_SHOWN);
	return greta_buf_steal(&out);
}

/* ---- association */

struct group {
	char *name;
	double sum, squares;
	size_t n;
};

struct groups {
	struct group *items;
	size_t n, cap;
};

static struct group *group_of(struct groups *g, const char *name)
{
	for (size_t i = 0; i < g->n; i++)
		if (greta_str_eq(g->items[i].name, name))
			return &g->items[i];
	struct group *new = GRETA_PUSH(g->items, g->n, g->cap);
	new->name = greta_strdup(name);
	return new;
}

static void group_add(struct group *g, double x)
{
	g->sum += x;
	g->squares += x * x;
	g->n++;
}

static void groups_release(struct groups *g)
{
	for (size_t i = 0; i < g->n; i++)
		free(g->items[i].name);
	free(g->items);
	*g = (struct groups){0};
}

/* log times around the mean of their variant and context. */
static double *center(const struct history *all)
{
	double *x = greta_alloc((all->n + 1) * sizeof *x);
	struct groups cells = {0};
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < all->n; i++) {
			char name[300];
			snprintf(name, sizeof name, "%.250s %lld", all->items[i].variant, (long long)all->items[i].context);
			struct group *g = group_of(&cells, name);
			if (pass == 0)
				group_add(g, log(all->items[i].prefill_s));
			else
				x[i] = log(all->items[i].prefill_s) - g->sum / (double)g->n;
		}
	groups_release(&cells);
	return x;
}

static void explain(const struct envs *envs, const struct history *all, const double *x, struct envdiff_item *item)
{
	struct groups g = {0};
	double sum = 0, squares = 0, between = 0;
	size_t n = 0;
	for (size_t i = 0; i < all->n; i++) {
		const char *value = value_of(envs, &all->items[i], item->key);
		if (!value)
			continue;
		group_add(group_of(&g, value), x[i]);
		sum += x[i];
		squares += x[i] * x[i];
		n++;
	}
	item->n_runs = n;
	item->explains = NAN;
	double mean = n ? sum / (double)n : 0, total = squares - (double)n * mean * mean;
	for (size_t i = 0; i < g.n; i++)
		between += pow(g.items[i].sum / (double)g.items[i].n - mean, 2) * (double)g.items[i].n;
	if (g.n >= 2 && n > g.n && total > 0) {
		double left = (total - between) / total * (double)(n - 1) / (double)(n - g.n);
		item->explains = fmin(fmax(1 - left, 0), 1);
	}
	groups_release(&g);
}

static int by_explanation(const void *a, const void *b)
{
	const struct envdiff_item *x = a, *y = b;
	double dx = isnan(x->explains) ? -1 : x->explains, dy = isnan(y->explains) ? -1 : y->explains;
	return dx != dy ? (dx < dy) - (dx > dy) : strcmp(x->key, y->key);
}

/* ---- code */

static int add_code(struct greta_db *db, const struct history *h, struct greta_strs *builds, struct greta_strs *code,
		    struct greta_err *e)
{
	for (size_t i = 0; i < h->n; i++) {
		char id[32];
		snprintf(id, sizeof id, "%lld", (long long)h->items[i].build_id);
		if (h->items[i].build_id == 0 || has(builds, id))
			continue;
		greta_strs_add(builds, id);
		cleanup_query struct greta_query *q = greta_query_open(
			db, e, "SELECT kernel || ' ' || arch || ' ' || sha256 FROM code_object"
			" WHERE build_id = ? AND sha256 IS NOT NULL", "i", h->items[i].build_id);
		int rc = q ? 0 : -1;
		while (q && (rc = greta_query_step(q, e)) == 1)
			if (!has(code, greta_query_str(q, 0)))
				greta_strs_add(code, greta_query_str(q, 0));
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int find_same_code(struct greta_db *db, const struct history *a, const struct history *b, bool *same,
			  struct greta_err *e)
{
	cleanup_strs struct greta_strs builds_a = {0}, builds_b = {0}, code_a = {0}, code_b = {0};
	if (add_code(db, a, &builds_a, &code_a, e) || add_code(db, b, &builds_b, &code_b, e))
		return -1;
	*same = (builds_a.n && same_set(&builds_a, &builds_b)) || (code_a.n && same_set(&code_a, &code_b));
	return 0;
}

/* ---- */

static void find_keys(const struct envs *envs, struct greta_strs *keys)
{
	for (size_t i = 0; i < GRETA_COUNT(own_keys); i++)
		greta_strs_add(keys, own_keys[i]);
	for (size_t i = 0; i < envs->n; i++)
		for (size_t k = 0; k < envs->items[i].keys.n; k++)
			if (!has(keys, envs->items[i].keys.items[k]))
				greta_strs_add(keys, envs->items[i].keys.items[k]);
}

static void find_differences(const struct envs *envs, const struct history *a, const struct history *b,
			     const struct history *all, struct envdiff *out)
{
	cleanup_strs struct greta_strs keys = {0};
	cleanup_free double *x = center(all);
	find_keys(envs, &keys);
	for (size_t i = 0; i < keys.n; i++) {
		cleanup_strs struct greta_strs va = {0}, vb = {0};
		values_of(envs, a, keys.items[i], &va);
		values_of(envs, b, keys.items[i], &vb);
		if (same_set(&va, &vb))
			continue;
		struct envdiff_item *item = GRETA_PUSH(out->items, out->n, out->cap);
		item->key = greta_strdup(keys.items[i]);
		item->a = joined(&va);
		item->b = joined(&vb);
		explain(envs, all, x, item);
	}
	for (size_t i = 0; i < out->n; i++)
		if (greta_str_eq(out->items[i].key, "command"))
			out->same_code = false; /* the same program told to do something else */
	if (out->n)
		qsort(out->items, out->n, sizeof *out->items, by_explanation);
}

/* The runs of all three, each once; borrowed: only the array is to be freed. */
static struct history join(const struct history *a, const struct history *b, const struct history *past)
{
	const struct history *parts[] = {past, a, b};
	struct history all = {0};
	for (size_t p = 0; p < GRETA_COUNT(parts); p++)
		for (size_t i = 0; parts[p] && i < parts[p]->n; i++)
			*GRETA_PUSH(all.items, all.n, all.cap) = parts[p]->items[i];
	return all;
}

static int by_attempt(const void *a, const void *b)
{
	const struct history_run *x = a, *y = b;
	return (x->attempt_id > y->attempt_id) - (x->attempt_id < y->attempt_id);
}

static void drop_doubles(struct history *all)
{
	size_t kept = 0;
	if (all->n)
		qsort(all->items, all->n, sizeof *all->items, by_attempt);
	for (size_t i = 0; i < all->n; i++)
		if (kept == 0 || all->items[i].attempt_id != all->items[kept - 1].attempt_id)
			all->items[kept++] = all->items[i];
	all->n = kept;
}

int envdiff_make(struct greta_db *db, const struct history *a, const struct history *b, const struct history *past,
		 struct envdiff *out, struct greta_err *e)
{
	struct envs envs = {0};
	struct history all = join(a, b, past);
	*out = (struct envdiff){0};
	drop_doubles(&all);
	int rc = envs_load(db, &envs, &all, e);
	if (rc == 0)
		rc = find_same_code(db, a, b, &out->same_code, e);
	if (rc == 0)
		find_differences(&envs, a, b, &all, out);
	envs_release(&envs);
	free(all.items);
	return rc;
}

void envdiff_release(struct envdiff *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free(d->items[i].key);
		free(d->items[i].a);
		free(d->items[i].b);
	}
	free(d->items);
	*d = (struct envdiff){0};
}

struct table *envdiff_table(const struct envdiff *d)
{
	static const struct table_column columns[] = {
		{"key", "differs", TABLE_TEXT, 0},           {"explains_percent", "explains %", TABLE_FIXED, 0},
		{"n_runs", "of runs", TABLE_INT, 0},         {"a", "A", TABLE_TEXT, 0},
		{"b", "B", TABLE_TEXT, 0},
	};
	struct table *t = table_create(columns, GRETA_COUNT(columns));
	for (size_t i = 0; i < d->n; i++) {
		table_row(t);
		table_str(t, d->items[i].key);
		table_num(t, 100 * d->items[i].explains);
		table_int(t, (int64_t)d->items[i].n_runs);
		table_str(t, d->items[i].a);
		table_str(t, d->items[i].b);
	}
	return t;
}
