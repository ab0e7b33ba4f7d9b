#include "schemas/shapes.h"
#include "schemas/msg.h"
#include <math.h>

/* ---- what an attempt is told to do */

static const struct field phase_limit_fields[] = {
	{F_F64(struct greta_phase_limit, silence_s), .mostly_zero = true},
	{F_F64(struct greta_phase_limit, limit_s), .mostly_zero = true},
	{F_F64(struct greta_phase_limit, bound_s), .mostly_zero = true},
	{F_CHARS(struct greta_phase_limit, basis)},
	{0},
};
static const struct shape shape_phase_limit = {"phases", sizeof(struct greta_phase_limit), phase_limit_fields, NULL};

static const struct field expect_fields[] = {
	{F_STR(struct greta_expect, field), .required = true},
	{F_STR(struct greta_expect, value), .required = true},
	{0},
};
static const struct shape shape_expect = {"expect", sizeof(struct greta_expect), expect_fields, NULL};

static const struct field spec_fields[] = {
	{F_UUID(struct greta_spec, attempt), .required = true},
	{F_I64(struct greta_spec, repeat)},
	{F_I64(struct greta_spec, try_no)}, /* greta_spec_alike: what follows is the same for all attempts of a cell */
	{F_STR(struct greta_spec, campaign)},
	{F_STR(struct greta_spec, variant)},
	{F_I64(struct greta_spec, context)},
	{F_STRS(struct greta_spec, argv), .required = true},
	{F_STRS(struct greta_spec, env)},
	{F_STRS(struct greta_spec, unstored)},
	{F_STR(struct greta_spec, cwd)},
	{F_STR(struct greta_spec, model)},
	{F_ENUM(struct greta_spec, adapter, greta_adapter, words_adapter)},
	{F_I64(struct greta_spec, samples)},
	{F_I64(struct greta_spec, warmup)},
	{F_LIST(struct greta_spec, expect, greta_expect, shape_expect)},
	{F_ENUM(struct greta_spec, slot, greta_slot_kind, words_slot)},
	{F_I64(struct greta_spec, n_gpus)},
	{F_I64(struct greta_spec, cpus)},
	{F_STRS(struct greta_spec, devices)},
	{F_F64(struct greta_spec, slot_wait_s)},
	{F_F64(struct greta_spec, wall_s)},
	{F_F64(struct greta_spec, term_grace_s)},
	{.name = "phases",
	 .kind = FIELD_BY_NAME,
	 .offset = offsetof(struct greta_spec, phases),
	 .shape = &shape_phase_limit,
	 .words = &words_phase},
	{F_ENUM(struct greta_spec, on_slow, greta_on_slow, words_on_slow)},
	{F_F64(struct greta_spec, telemetry_interval_s)},
	{F_I64(struct greta_spec, log_limit_bytes)},
	{F_BOOL(struct greta_spec, keep_logits)},
	{F_BOOL(struct greta_spec, keep_kernels)},
	{F_BOOL(struct greta_spec, no_spill)},
	{F_STRS(struct greta_spec, verify)},
	{0},
};
const struct shape shape_spec = {"spec", sizeof(struct greta_spec), spec_fields, NULL};

/* ---- what a node says of itself */

static const struct field device_fields[] = {
	{F_STR(struct greta_device, uuid)},
	{F_STR(struct greta_device, kind)},
	{F_STR(struct greta_device, name)},
	{F_STR(struct greta_device, arch)},
	{F_STR(struct greta_device, path)},
	{F_STR(struct greta_device, pci)},
	{F_I64(struct greta_device, vram_bytes)},
	{F_I64(struct greta_device, compute_units)},
	{0},
};
static const struct shape shape_device = {"device", sizeof(struct greta_device), device_fields, NULL};

static const struct field fact_fields[] = {
	{F_STR(struct greta_fact, key), .required = true},
	{F_STR(struct greta_fact, value)},
	{0},
};
static const struct shape shape_fact = {"fact", sizeof(struct greta_fact), fact_fields, NULL};

static const struct field facts_fields[] = {
	{F_STR(struct greta_facts, node_id), .required = true},
	{F_STR(struct greta_facts, hostname)},
	{F_STR(struct greta_facts, machine_id)},
	{F_STR(struct greta_facts, boot_id)},
	{F_I64(struct greta_facts, n_cpus)},
	{F_I64(struct greta_facts, mem_bytes)},
	{F_I64(struct greta_facts, spool_free_bytes)},
	{F_BOOL(struct greta_facts, survives_logout)},
	{F_STR(struct greta_facts, survives_why)},
	{F_LIST(struct greta_facts, devices, greta_device, shape_device)},
	{F_LIST(struct greta_facts, env, greta_fact, shape_fact)},
	{0},
};
const struct shape shape_facts = {"facts", sizeof(struct greta_facts), facts_fields, NULL};

/* ---- how it went */

