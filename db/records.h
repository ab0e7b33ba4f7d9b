/* records: the small nouns: models, builds and their kernels, baselines, imported files, people's actions. */
#ifndef DB_RECORDS_H
#define DB_RECORDS_H

#include "base/err.h"
#include "db/db.h"
#include "schemas/kernels.h"
#include <stdbool.h>
#include <stdint.h>

/* Strings that are NULL and numbers that are 0 are not known; what is known later is filled in, never changed. */
struct greta_model_facts {
	const char *file_sha256;        /* the key */
	const char *data_sha256, *metadata_sha256, *name, *architecture, *file_type;
	int64_t n_params, bytes;
};
int greta_models_record(struct greta_db *db, const struct greta_model_facts *m, int64_t *model_id, struct greta_err *e);

struct greta_build_facts {
	const char *build_sha256;       /* the key: executable + libraries + code objects, or a declared id, hashed */
	const char *engine_sha256, *declared_id, *version;
};
int greta_builds_record(struct greta_db *db, const struct greta_build_facts *b, int64_t *build_id, struct greta_err *e);

/* One kernel of a build; what is there already stays. */
int greta_builds_add_kernel(struct greta_db *db, int64_t build_id, const struct greta_kernel *k, struct greta_err *e);

struct greta_baseline_row {
	char *name, *campaign, *variant, *note; /* variant NULL: every variant by its own name; note may be NULL */
	int64_t campaign_id, set_ns;
};
struct greta_baseline_rows {
	struct greta_baseline_row *items;
	size_t n, cap;
};
void greta_baseline_rows_release(struct greta_baseline_rows *rows);
/* A baseline whose counted results were not all token-verified is refused (EINVAL), and so is one without any. */
int greta_baselines_set(struct greta_db *db, const char *name, int64_t campaign_id, const char *variant,
			const char *note, struct greta_err *e);
int greta_baselines_list(struct greta_db *db, struct greta_baseline_rows *out, struct greta_err *e);
int greta_baselines_remove(struct greta_db *db, const char *name, struct greta_err *e); /* ENOENT */

/* key: what makes it the same result at the same place, hashed by the importer (hex of SHA-256). */
int greta_imports_seen(struct greta_db *db, const char *key, bool *seen, struct greta_err *e);
int greta_imports_add(struct greta_db *db, const char *key, const char *path, int64_t campaign_id, int64_t attempt_id,
		      struct greta_err *e);
/* The campaign that an earlier import of this tree made: by name and kind import; 0: none. */
int greta_imports_campaign(struct greta_db *db, const char *name, int64_t *campaign_id, struct greta_err *e);

/* Something a person asked for. detail: JSON object; NULL: {}. who NULL: the user this process runs as. */
int greta_actions_add(struct greta_db *db, const char *who, const char *what, const char *detail, struct greta_err *e);

#endif
