#include "agent/telemetry.h"
#include "agent/files.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const host_columns[] = {"cpu_percent", "mem_available_bytes", "load1", "engine_rss_bytes",
					   "engine_cpu_percent"};
static const char *const gpu_columns[] = {"busy_percent", "mem_busy_percent", "vram_bytes", "power_w",
					  "temp_c",       "sclk_mhz",         "mclk_mhz",   "throttle"};

static const enum greta_phase place_columns[] = {GRETA_PHASE_LOAD, GRETA_PHASE_PREFILL, GRETA_PHASE_DECODE};

#define N_HOST GRETA_COUNT(host_columns)
#define N_GPU GRETA_COUNT(gpu_columns)

void telemetry_init(struct telemetry *t, const char *proc, size_t n_gpus, double interval_s, int64_t now_ns)
{
	*t = (struct telemetry){.proc = proc, .n_gpus = n_gpus < GAUGE_MAX ? n_gpus : GAUGE_MAX, .begun_ns = now_ns};
	t->n_columns = N_HOST + t->n_gpus * N_GPU;
	t->interval_ns = (int64_t)(interval_s * (double)GRETA_NS_PER_S);
	t->last_row_ns = INT64_MIN / 2;
}

static void column_name(size_t i, char out[48])
{
	if (i < N_HOST)
		snprintf(out, 48, "%s", host_columns[i]);
	else
		snprintf(out, 48, "gpu%zu.%s", (i - N_HOST) / N_GPU, gpu_columns[(i - N_HOST) % N_GPU]);
}

/* reading the host */

/* "cpu  user nice system idle iowait irq softirq steal ...", in ticks of all CPUs. */
static double cpu_percent(struct telemetry *t)
{
	char text[512];
	long long v[8] = {0};
	if (file_text(t->proc, "stat", text, sizeof text) != 0 ||
	    sscanf(text, "cpu %lld %lld %lld %lld %lld %lld %lld %lld", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) < 4)
		return NAN;
	int64_t total = 0;
	for (int i = 0; i < 8; i++)
		total += v[i];
	int64_t busy = total - v[3] - v[4], was_busy = t->host_busy, was_total = t->host_total;
	t->host_busy = busy;
	t->host_total = total;
	return was_total && total > was_total ? 100.0 * (double)(busy - was_busy) / (double)(total - was_total) : NAN;
}

static double mem_available(const struct telemetry *t)
{
	char text[4096];
	int64_t kb;
	if (file_text(t->proc, "meminfo", text, sizeof text) != 0 || file_field_i64(text, "MemAvailable", &kb) != 0)
		return NAN;
	return (double)kb * 1024;
}

static double load1(const struct telemetry *t)
{
	char text[128];
	return file_text(t->proc, "loadavg", text, sizeof text) == 0 ? strtod(text, NULL) : NAN;
}

static double engine_cpu_percent(struct telemetry *t, int64_t now_ns, int64_t ticks)
{
	int64_t was_ticks = t->engine_ticks, was_ns = t->engine_t_ns;
	t->engine_ticks = ticks;
	t->engine_t_ns = now_ns;
	if (ticks < was_ticks || was_ns == 0 || now_ns <= was_ns)
		return NAN;
	double s = (double)(now_ns - was_ns) / (double)GRETA_NS_PER_S;
	return 100.0 * (double)(ticks - was_ticks) / (double)sysconf(_SC_CLK_TCK) / s;
}

static void fill_gpu(const struct gauge_gpu *g, double *to)
{
	const double values[N_GPU] = {g->busy,   g->mem_busy, g->vram_bytes, g->power_w,
				      g->temp_c, g->sclk_mhz, g->mclk_mhz,   g->throttle};
	memcpy(to, values, sizeof values);
}

static void fill_row(struct telemetry *t, int64_t now_ns, const struct gauge_record *gpu, int64_t engine_ticks,
		     int64_t engine_rss_bytes, double *row)
{
	row[0] = cpu_percent(t);
	row[1] = mem_available(t);
	row[2] = load1(t);
	row[3] = engine_rss_bytes >= 0 ? (double)engine_rss_bytes : NAN;
	row[4] = engine_cpu_percent(t, now_ns, engine_ticks);
	for (size_t i = N_HOST; i < t->n_columns; i++)
		row[i] = NAN;
	for (size_t i = 0; gpu && i < t->n_gpus && (int32_t)i < gpu->n; i++)
		fill_gpu(&gpu->gpus[i], &row[N_HOST + i * N_GPU]);
}

/* telling */

static double percent_of(const struct telemetry_place *place, enum greta_phase phase)
{
	return place->phase == phase && place->total > 0 ? 100 * place->done / place->total : NAN;
}

