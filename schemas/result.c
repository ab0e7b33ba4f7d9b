/* Samples, the progress line, and the judge. The adapters are in adapter.c. */
#include "schemas/result.h"
#include "base/mem.h"
#include "base/str.h"
#include "schemas/json.h"
#include "schemas/shapes.h"
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DECODE_MIN_S 1e-6 /* engines that decode nothing print a clock's noise */
#define WALL_SLACK 1.01	  /* the engine's clock against the supervisor's */
#define WALL_SLACK_S 0.05

/* ---- progress */

int greta_progress_parse(const char *line, size_t n, struct greta_progress *out, struct greta_err *e)
{
	struct greta_json *j = greta_json_parse("progress", line, n, e);
	int rc;

	if (!j) {
		if (e)
			e->code = GRETA_EPROTO;
		return -1;
	}
	rc = fields_parse(&shape_progress, j, greta_json_root(j), out, e);
	greta_json_destroy(j);
	if (rc)
		return rc;
	if (out->phase == GRETA_PHASE_NONE)
		return greta_err_set(e, GRETA_EPROTO, "progress: \"phase\" is missing or of no known name");
	if (!(out->done >= 0) || !(out->total >= 0))
		return greta_err_set(e, GRETA_EPROTO, "progress: \"done\" and \"total\" must not be negative");
	return 0;
}

/* ---- samples */

static struct greta_metric *find_metric(const struct greta_sample *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++)
		if (greta_str_eq(s->metrics[i].name, name))
			return &s->metrics[i];
	return NULL;
}

static struct greta_metric *metric_for(struct greta_sample *s, const char *name)
{
	struct greta_metric *m = find_metric(s, name);

	if (m)
		return m;
	m = GRETA_PUSH(s->metrics, s->n, s->cap);
	m->name = greta_strdup(name);
	return m;
}

const struct greta_metric *greta_sample_get(const struct greta_sample *s, const char *name)
{
	return find_metric(s, name);
}

double greta_sample_number(const struct greta_sample *s, const char *name)
{
	const struct greta_metric *m = find_metric(s, name);

	return m && !m->text ? m->value : NAN;
}

void greta_sample_set_number(struct greta_sample *s, const char *name, double value)
{
	struct greta_metric *m = metric_for(s, name);

	free(m->text);
	m->text = NULL;
	m->value = value;
}

void greta_sample_set_text(struct greta_sample *s, const char *name, const char *text)
{
	struct greta_metric *m = metric_for(s, name);

	free(m->text);
	m->text = greta_strdup(text);
	m->value = NAN;
}

void greta_sample_release(struct greta_sample *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->metrics[i].name);
		free(s->metrics[i].text);
	}
	free(s->metrics);
	*s = (struct greta_sample){0};
}

void greta_samples_release(struct greta_samples *v)
{
	for (size_t i = 0; i < v->n; i++)
		greta_sample_release(&v->items[i]);
	free(v->items);
	*v = (struct greta_samples){0};
}

static bool usable_name(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)name[i] <= 0x20 || name[i] == 0x7f)
			return false;
	return n > 0 && n <= GRETA_METRIC_NAME_MAX;
}

/* Cut at a character's boundary. */
static void set_bounded_text(struct greta_sample *s, const char *name, const char *text)
{
	size_t n = strlen(text);
	char *cut;

	if (n > GRETA_METRIC_TEXT_MAX)
		for (n = GRETA_METRIC_TEXT_MAX; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80;)
			n--;
	cut = greta_strndup(text, n);
	greta_sample_set_text(s, name, cut);
	free(cut);
}

static void set_reading(struct greta_sample *s, const struct greta_json_val *v)
{
	const char *name = greta_json_key(v), *text;
	double number;
	bool flag;

	if (!greta_json_str(v, &text))
		set_bounded_text(s, name, text);
	else if (!greta_json_bool(v, &flag))
		greta_sample_set_number(s, name, flag);
	else if (!greta_json_f64(v, &number) &&
		 !(greta_str_eq(name, "decode_s") && number >= 0 && number < DECODE_MIN_S))
		greta_sample_set_number(s, name, number);
}

void greta_sample_read(struct greta_sample *out, const struct greta_json_val *object, struct greta_buf *why)
{
	size_t left_out = 0;

	for (const struct greta_json_val *v = greta_json_first(object); v; v = greta_json_next(v)) {
		if (greta_str_eq(greta_json_key(v), "sample"))
			continue;
		if (usable_name(greta_json_key(v)) && out->n < GRETA_METRICS_MAX)
			set_reading(out, v);
		else
			left_out++;
	}
	if (left_out && why)
		greta_buf_addf(
			why, "%s%zu readings left out (names of up to %d characters without spaces, up to %d of them)",
			why->len ? "; " : "", left_out, GRETA_METRIC_NAME_MAX, GRETA_METRICS_MAX);
}

/* ---- judge */

struct judging {
	const struct greta_samples *samples;
	const struct greta_contract *c;
	struct greta_buf *why;
};

/* One line of reasons; the first one is the verdict's, so nothing follows it. */
__attribute__((format(printf, 2, 3))) static bool invalid(const struct judging *j, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	greta_buf_vaddf(j->why, fmt, ap);
	va_end(ap);
	return false;
}

static bool enough_samples(const struct judging *j)
{
	int64_t timed = 0, expected = j->c->samples;

	for (size_t i = 0; i < j->samples->n; i++)
		timed += j->samples->items[i].sample_no > 0;
	if (timed == 0)
		return invalid(j, "no result: the engine reported no timed sample, expected %" PRId64,
			       expected > 0 ? expected : 1);
	if (expected > 0 && timed != expected)
		return invalid(j, "%" PRId64 " timed samples, expected %" PRId64, timed, expected);
	return true;
}

