#include "db/nodes.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "db/internal.h"
#include "db/likely.h"

static const char *const state_names[] = {
#define X(id, name) [GRETA_ALIAS_##id] = name,
	GRETA_ALIAS_STATES(X)
#undef X
};

const char *greta_alias_state_name(enum greta_alias_state s)
{
	return (size_t)s < GRETA_COUNT(state_names) ? state_names[s] : "?";
}

/* ---- aliases */

void greta_alias_row_release(struct greta_alias_row *row)
{
	free(row->name);
	free(row->transport);
	free(row->settings);
	free(row->labels);
	free(row->reason);
	free(row->host_key);
	*row = (struct greta_alias_row){0};
}

void greta_alias_rows_release(struct greta_alias_rows *rows)
{
	for (size_t i = 0; i < rows->n; i++)
		greta_alias_row_release(&rows->items[i]);
	free(rows->items);
	*rows = (struct greta_alias_rows){0};
}

#define ALIAS_COLUMNS "id, name, transport, settings, labels, state, state_reason, host_key, node_id"

static void read_row(struct greta_query *q, struct greta_alias_row *row)
{
	row->id = greta_query_i64(q, 0);
	row->name = db_dup(q, 1);
	row->transport = db_dup(q, 2);
	row->settings = db_dup(q, 3);
	row->labels = db_dup(q, 4);
	row->state = (enum greta_alias_state)db_word(q, 5, state_names, GRETA_COUNT(state_names));
	row->reason = db_dup(q, 6);
	row->host_key = db_dup(q, 7);
	row->node_id = greta_query_i64(q, 8);
}

static int add_or_bring_back(struct greta_db *db, const char *name, const char *transport, const char *settings,
			     const char *labels, struct greta_err *e)
{
	return greta_db_exec(
		db, e,
		"INSERT INTO alias (name, transport, settings, labels, added_ns) VALUES (?1, ?2, ?3, ?4, ?5)"
		" ON CONFLICT (name) DO UPDATE SET transport = ?2, settings = ?3, labels = ?4, state = 'up',"
		" state_reason = NULL, state_ns = ?5, host_key = NULL",
		"ssssi", name, transport, settings ? settings : "{}", labels ? labels : "{}", greta_clock_wall_ns());
}

int greta_nodes_add(struct greta_db *db, const char *name, const char *transport, const char *settings,
		    const char *labels, int64_t *alias_id, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	int64_t id = 0;
	int rc;

	rc = db_get_i64(db, &id, e, "SELECT id FROM alias WHERE name = ? AND state <> 'removed'", "s", name);
	if (rc < 0)
		return -1;
	if (rc == 1)
		return greta_err_set(e, GRETA_EEXIST,
				     "there is a node \"%s\" already: `greta-orch node check %s` connects to it, "
				     "`greta-orch node remove %s` forgets it", name, name, name);
	if (greta_txn_begin(db, &txn, e) || add_or_bring_back(db, name, transport, settings, labels, e) ||
	    db_get_i64(db, alias_id, e, "SELECT id FROM alias WHERE name = ?", "s", name) < 0)
		return -1;
	return greta_txn_commit(&txn, e);
}

static int no_alias(struct greta_db *db, const char *name, struct greta_err *e)
{
	cleanup_buf struct greta_buf near = {0};

	if (db_likely(db, &near, name, "SELECT name FROM alias WHERE state <> 'removed' ORDER BY name", e))
		return -1;
	if (!near.len)
		return greta_err_set(e, GRETA_ENOENT,
				     "no node \"%s\": there are none yet; `greta-orch node add` adds one", name);
	return greta_err_set(e, GRETA_ENOENT, "no node \"%s\"; there are: %s", name, near.data);
}

int greta_nodes_find(struct greta_db *db, const char *name, struct greta_alias_row *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e, "SELECT " ALIAS_COLUMNS " FROM alias WHERE name = ? AND state <> 'removed'", "s", name);
	int rc = q ? greta_query_step(q, e) : -1;

	if (rc == 0)
		return no_alias(db, name, e);
	if (rc < 0)
		return -1;
	*out = (struct greta_alias_row){0};
	read_row(q, out);
	return 0;
}

int greta_nodes_list(struct greta_db *db, bool with_removed, struct greta_alias_rows *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e, "SELECT " ALIAS_COLUMNS " FROM alias WHERE ? OR state <> 'removed' ORDER BY name", "i",
		(int64_t)with_removed);
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e))
		read_row(q, GRETA_PUSH(out->items, out->n, out->cap));
	return rc;
}

