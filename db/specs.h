/* internal: specs: what attempts alike were told to do, stored once. */
#ifndef DB_SPECS_H
#define DB_SPECS_H

#include "db/db.h"

/* printed: by greta_spec_print, secrets redacted. */
int specs_record(struct greta_db *db, const char *printed, int64_t *id, struct greta_err *e);
/* Takes in the specifications that version 8 kept beside each attempt. */
int specs_build(struct greta_db *db, struct greta_err *e);

#endif