static bool finite_readings(const struct judging *j, const struct greta_sample *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct greta_metric *m = &s->metrics[i];

		if (!m->text && !isfinite(m->value))
			return invalid(j, "sample %" PRId64 ": %s is not a finite number", s->sample_no, m->name);
	}
	return true;
}

static bool positive_prefill(const struct judging *j, const struct greta_sample *s)
{
	const struct greta_metric *m = greta_sample_get(s, "prefill_s");

	if (!m)
		return invalid(j, "sample %" PRId64 ": prefill_s is missing", s->sample_no);
	if (m->text)
		return invalid(j, "sample %" PRId64 ": prefill_s is \"%s\", expected seconds", s->sample_no, m->text);
	if (m->value <= 0)
		return invalid(j, "sample %" PRId64 ": prefill_s is %.9g, expected more than 0", s->sample_no,
			       m->value);
	return true;
}

static bool all_tokens(const struct judging *j, const struct greta_sample *s)
{
	const struct greta_metric *m = greta_sample_get(s, "prompt_tokens");

	if (!m || j->c->context <= 0)
		return true;
	if (m->text)
		return invalid(j, "sample %" PRId64 ": prompt_tokens is \"%s\", expected %" PRId64, s->sample_no,
			       m->text, j->c->context);
	if (m->value != (double)j->c->context)
		return invalid(j, "sample %" PRId64 ": %.17g tokens prefilled, %" PRId64 " asked", s->sample_no,
			       m->value, j->c->context);
	return true;
}

static bool same_value(const struct greta_metric *m, const char *expected)
{
	double number;

	if (m->text)
		return greta_str_eq(m->text, expected);
	return !greta_str_f64(expected, &number) && number == m->value;
}

static bool as_expected(const struct judging *j, const struct greta_sample *s)
{
	for (size_t i = 0; i < j->c->n_expect; i++) {
		const struct greta_expect *x = &j->c->expect[i];
		const struct greta_metric *m = greta_sample_get(s, x->field);

		if (!m)
			return invalid(j, "sample %" PRId64 ": %s is not said, expected %s", s->sample_no, x->field,
				       x->value);
		if (!same_value(m, x->value) && m->text)
			return invalid(j, "sample %" PRId64 ": %s is %s, expected %s", s->sample_no, x->field, m->text,
				       x->value);
		if (!same_value(m, x->value))
			return invalid(j, "sample %" PRId64 ": %s is %.9g, expected %s", s->sample_no, x->field,
				       m->value, x->value);
	}
	return true;
}

/* A phase's seconds, 0 when not said. */
static double phase_s(const struct greta_sample *s, const char *name)
{
	double v = greta_sample_number(s, name);

	return isfinite(v) ? v : 0;
}

static bool no_negative_phase(const struct judging *j, const struct greta_sample *s)
{
	static const char *const phases[] = {"model_load_s", "tokenize_s", "decode_s"};

	for (size_t i = 0; i < GRETA_COUNT(phases); i++)
		if (phase_s(s, phases[i]) < 0)
			return invalid(j, "sample %" PRId64 ": %s is %.9g, expected no negative time", s->sample_no,
				       phases[i], phase_s(s, phases[i]));
	return true;
}

/* Loading and tokenizing happen once a process, and may be repeated in every sample's line. */
static bool fits_wall(const struct judging *j)
{
	double load = 0, tokenize = 0, sum = 0;

	if (!(j->c->wall_s > 0))
		return true;
	for (size_t i = 0; i < j->samples->n; i++) {
		const struct greta_sample *s = &j->samples->items[i];

		load = fmax(load, phase_s(s, "model_load_s"));
		tokenize = fmax(tokenize, phase_s(s, "tokenize_s"));
		sum += phase_s(s, "prefill_s") + phase_s(s, "decode_s");
	}
	sum += load + tokenize;
	if (sum > j->c->wall_s * WALL_SLACK + WALL_SLACK_S)
		return invalid(j, "the phases add up to %.6g s, more than the %.6g s that the process ran", sum,
			       j->c->wall_s);
	return true;
}

static bool said_all_tokens(const struct judging *j)
{
	for (size_t i = 0; i < j->samples->n; i++)
		if (j->samples->items[i].sample_no > 0 && !greta_sample_get(&j->samples->items[i], "prompt_tokens"))
			return false;
	return j->c->context > 0;
}

enum greta_outcome greta_result_judge(const struct greta_samples *samples, const struct greta_contract *c,
				      int *tokens_verified, struct greta_buf *why)
{
	struct judging j = {samples, c, why};

	*tokens_verified = 0;
	if (!enough_samples(&j))
		return GRETA_OUTCOME_INVALID;
	for (size_t i = 0; i < samples->n; i++) {
		const struct greta_sample *s = &samples->items[i];

		if (s->sample_no <= 0) /* the warm-up counts against the wall only */
			continue;
		if (!finite_readings(&j, s) || !positive_prefill(&j, s) || !no_negative_phase(&j, s) ||
		    !all_tokens(&j, s) || !as_expected(&j, s))
			return GRETA_OUTCOME_INVALID;
	}
	if (!fits_wall(&j))
		return GRETA_OUTCOME_INVALID;
	*tokens_verified = said_all_tokens(&j);
	return GRETA_OUTCOME_GOOD;
}