static int alias_touched(struct greta_db *db, int64_t alias_id, struct greta_err *e)
{
	if (greta_db_changes(db))
		return 0;
	return greta_err_set(e, GRETA_ENOENT, "there is no node alias %lld", (long long)alias_id);
}

int greta_nodes_set_state(struct greta_db *db, int64_t alias_id, enum greta_alias_state state, const char *reason,
			  struct greta_err *e)
{
	int rc = greta_db_exec(db, e,
			       "UPDATE alias SET state = ?1, state_reason = ?2, state_ns = ?3,"
			       " settings = CASE ?1 WHEN 'removed' THEN '{}' ELSE settings END WHERE id = ?4",
			       "ssii", greta_alias_state_name(state), reason, greta_clock_wall_ns(), alias_id);

	return rc ? rc : alias_touched(db, alias_id, e);
}

int greta_nodes_set_host_key(struct greta_db *db, int64_t alias_id, const char *host_key, struct greta_err *e)
{
	int rc = greta_db_exec(db, e, "UPDATE alias SET host_key = ? WHERE id = ?", "si", host_key, alias_id);

	return rc ? rc : alias_touched(db, alias_id, e);
}

/* ---- environments */

struct row {
	const char *key, *value;
};

struct rows {
	struct row *items;
	size_t n, cap;
	struct greta_strs kept; /* strings that are ours */
};

static void rows_release(struct rows *r)
{
	free(r->items);
	greta_strs_release(&r->kept);
}

static void rows_set(struct rows *r, const char *key, const char *value)
{
	struct row *row;

	for (size_t i = 0; i < r->n; i++)
		if (!strcmp(r->items[i].key, key)) {
			r->items[i].value = value;
			return;
		}
	row = GRETA_PUSH(r->items, r->n, r->cap);
	row->key = key;
	row->value = value;
}

static const char *rows_keep(struct rows *r, const char *s)
{
	greta_strs_add(&r->kept, s);
	return r->kept.items[r->kept.n - 1];
}

static int rows_load(struct greta_db *db, struct rows *r, int64_t environment_id, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e, "SELECT key, value FROM environment_row WHERE environment_id = ?", "i", environment_id);
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e)) {
		const char *key = rows_keep(r, greta_query_str(q, 0));

		rows_set(r, key, rows_keep(r, greta_query_str(q, 1)));
	}
	return rc;
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->key, ((const struct row *)b)->key);
}

static void rows_hash(struct rows *r, char sha256[GRETA_SHA256_HEX + 1])
{
	struct greta_sha256 h;

	if (r->n)
		qsort(r->items, r->n, sizeof *r->items, by_key);
	greta_sha256_init(&h);
	for (size_t i = 0; i < r->n; i++) {
		greta_sha256_add(&h, r->items[i].key, strlen(r->items[i].key) + 1);
		greta_sha256_add(&h, r->items[i].value, strlen(r->items[i].value) + 1);
	}
	greta_sha256_hex(&h, sha256);
}

static int insert_environment(struct greta_db *db, const struct rows *r, const char *sha256, int64_t *id,
			      struct greta_err *e)
{
	if (greta_db_exec(db, e, "INSERT INTO environment (env_sha256) VALUES (?)", "s", sha256))
		return -1;
	*id = greta_db_inserted(db);
	for (size_t i = 0; i < r->n; i++)
		if (greta_db_exec(db, e, "INSERT INTO environment_row (environment_id, key, value) VALUES (?, ?, ?)",
				  "iss", *id, r->items[i].key, r->items[i].value))
			return -1;
	return 0;
}

int greta_environments_add(struct greta_db *db, int64_t base, const struct greta_fact *facts, size_t n,
			   int64_t *environment_id, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	cleanup_with(rows_release) struct rows r = {0};
	char sha256[GRETA_SHA256_HEX + 1];
	int rc;

	if (greta_txn_begin(db, &txn, e) || (base && rows_load(db, &r, base, e)))
		return -1;
	for (size_t i = 0; i < n; i++)
		rows_set(&r, facts[i].key, facts[i].value ? facts[i].value : "");
	rows_hash(&r, sha256);
	rc = db_get_i64(db, environment_id, e, "SELECT id FROM environment WHERE env_sha256 = ?", "s", sha256);
	if (rc < 0 || (rc == 0 && insert_environment(db, &r, sha256, environment_id, e)))
		return -1;
	return greta_txn_commit(&txn, e);
}