static void add_row(struct telemetry *t, int64_t now_ns, const double *row, const struct telemetry_place *place)
{
	struct greta_jsonw w = greta_jsonw(&t->rows);
	w.comma = t->n_rows > 0;
	greta_jsonw_array(&w, NULL);
	greta_jsonw_i64(&w, NULL, now_ns);
	for (size_t i = 0; i < t->n_columns; i++)
		greta_jsonw_f64(&w, NULL, row[i]);
	for (size_t i = 0; i < GRETA_COUNT(place_columns); i++)
		greta_jsonw_f64(&w, NULL, percent_of(place, place_columns[i]));
	greta_jsonw_end_array(&w);
	t->n_rows++;
}

/* At the first row: an attempt that ends before does without its pages. */
static void make_ring(struct telemetry *t)
{
	t->ring = greta_alloc(TELEMETRY_BLACK_BOX_ROWS * (t->n_columns + 1) * sizeof *t->ring);
	t->places = greta_alloc(TELEMETRY_BLACK_BOX_ROWS * sizeof *t->places);
}

void telemetry_tick(struct telemetry *t, int64_t now_ns, const struct gauge_record *gpu, int64_t engine_ticks,
		    int64_t engine_rss_bytes, const struct telemetry_place *place)
{
	if (!t->ring)
		make_ring(t);
	double *slot = &t->ring[(size_t)(t->n_ring % TELEMETRY_BLACK_BOX_ROWS) * (t->n_columns + 1)];
	fill_row(t, now_ns, gpu, engine_ticks, engine_rss_bytes, slot + 1);
	t->places[t->n_ring % TELEMETRY_BLACK_BOX_ROWS] = *place;
	slot[0] = (double)(now_ns - t->begun_ns) / (double)GRETA_NS_PER_S;
	t->n_ring++;
	/* A tick that is a little early counts: else every second row would be missed. */
	if (t->interval_ns == 0 || now_ns - t->last_row_ns < t->interval_ns - t->interval_ns / 10)
		return;
	t->last_row_ns = now_ns;
	add_row(t, greta_clock_boot_ns(), slot + 1, place);
}

bool telemetry_event(struct telemetry *t, bool all, struct greta_buf *detail)
{
	char name[48];
	struct greta_jsonw w = greta_jsonw(detail);
	if (t->n_rows == 0 || (!all && t->n_rows < TELEMETRY_ROWS_PER_EVENT))
		return false;
	greta_jsonw_object(&w, NULL);
	greta_jsonw_array(&w, "columns");
	for (size_t i = 0; i < t->n_columns; i++) {
		column_name(i, name);
		greta_jsonw_str(&w, NULL, name);
	}
	for (size_t i = 0; i < GRETA_COUNT(place_columns); i++) {
		snprintf(name, sizeof name, "%s_percent", greta_phase_name(place_columns[i]));
		greta_jsonw_str(&w, NULL, name);
	}
	greta_jsonw_end_array(&w);
	cleanup_free char *rows = greta_format("[%s]", greta_buf_str(&t->rows));
	greta_jsonw_raw(&w, "rows", rows);
	greta_jsonw_end_object(&w);
	greta_buf_clear(&t->rows);
	t->n_rows = 0;
	return true;
}

void telemetry_black_box(const struct telemetry *t, struct greta_buf *out)
{
	char name[48];
	int64_t from = t->n_ring > TELEMETRY_BLACK_BOX_ROWS ? t->n_ring - TELEMETRY_BLACK_BOX_ROWS : 0;
	greta_buf_adds(out, "t_s");
	for (size_t i = 0; i < t->n_columns; i++) {
		column_name(i, name);
		greta_buf_addf(out, " %s", name);
	}
	greta_buf_adds(out, " phase done total silent_s");
	for (int64_t k = from; k < t->n_ring; k++) {
		const struct telemetry_place *place = &t->places[k % TELEMETRY_BLACK_BOX_ROWS];
		const double *row = &t->ring[(size_t)(k % TELEMETRY_BLACK_BOX_ROWS) * (t->n_columns + 1)];
		greta_buf_addf(out, "\n%.1f", row[0]);
		for (size_t i = 1; i <= t->n_columns; i++)
			greta_buf_addf(out, isnan(row[i]) ? " -" : " %.6g", row[i]);
		greta_buf_addf(out, " %s %g %g %.1f", greta_phase_name(place->phase), place->done, place->total, place->silent_s);
	}
	greta_buf_addc(out, '\n');
}

void telemetry_release(struct telemetry *t)
{
	greta_buf_release(&t->rows);
	free(t->ring);
	free(t->places);
	*t = (struct telemetry){0};
}
