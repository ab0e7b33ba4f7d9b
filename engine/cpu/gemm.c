#include "engine/cpu/gemm.h"
#include <string.h>

/* Below this many tokens each weight is used so rarely that unpacking it costs more than it saves. */
#define GEMV_MAX_TOKENS 3

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

enum gemm_kind gemm_kind(const struct cpu *cpu, const struct weight *w)
{
	bool integer = !cpu->float_only && cpu->k->mr_i16 && cpu->k->takes_i16(w->traits->type);
	return integer ? GEMM_I16 : GEMM_F32;
}

static bool uses_gemv(const struct cpu *cpu, int n)
{
	return n <= GEMV_MAX_TOKENS && !cpu->deterministic;
}

/* --- panels: how n rows are divided ------------------------------------------------------------------------------- */

struct panels {
	int n, n_panels;
};

static struct panels panels_of(const struct cpu *cpu, int n, enum gemm_kind kind)
{
	int mr = uses_gemv(cpu, n) ? 1 : kind == GEMM_I16 ? cpu->k->mr_i16 : cpu->k->mr;
	return (struct panels){.n = n, .n_panels = (n + mr - 1) / mr};
}

static int panel_row(const struct panels *p, int panel) /* its first row; of panel n_panels: n */
{
	int base = p->n / p->n_panels, longer = p->n % p->n_panels;
	return panel * base + (panel < longer ? panel : longer);
}

/* --- packing activations ------------------------------------------------------------------------------------------ */

struct pack_job {
	const struct cpu *cpu;
	struct panels panels;
	enum gemm_kind kind;
	const float *x, *norm;
	size_t ldx;
	float eps;
	const struct acts *a;
};

static void pack_task(void *arg, int64_t panel, int thread)
{
	const struct pack_job *j = arg;
	const struct cpu_kernels *kern = j->cpu->k;
	size_t row = (size_t)panel_row(&j->panels, (int)panel), k = j->a->k, ldx = j->ldx;
	int rows = panel_row(&j->panels, (int)panel + 1) - (int)row;
	const float *x = j->x + row * ldx;

	if (j->norm) {
		float *tmp = j->cpu->scratch[thread];
		for (int r = 0; r < rows; r++)
			kern->rms_norm(x + (size_t)r * ldx, j->norm, j->eps, k, tmp + (size_t)r * k);
		x = tmp;
		ldx = k;
	}
	if (j->kind == GEMM_F32)
		kern->pack_x(x, ldx, rows, k, j->a->f32 + row * k);
	else
		kern->pack_x_i16(x, ldx, rows, k, j->a->i16 + row * k, j->a->sums + row * (k / GEMM_GROUP), j->a->step + row);
}

void gemm_pack(const struct cpu *cpu, unsigned kinds, const float *x, size_t ldx, const float *norm, float eps, struct acts *a)
{
	for (enum gemm_kind kind = GEMM_F32; kind <= GEMM_I16; kind++) {
		if (!(kinds & kind))
			continue;
		struct pack_job j = {.cpu = cpu, .panels = panels_of(cpu, a->n, kind), .kind = kind, .x = x, .ldx = ldx,
				     .norm = norm, .eps = eps, .a = a};
		pool_run(cpu->pool, j.panels.n_panels, pack_task, &j);
	}
}

/* --- products ----------------------------------------------------------------------------------------------------- */

struct part { /* outputs out0 .. out0 + n_out - 1 of one weight, for all rows of X */
	const struct cpu *cpu;
	const struct acts *x;
	const struct weight *w;
	size_t out0, n_out;
	float *y; /* of row 0, output out0 */
	size_t ldy;
	bool add;
	void *strip; /* scratch for unpacked weights */
};

static const char *part_rows(const struct part *p, size_t i) /* weight row out0 + i */
{
	return (const char *)p->w->data + (p->out0 + i) * p->w->row_bytes;
}

