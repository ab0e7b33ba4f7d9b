/* result: what an engine says of itself: progress lines on its pipe, result lines on its stdout, and the adapters that
 * read engines which speak otherwise. Pure: fed with bytes, by the supervisor while it runs and by `import` later. */
#ifndef SCHEMAS_RESULT_H
#define SCHEMAS_RESULT_H

#include "base/buf.h"
#include "schemas/campaign.h"
#include "schemas/json.h"
#include "schemas/outcome.h"
#include <stdbool.h>
#include <stdint.h>

#define GRETA_METRICS_MAX 64      /* readings of a sample; more are left out */
#define GRETA_METRIC_NAME_MAX 64
#define GRETA_METRIC_TEXT_MAX 256 /* longer texts are cut */
#define GRETA_SAMPLES_MAX 256     /* of one attempt, and GRETA_SAMPLES_BYTES_MAX of readings in all */
#define GRETA_SAMPLES_BYTES_MAX (96 * 1024)
#define GRETA_RESULTS_MAX 10000   /* result lines that are looked at; who prints more contradicts himself */
#define GRETA_RESULT_LINE_MAX (1024 * 1024) /* a longer line of output is skipped */

struct greta_progress {
	enum greta_phase phase;
	double done, total;    /* total 0: unknown */
	char unit[16];         /* "layer" */
	double t_s;            /* the engine's own clock, since its start; NAN: not said */
	char at[96];           /* breadcrumb: "layer 7 attn q_lds"; "" if not said */
};

/* One line without its newline. 0, or -1 with EPROTO for what is no progress line. */
int greta_progress_parse(const char *line, size_t n, struct greta_progress *out, struct greta_err *e);

/* One named reading of a sample: a number, or a text when `text` is not NULL. */
struct greta_metric {
	char *name;            /* "prefill_s", "attn_impl" */
	double value;
	char *text;
};

struct greta_sample {
	int64_t sample_no;     /* 0: warm-up; timed ones from 1 */
	struct greta_metric *metrics;
	size_t n, cap;
};

struct greta_samples {
	struct greta_sample *items;
	size_t n, cap;
};

const struct greta_metric *greta_sample_get(const struct greta_sample *s, const char *name); /* NULL: not said */
double greta_sample_number(const struct greta_sample *s, const char *name);  /* NAN: not said */
void greta_sample_set_number(struct greta_sample *s, const char *name, double value);
void greta_sample_set_text(struct greta_sample *s, const char *name, const char *text);
void greta_sample_release(struct greta_sample *s);
void greta_samples_release(struct greta_samples *v);

/* The readings of one result object: its top-level numbers, strings and booleans (as 0 and 1). "sample" is left to the
 * caller; a decode_s under a microsecond means "not measured" and is dropped. What was left out is said in *why. */
void greta_sample_read(struct greta_sample *out, const struct greta_json_val *object, struct greta_buf *why);

/* An incremental reader of an engine's stdout: feed it bytes as they come, in any pieces. Memory is bounded. */
struct greta_result_reader;
struct greta_result_reader *greta_result_reader_create(enum greta_adapter adapter);
void greta_result_reader_feed(struct greta_result_reader *r, const char *bytes, size_t n);
/* Ends the stream. Fills out with the samples that were readable; complaints (an unreadable result, the same sample
 * twice) go into *why, on one line. *contradicts is set when a sample was given twice with different values, when the
 * log and a result disagree on the tokens, or when there were more than GRETA_RESULTS_MAX results: then none counts. */
void greta_result_reader_finish(struct greta_result_reader *r, struct greta_samples *out, struct greta_buf *why,
				bool *contradicts);
void greta_result_reader_destroy(struct greta_result_reader *r);

/* What must hold for an attempt that exited 0. */
struct greta_contract {
	int64_t context;            /* tokens asked */
	int64_t samples;            /* timed samples expected */
	double wall_s;              /* supervised wall time of the process; 0: unknown (an import) */
	const struct greta_expect *expect;
	size_t n_expect;
};

/* tokens_verified: +1 the engine said it prefilled as many as asked, 0 it did not say. Returns GRETA_OUTCOME_GOOD, or
 * GRETA_OUTCOME_INVALID with one line in *why that names the field, what it says and what was expected. */
enum greta_outcome greta_result_judge(const struct greta_samples *samples, const struct greta_contract *c,
				      int *tokens_verified, struct greta_buf *why);

#endif