static const struct field progress_fields[] = {
	{F_ENUM_OPEN(struct greta_progress, phase, greta_phase, words_phase)},
	{F_F64(struct greta_progress, done)},
	{F_F64(struct greta_progress, total)},
	{F_CHARS(struct greta_progress, unit)},
	{FIELD_OF(struct greta_progress, t_s, "t", FIELD_F64, double)},
	{F_CHARS(struct greta_progress, at)},
	{0},
};

static void progress_init(void *obj)
{
	struct greta_progress *p = obj;

	p->t_s = NAN;
}

const struct shape shape_progress = {"progress", sizeof(struct greta_progress), progress_fields, progress_init};

static const struct field sample_fields[] = {
	{FIELD_OF(struct greta_sample, sample_no, "sample", FIELD_I64, int64_t), .required = true},
	{FIELD_OF(struct greta_sample, metrics, "metrics", FIELD_METRICS, struct greta_metric *),
	 .n_offset = offsetof(struct greta_sample, n), .cap_offset = offsetof(struct greta_sample, cap)},
	{0},
};
static const struct shape shape_sample = {"sample", sizeof(struct greta_sample), sample_fields, NULL};

static const struct field end_fields[] = {
	{F_ENUM_OPEN(struct greta_end, outcome, greta_outcome, words_outcome), .required = true},
	{F_STR(struct greta_end, cause)},
	{F_STR(struct greta_end, reason)},
	{F_INT(struct greta_end, exit_code)},
	{F_INT(struct greta_end, signal)},
	{F_F64(struct greta_end, wall_s)},
	{F_F64(struct greta_end, cpu_user_s)},
	{F_F64(struct greta_end, cpu_system_s)},
	{F_I64(struct greta_end, peak_rss_bytes)},
	{F_INT(struct greta_end, tokens_verified)},
	{FIELD_OF(struct greta_end, samples.items, "samples", FIELD_LIST, struct greta_sample *),
	 .n_offset = offsetof(struct greta_end, samples.n), .cap_offset = offsetof(struct greta_end, samples.cap),
	 .shape = &shape_sample},
	{F_OBJECT(struct greta_end, progress, greta_progress, shape_progress)},
	{F_I64(struct greta_end, progress_dropped)},
	{F_I64(struct greta_end, log_bytes)},
	{F_I64(struct greta_end, log_dropped)},
	{FIELD_OF(struct greta_end, class_, "class", FIELD_ENUM_OPEN, enum greta_class), .words = &words_class},
	{F_ENUM_OPEN(struct greta_end, certainty, greta_certainty, words_certainty)},
	{F_STR(struct greta_end, blamed)},
	{F_STR(struct greta_end, blind)},
	{F_STR(struct greta_end, engine_sha256)},
	{F_STR(struct greta_end, build_sha256)},
	{F_STRS(struct greta_end, devices)},
	{F_I64(struct greta_end, queued_wall_ns)},
	{F_I64(struct greta_end, started_wall_ns)},
	{F_I64(struct greta_end, finished_wall_ns)},
	{F_BOOL(struct greta_end, survivors)},
	{F_STRS(struct greta_end, quarantined)},
	{0},
};

static void end_init(void *obj)
{
	struct greta_end *end = obj;

	end->exit_code = -1;
	end->wall_s = end->cpu_user_s = end->cpu_system_s = NAN;
	end->peak_rss_bytes = -1;
	progress_init(&end->progress);
}

const struct shape shape_end = {"outcome", sizeof(struct greta_end), end_fields, end_init};

static const struct field event_fields[] = {
	{F_UUID(struct greta_event, attempt), .required = true},
	{F_I64(struct greta_event, seq), .required = true},
	{F_ENUM_OPEN(struct greta_event, kind, greta_event_kind, words_event), .required = true},
	{F_I64(struct greta_event, boot_ns)},
	{F_I64(struct greta_event, wall_ns)},
	{F_RAW(struct greta_event, detail)},
	{0},
};
const struct shape shape_event = {"event", sizeof(struct greta_event), event_fields, NULL};

static const struct field held_fields[] = {
	{F_UUID(struct greta_held, attempt), .required = true},
	{F_UUID(struct greta_held, db)},
	{F_I64(struct greta_held, last_seq)},
	{F_I64(struct greta_held, acked_seq)},
	{F_BOOL(struct greta_held, running)},
	{F_BOOL(struct greta_held, finished)},
	{0},
};
const struct shape shape_held = {"attempts", sizeof(struct greta_held), held_fields, NULL};

static const struct field quarantine_fields[] = {
	{F_STR(struct greta_quarantine, slot), .required = true},
	{F_STR(struct greta_quarantine, reason)},
	{F_I64(struct greta_quarantine, since_wall_ns)},
	{0},
};
const struct shape shape_quarantine = {"quarantine", sizeof(struct greta_quarantine), quarantine_fields, NULL};