static void part_f32(const struct part *p)
{
	const struct cpu_kernels *kern = p->cpu->k;
	struct panels panels = panels_of(p->cpu, p->x->n, GEMM_F32);
	size_t nr = (size_t)kern->nr, n_in = p->w->n_in;
	float *strip = p->strip;

	for (size_t k0 = 0; k0 < n_in; k0 += GEMM_KC) {
		size_t kc = min_size(GEMM_KC, n_in - k0);
		for (size_t i = 0; i < p->n_out; i += nr)
			kern->pack_w(p->w->traits, part_rows(p, i), p->w->row_bytes, (int)min_size(nr, p->n_out - i), k0, kc,
				     strip + i * kc);
		for (int panel = 0; panel < panels.n_panels; panel++) {
			size_t row = (size_t)panel_row(&panels, panel);
			int rows = panel_row(&panels, panel + 1) - (int)row;
			const float *x = p->x->f32 + row * n_in + k0 * (size_t)rows;
			for (size_t i = 0; i < p->n_out; i += nr)
				kern->gemm_f32(rows, kc, x, strip + i * kc, p->y + row * p->ldy + i, p->ldy,
					       (int)min_size(nr, p->n_out - i), p->add || k0 > 0);
		}
	}
}

/* One strip of nr outputs at a time: 32 KB of integers stay in L1 while the panels stream past. */
static void strip_i16(const struct part *p, const struct panels *panels, size_t i, size_t k0, size_t kc)
{
	const struct cpu_kernels *kern = p->cpu->k;
	size_t nr = (size_t)kern->nr, n_groups = kc / GEMM_GROUP, n_in = p->w->n_in;
	int16_t *q = p->strip;
	float *scale = (float *)(void *)(q + nr * kc), *min = scale + nr * n_groups;
	struct gemm_i16 t = {.w = q, .scale = scale, .min = min, .n_groups = n_groups, .ldy = p->ldy, .add = p->add || k0 > 0,
			     .n_out = (int)min_size(nr, p->n_out - i)};

	if (!kern->pack_w_i16(p->w->traits, part_rows(p, i), p->w->row_bytes, t.n_out, k0, kc, q, scale, min))
		t.min = NULL;
	for (int panel = 0; panel < panels->n_panels; panel++) {
		size_t row = (size_t)panel_row(panels, panel);
		int rows = panel_row(panels, panel + 1) - (int)row;
		t.x = p->x->i16 + row * n_in + k0 * (size_t)rows;
		t.sums = p->x->sums + (row * n_in + k0 * (size_t)rows) / GEMM_GROUP;
		t.step = p->x->step + row;
		t.y = p->y + row * p->ldy + i;
		kern->gemm_i16(rows, &t);
	}
}

static void part_i16(const struct part *p)
{
	struct panels panels = panels_of(p->cpu, p->x->n, GEMM_I16);

	for (size_t i = 0; i < p->n_out; i += (size_t)p->cpu->k->nr)
		for (size_t k0 = 0; k0 < p->w->n_in; k0 += GEMM_KC)
			strip_i16(p, &panels, i, k0, min_size(GEMM_KC, p->w->n_in - k0));
}

static void part_gemv(const struct part *p, enum gemm_kind kind)
{
	const struct weight *w = p->w;
	size_t k = w->n_in;

	for (size_t r = 0; r < (size_t)p->x->n; r++) {
		float *y = p->y + r * p->ldy;
		if (kind == GEMM_F32)
			p->cpu->k->gemv(w->traits, part_rows(p, 0), w->row_bytes, p->n_out, k, p->x->f32 + r * k, y, p->add);
		else
			p->cpu->k->gemv_i16(w->traits, part_rows(p, 0), w->row_bytes, p->n_out, k, p->x->i16 + r * k,
					    p->x->sums + r * (k / GEMM_GROUP), p->x->step[r], y, p->add);
	}
}

static void add_bias(const struct part *p)
{
	for (size_t r = 0; p->w->bias && r < (size_t)p->x->n; r++)
		for (size_t i = 0; i < p->n_out; i++)
			p->y[r * p->ldy + i] += p->w->bias[p->out0 + i];
}

static void part_run(const struct part *p)
{
	enum gemm_kind kind = gemm_kind(p->cpu, p->w);

	if (uses_gemv(p->cpu, p->x->n))
		part_gemv(p, kind);
	else if (kind == GEMM_I16)
		part_i16(p);
	else
		part_f32(p);
	add_bias(p);
}

/* --- tasks -------------------------------------------------------------------------------------------------------- */

struct gemm_job {
	const struct cpu *cpu;
	const struct acts *x;
	const struct gemm_out *outs;
	size_t nc; /* outputs per task */
	const struct weight *gate, *up; /* of swiglu */
	float *packed, *rows;
};

