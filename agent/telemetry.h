/* telemetry: what host and GPUs did while the engine ran: rows for the journal at the interval asked for, and a black
 * box of the last minutes, one row a second with the engine's progress beside it, that is written only when an attempt
 * does not end well.
 *
 * Columns: cpu_percent mem_available_bytes load1 engine_rss_bytes engine_cpu_percent, then for GPU k
 * gpuK.busy_percent gpuK.mem_busy_percent gpuK.vram_bytes gpuK.power_w gpuK.temp_c gpuK.sclk_mhz gpuK.mclk_mhz
 * gpuK.throttle; in the journal also load_percent prefill_percent decode_percent, of which that of the phase at hand says
 * how much of its units (bytes, layers, tokens) is done. A reading that could not be had is null. */
#ifndef AGENT_TELEMETRY_H
#define AGENT_TELEMETRY_H

#include "agent/gauge.h"
#include "base/buf.h"
#include "schemas/result.h"

#define TELEMETRY_ROWS_PER_EVENT 16
#define TELEMETRY_BLACK_BOX_ROWS 600

/* How far the engine was. */
struct telemetry_place {
	enum greta_phase phase;
	double done, total, silent_s;   /* silent: since its last progress */
};

struct telemetry {
	const char *proc;
	size_t n_gpus, n_columns;
	int64_t interval_ns;        /* 0: no events, only the black box */
	int64_t last_row_ns;
	/* for differences */
	int64_t host_busy, host_total;   /* ticks of /proc/stat */
	int64_t engine_ticks, engine_t_ns;
	/* rows not yet told, as JSON */
	struct greta_buf rows;
	int n_rows;
	/* the black box: row k at k % TELEMETRY_BLACK_BOX_ROWS, [t_ns as double seconds since the start, values...] */
	double *ring;
	struct telemetry_place *places; /* likewise */
	int64_t n_ring, begun_ns;
};

void telemetry_init(struct telemetry *t, const char *proc, size_t n_gpus, double interval_s, int64_t now_ns);

/* Once a tick. gpu: NULL where there is none or nothing fresh. engine_ticks, engine_rss: of its processes; -1: unknown. */
void telemetry_tick(struct telemetry *t, int64_t now_ns, const struct gauge_record *gpu, int64_t engine_ticks,
		    int64_t engine_rss_bytes, const struct telemetry_place *place);

/* An event's detail when enough rows wait, or all: when any do. False: nothing to tell. */
bool telemetry_event(struct telemetry *t, bool all, struct greta_buf *detail);

/* The black box as text: a line of column names, then a line a row, oldest first; phase, done, total and silent_s last. */
void telemetry_black_box(const struct telemetry *t, struct greta_buf *out);

void telemetry_release(struct telemetry *t);

#endif
