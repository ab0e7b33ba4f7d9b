#include "orchestrator/analysis/envdiff.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/db.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VALUES_SHOWN 3

/* ---- kinds of runs, each once: there are many runs, and few kinds */

struct kinds {
	const struct history_kind **items;
	size_t n, cap;
};

static size_t kind_index(struct kinds *v, const struct history_kind *k)
{
	for (size_t i = v->n; i > 0; i--)
		if (v->items[i - 1] == k)
			return i - 1;
	*GRETA_PUSH(v->items, v->n, v->cap) = k;
	return v->n - 1;
}

static void kinds_add(struct kinds *v, const struct history *h)
{
	for (size_t i = 0; i < h->n; i++)
		kind_index(v, h->items[i].kind);
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

static int envs_load(struct greta_db *db, struct envs *v, const struct kinds *h, struct greta_err *e)
{
	for (size_t i = 0; i < h->n; i++)
		if (env_load(db, v, h->items[i]->environment_id, e))
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

static const char *value_of(const struct envs *envs, const struct history_kind *r, const char *key)
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

static void values_of(const struct envs *envs, const struct kinds *h, const char *key, struct greta_strs *out)
{
	for (size_t i = 0; i < h->n; i++) {
		const char *value = value_of(envs, h->items[i], key);
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

struct sum {
	double x, squares;
	size_t n;
};

static void sum_add(struct sum *to, const struct sum *s)
{
	to->x += s->x;
	to->squares += s->squares;
	to->n += s->n;
}

/* Log times around the mean of their variant and context, summed up by kind. */
struct times {
	struct kinds kinds;
	struct sum *sums;           /* one a kind */
};

static void times_release(struct times *t)
{
	free(t->kinds.items);
	free(t->sums);
}

struct cell_mean {
	const char *variant;
	int64_t context;
	double sum;
	size_t n;
};

struct runs {
	const struct history_run **items;
	size_t n, cap;
};

/* The mean of each run's cell. */
static double *cell_means(const struct runs *all)
{
	struct cell_mean *cells = NULL;
	size_t n = 0, cap = 0, *cell = greta_alloc((all->n + 1) * sizeof *cell);
	double *mean = greta_alloc((all->n + 1) * sizeof *mean);
	for (size_t i = 0; i < all->n; i++) {
		const struct history_run *r = all->items[i];
		size_t k = 0;
		while (k < n && !(cells[k].context == r->context && greta_str_eq(cells[k].variant, r->kind->variant)))
			k++;
		if (k == n)
			*GRETA_PUSH(cells, n, cap) = (struct cell_mean){r->kind->variant, r->context, 0, 0};
		cells[k].sum += log(r->prefill_s);
		cells[k].n++;
		cell[i] = k;
	}
	for (size_t i = 0; i < all->n; i++)
		mean[i] = cells[cell[i]].sum / (double)cells[cell[i]].n;
	free(cells);
	free(cell);
	return mean;
}

static void times_make(const struct runs *all, struct times *out)
{
	cleanup_free double *mean = cell_means(all);
	for (size_t i = 0; i < all->n; i++)
		kind_index(&out->kinds, all->items[i]->kind);
	out->sums = greta_alloc((out->kinds.n + 1) * sizeof *out->sums);
	for (size_t i = 0; i < all->n; i++) {
		double x = log(all->items[i]->prefill_s) - mean[i];
		sum_add(&out->sums[kind_index(&out->kinds, all->items[i]->kind)], &(struct sum){x, x * x, 1});
	}
}

struct group {
	const char *name;
	struct sum sum;
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
	new->name = name;
	return new;
}

static void explain(const struct envs *envs, const struct times *t, struct envdiff_item *item)
{
	struct groups g = {0};
	struct sum all = {0};
	double between = 0;
	for (size_t i = 0; i < t->kinds.n; i++) {
		const char *value = value_of(envs, t->kinds.items[i], item->key);
		if (!value)
			continue;
		sum_add(&group_of(&g, value)->sum, &t->sums[i]);
		sum_add(&all, &t->sums[i]);
	}
	item->n_runs = all.n;
	item->explains = NAN;
	double n = (double)all.n, mean = all.n ? all.x / n : 0, total = all.squares - n * mean * mean;
	for (size_t i = 0; i < g.n; i++)
		between += pow(g.items[i].sum.x / (double)g.items[i].sum.n - mean, 2) * (double)g.items[i].sum.n;
	if (g.n >= 2 && all.n > g.n && total > 0) {
		double left = (total - between) / total * (n - 1) / (double)(all.n - g.n);
		item->explains = fmin(fmax(1 - left, 0), 1);
	}
	free(g.items);
}

static int by_explanation(const void *a, const void *b)
{
	const struct envdiff_item *x = a, *y = b;
	double dx = isnan(x->explains) ? -1 : x->explains, dy = isnan(y->explains) ? -1 : y->explains;
	return dx != dy ? (dx < dy) - (dx > dy) : strcmp(x->key, y->key);
}

/* ---- code */

static int add_code(struct greta_db *db, const struct kinds *h, struct greta_strs *builds, struct greta_strs *code,
		    struct greta_err *e)
{
	for (size_t i = 0; i < h->n; i++) {
		char id[32];
		snprintf(id, sizeof id, "%lld", (long long)h->items[i]->build_id);
		if (h->items[i]->build_id == 0 || has(builds, id))
			continue;
		greta_strs_add(builds, id);
		cleanup_query struct greta_query *q = greta_query_open(
			db, e, "SELECT kernel || ' ' || arch || ' ' || sha256 FROM code_object"
			" WHERE build_id = ? AND sha256 IS NOT NULL", "i", h->items[i]->build_id);
		int rc = q ? 0 : -1;
		while (q && (rc = greta_query_step(q, e)) == 1)
			if (!has(code, greta_query_str(q, 0)))
				greta_strs_add(code, greta_query_str(q, 0));
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int find_same_code(struct greta_db *db, const struct kinds *a, const struct kinds *b, bool *same,
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

static void find_differences(const struct envs *envs, const struct kinds *a, const struct kinds *b, const struct times *t,
			     struct envdiff *out)
{
	cleanup_strs struct greta_strs keys = {0};
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
		explain(envs, t, item);
	}
	for (size_t i = 0; i < out->n; i++)
		if (greta_str_eq(out->items[i].key, "command"))
			out->same_code = false; /* the same program told to do something else */
	if (out->n)
		qsort(out->items, out->n, sizeof *out->items, by_explanation);
}

static int by_attempt(const void *a, const void *b)
{
	const struct history_run *const *x = a, *const *y = b;
	return ((*x)->attempt_id > (*y)->attempt_id) - ((*x)->attempt_id < (*y)->attempt_id);
}

/* The runs of all three, each once. */
static void join(const struct history *a, const struct history *b, const struct history *past, struct runs *all)
{
	const struct history *parts[] = {past, a, b};
	size_t kept = 0;
	for (size_t p = 0; p < GRETA_COUNT(parts); p++)
		for (size_t i = 0; parts[p] && i < parts[p]->n; i++)
			*GRETA_PUSH(all->items, all->n, all->cap) = &parts[p]->items[i];
	if (all->n)
		qsort(all->items, all->n, sizeof *all->items, by_attempt);
	for (size_t i = 0; i < all->n; i++)
		if (kept == 0 || all->items[i]->attempt_id != all->items[kept - 1]->attempt_id)
			all->items[kept++] = all->items[i];
	all->n = kept;
}

int envdiff_make(struct greta_db *db, const struct history *a, const struct history *b, const struct history *past,
		 struct envdiff *out, struct greta_err *e)
{
	struct envs envs = {0};
	struct kinds kinds_a = {0}, kinds_b = {0};
	struct runs all = {0};
	cleanup_with(times_release) struct times times = {0};
	*out = (struct envdiff){0};
	kinds_add(&kinds_a, a);
	kinds_add(&kinds_b, b);
	join(a, b, past, &all);
	times_make(&all, &times);
	int rc = envs_load(db, &envs, &times.kinds, e);
	if (rc == 0)
		rc = find_same_code(db, &kinds_a, &kinds_b, &out->same_code, e);
	if (rc == 0)
		find_differences(&envs, &kinds_a, &kinds_b, &times, out);
	envs_release(&envs);
	free(kinds_a.items);
	free(kinds_b.items);
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