/* Few enough that every thread finds work; whole register tiles. */
static size_t columns_per_task(const struct cpu *cpu, size_t n_out)
{
	size_t nr = (size_t)cpu->k->nr, share = n_out / (4 * (size_t)cpu->n_threads);

	share = (share + nr - 1) / nr * nr;
	return share < nr ? nr : min_size(share, GEMM_NC);
}

static size_t n_chunks(size_t n_out, size_t nc)
{
	return (n_out + nc - 1) / nc;
}

static void run_task(void *arg, int64_t item, int thread)
{
	const struct gemm_job *j = arg;
	const struct gemm_out *o = j->outs;
	size_t chunk = (size_t)item;

	for (; chunk >= n_chunks(o->w->n_out, j->nc); o++)
		chunk -= n_chunks(o->w->n_out, j->nc);
	size_t out0 = chunk * j->nc;
	const struct part p = {.cpu = j->cpu, .x = j->x, .w = o->w, .out0 = out0, .n_out = min_size(j->nc, o->w->n_out - out0),
			       .y = o->y + out0, .ldy = o->ldy, .add = o->add, .strip = j->cpu->scratch[thread]};
	part_run(&p);
}

void gemm_run(const struct cpu *cpu, const struct acts *x, const struct gemm_out *outs, int n_outs)
{
	struct gemm_job j = {.cpu = cpu, .x = x, .outs = outs};
	size_t total = 0, items = 0;

	for (int i = 0; i < n_outs; i++)
		total += outs[i].w->n_out;
	j.nc = columns_per_task(cpu, total);
	for (int i = 0; i < n_outs; i++)
		items += n_chunks(outs[i].w->n_out, j.nc);
	pool_run(cpu->pool, (int64_t)items, run_task, &j);
}

static void swiglu_store(const struct gemm_job *j, const float *h, size_t out0, size_t n_out)
{
	struct panels p = panels_of(j->cpu, j->x->n, GEMM_F32);
	size_t n_ff = j->gate->n_out;

	for (int r = 0; j->rows && r < p.n; r++)
		memcpy(j->rows + (size_t)r * n_ff + out0, h + (size_t)r * j->nc, n_out * sizeof *h);
	for (int panel = 0; j->packed && panel < p.n_panels; panel++) {
		size_t row = (size_t)panel_row(&p, panel);
		int rows = panel_row(&p, panel + 1) - (int)row;
		j->cpu->k->pack_x(h + row * j->nc, j->nc, rows, n_out, j->packed + row * n_ff + out0 * (size_t)rows);
	}
}

/* Gate and up of the same outputs in one task: both tiles are in cache when they are multiplied. */
static void swiglu_task(void *arg, int64_t item, int thread)
{
	const struct gemm_job *j = arg;
	size_t out0 = (size_t)item * j->nc, n_out = min_size(j->nc, j->gate->n_out - out0), n = (size_t)j->x->n;
	float *strip = j->cpu->scratch[thread], *gate = strip + GEMM_KC * GEMM_NC, *up = gate + n * j->nc;
	struct part p = {.cpu = j->cpu, .x = j->x, .w = j->gate, .out0 = out0, .n_out = n_out, .y = gate, .ldy = j->nc,
			 .strip = strip};

	part_run(&p);
	p.w = j->up;
	p.y = up;
	part_run(&p);
	for (size_t r = 0; r < n; r++)
		j->cpu->k->silu_mul(gate + r * j->nc, up + r * j->nc, n_out);
	swiglu_store(j, gate, out0, n_out);
}

void gemm_swiglu(const struct cpu *cpu, const struct acts *x, const struct weight *gate, const struct weight *up,
		 float *packed, float *rows)
{
	struct gemm_job j = {.cpu = cpu, .x = x, .gate = gate, .up = up, .packed = packed, .rows = rows,
			     .nc = columns_per_task(cpu, gate->n_out)};
	pool_run(cpu->pool, (int64_t)n_chunks(gate->n_out, j.nc), swiglu_task, &j);
}

size_t gemm_scratch_bytes(const struct cpu *cpu, int max_n, size_t max_k)
{
	size_t strip = GEMM_KC * GEMM_NC, tiles = 2 * (size_t)max_n * GEMM_NC, rows = (size_t)cpu->k->mr * max_k;
	size_t floats = strip + tiles > rows ? strip + tiles : rows;
	return floats * sizeof(float);
}
