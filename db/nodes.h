/* nodes: how machines are reached (aliases), what they are (nodes, devices), and how they are set up (environments). */
#ifndef DB_NODES_H
#define DB_NODES_H

#include "base/err.h"
#include "db/db.h"
#include "schemas/msg.h"
#include <stdint.h>

#define GRETA_ALIAS_STATES(X)             \
	X(UP,          "up")              \
	X(DRAINING,    "draining")    /* takes no new jobs */ \
	X(QUARANTINED, "quarantined") /* was found broken; a person resumes it */ \
	X(REMOVED,     "removed")

enum greta_alias_state {
#define X(id, name) GRETA_ALIAS_##id,
	GRETA_ALIAS_STATES(X)
#undef X
	GRETA_ALIAS_STATE_COUNT
};
const char *greta_alias_state_name(enum greta_alias_state s);

struct greta_alias_row {
	int64_t id;
	char *name;
	char *transport;                /* local, ssh, slurm */
	char *settings;                 /* JSON object: host, port, user, identity, agent dir, ... */
	char *labels;                   /* JSON object */
	enum greta_alias_state state;
	char *reason;                   /* of the state; NULL: none */
	char *host_key;                 /* SHA256:... of the accepted key; NULL: none yet */
	int64_t node_id;                /* 0: never seen */
};
struct greta_alias_rows {
	struct greta_alias_row *items;
	size_t n, cap;
};
void greta_alias_row_release(struct greta_alias_row *row);
void greta_alias_rows_release(struct greta_alias_rows *rows);

/* EEXIST when the name is taken. A removed alias of that name comes back with the new settings, keeping its history.
 * settings and labels: JSON objects; NULL: {}. */
int greta_nodes_add(struct greta_db *db, const char *name, const char *transport, const char *settings,
		    const char *labels, int64_t *alias_id, struct greta_err *e);
/* ENOENT names those there are; a removed one is not found. */
int greta_nodes_find(struct greta_db *db, const char *name, struct greta_alias_row *out, struct greta_err *e);
int greta_nodes_list(struct greta_db *db, bool with_removed, struct greta_alias_rows *out, struct greta_err *e);
int greta_nodes_set_state(struct greta_db *db, int64_t alias_id, enum greta_alias_state state, const char *reason,
			  struct greta_err *e); /* REMOVED: the row stays for history, its settings are emptied */
int greta_nodes_set_host_key(struct greta_db *db, int64_t alias_id, const char *host_key, struct greta_err *e);

/* What an agent said of its machine: upserts the node, its devices (devices are found again by UUID, also in another
 * machine) and its environment, and ties the alias to the node. */
struct greta_node_ids {
	int64_t node_id, environment_id;
};
int greta_nodes_record(struct greta_db *db, int64_t alias_id, const struct greta_facts *facts,
		       struct greta_node_ids *out, struct greta_err *e);

/* What a node keeps out of use, by its own account: the list replaces what was there before. */
int greta_quarantine_set(struct greta_db *db, int64_t node_id, const struct greta_quarantine *slots, size_t n,
			 struct greta_err *e);
struct greta_quarantines {
	struct greta_quarantine *items;
	size_t n, cap;
};
int greta_quarantine_list(struct greta_db *db, int64_t node_id, struct greta_quarantines *out, struct greta_err *e); /* adds */
void greta_quarantines_release(struct greta_quarantines *q);

/* The environment made of the rows of base (0: none) with `rows` put over them; the same set is stored once. An
 * attempt's environment is its node's, plus `mode` and the variables that its variant sets. */
int greta_environments_add(struct greta_db *db, int64_t base, const struct greta_fact *rows, size_t n,
			   int64_t *environment_id, struct greta_err *e);

#endif