/* ---- what an agent says of its machine */

static int record_node(struct greta_db *db, const struct greta_facts *f, int64_t *node_id, struct greta_err *e)
{
	cleanup_buf struct greta_buf json = {0};

	greta_facts_print(f, &json);
	if (greta_db_exec(
		    db, e,
		    "INSERT INTO node (node_key, hostname, machine_hash, n_cpus, mem_bytes, facts, first_seen_ns,"
		    " last_seen_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7) ON CONFLICT (node_key) DO UPDATE SET"
		    " hostname = ?2, machine_hash = ?3, n_cpus = ?4, mem_bytes = ?5, facts = ?6, last_seen_ns = ?7",
		    "sssiisi", f->node_id, f->hostname, f->machine_id, f->n_cpus, f->mem_bytes, greta_buf_str(&json),
		    greta_clock_wall_ns()))
		return -1;
	return db_get_i64(db, node_id, e, "SELECT id FROM node WHERE node_key = ?", "s", f->node_id) < 0 ? -1 : 0;
}

static int record_device(struct greta_db *db, int64_t node_id, const struct greta_device *d, struct greta_err *e)
{
	return greta_db_exec(db, e,
			     "INSERT INTO device (uuid, kind, name, arch, pci, vram_bytes, compute_units, node_id,"
			     " first_seen_ns, last_seen_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)"
			     " ON CONFLICT (uuid) DO UPDATE SET kind = ?2, name = coalesce(?3, name),"
			     " arch = coalesce(?4, arch), pci = ?5, vram_bytes = coalesce(?6, vram_bytes),"
			     " compute_units = coalesce(?7, compute_units), node_id = ?8, last_seen_ns = ?9",
			     "sssssooii", d->uuid, d->kind ? d->kind : "unknown", d->name, d->arch, d->pci,
			     d->vram_bytes, d->compute_units, node_id, greta_clock_wall_ns());
}

static int record_devices(struct greta_db *db, int64_t node_id, const struct greta_facts *f, struct greta_err *e)
{
	for (size_t i = 0; i < f->n_devices; i++)
		if (f->devices[i].uuid && record_device(db, node_id, &f->devices[i], e))
			return -1;
	return 0;
}

int greta_nodes_record(struct greta_db *db, int64_t alias_id, const struct greta_facts *facts,
		       struct greta_node_ids *out, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;

	if (!facts->node_id || !*facts->node_id)
		return greta_err_set(e, GRETA_EPROTO, "the agent's facts name no node_id");
	if (greta_txn_begin(db, &txn, e) || record_node(db, facts, &out->node_id, e) ||
	    record_devices(db, out->node_id, facts, e) ||
	    greta_environments_add(db, 0, facts->env, facts->n_env, &out->environment_id, e) ||
	    greta_db_exec(db, e, "UPDATE alias SET node_id = ? WHERE id = ?", "ii", out->node_id, alias_id))
		return -1;
	return greta_txn_commit(&txn, e);
}

/* ---- quarantine */

int greta_quarantine_set(struct greta_db *db, int64_t node_id, const struct greta_quarantine *slots, size_t n,
			 struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;

	if (greta_txn_begin(db, &txn, e) ||
	    greta_db_exec(db, e, "DELETE FROM quarantine WHERE node_id = ?", "i", node_id))
		return -1;
	for (size_t i = 0; i < n; i++)
		if (greta_db_exec(db, e,
				  "INSERT INTO quarantine (node_id, slot, reason, since_ns) VALUES (?, ?, ?, ?)"
				  " ON CONFLICT DO NOTHING",
				  "issi", node_id, slots[i].slot, slots[i].reason ? slots[i].reason : "no reason given",
				  slots[i].since_wall_ns))
			return -1;
	return greta_txn_commit(&txn, e);
}

int greta_quarantine_list(struct greta_db *db, int64_t node_id, struct greta_quarantines *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e, "SELECT slot, reason, since_ns FROM quarantine WHERE node_id = ? ORDER BY slot", "i", node_id);
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e))
		*GRETA_PUSH(out->items, out->n, out->cap) = (struct greta_quarantine){
			.slot = db_dup(q, 0), .reason = db_dup(q, 1), .since_wall_ns = greta_query_i64(q, 2)};
	return rc;
}

void greta_quarantines_release(struct greta_quarantines *q)
{
	for (size_t i = 0; i < q->n; i++)
		greta_quarantine_release(&q->items[i]);
	free(q->items);
	*q = (struct greta_quarantines){0};
}
