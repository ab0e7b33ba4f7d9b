/* attempts_internal: an attempt's state as its events find it. Not for other folders. */
#ifndef DB_ATTEMPTS_INTERNAL_H
#define DB_ATTEMPTS_INTERNAL_H

#include "db/attempts.h"
#include "db/internal.h"

struct attempt_head {
	int64_t id, job_id, committed_seq;
	bool reported;      /* its node has said how it ended */
	bool log_is_done, telemetry_is_done; /* there is nothing to seal any more */
};

int attempt_head_load(struct greta_db *db, int64_t attempt_id, struct attempt_head *out, struct greta_err *e);

/* Writes how it ended: columns, samples, devices, what counts; seals its log and telemetry. committed_seq comes with
 * it. In the caller's transaction. */
int attempt_end(struct greta_db *db, const struct attempt_head *h, const struct greta_end *end, int64_t committed_seq,
		struct greta_applied *out, struct greta_err *e);

/* EPROTO for samples that can't be told apart. */
int attempt_check_samples(const struct greta_samples *samples, struct greta_err *e);

/* Build and devices, as STARTED and OUTCOME both tell them. A build that the campaign names is known by that name, whatever
 * its program hashes to. */
int attempt_build_id(struct greta_db *db, int64_t attempt_id, const char *build_sha256, const char *engine_sha256,
		     int64_t *build_id, struct greta_err *e); /* 0: not said */
int attempt_add_device(struct greta_db *db, int64_t attempt_id, const char *uuid, struct greta_err *e);

#endif
