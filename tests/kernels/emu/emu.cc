/* emu: fibers, one a work-item; blocks one after the other. A wave's collective (shuffle, MFMA) is a meeting of its live
 * lanes: the last to come computes for all. A fiber that waits gives way to the scheduler, run_block. */
#include "tests/kernels/emu/emu.h"
#include "tests/kernels/emu/emu_device.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <vector>

enum state { RUN, AT_BARRIER, AT_MEETING, DONE };

enum { WAVE = 64, LDS_BYTES = 65536, STACK_BYTES = 128 << 10, SLOT_BYTES = 96 };

struct copy {
	const void *from;
	void *to;
};

struct fiber {
	void *sp;
	state st;
	int tid, wave, lane;
	int barriers;
	const char *op;
	std::vector<copy> copies;
};

struct wave {
	int live, arrived;
	unsigned generation;
	alignas(64) unsigned char slot[2][WAVE][SLOT_BYTES];
};

extern "C" {
struct emu_settings emu_settings;
emu_index emu_block;
int emu_thread;
}

static std::vector<fiber> fibers;
static std::vector<wave> waves;
static fiber *cur;
static void *scheduler_sp;
static const emu_launch *launch;
static int live, at_barrier;
static bool failed;
alignas(128) static unsigned char lds[LDS_BYTES];

/* Saves the callee's registers on the stack it leaves and takes those of the stack it enters. */
extern "C" void emu_switch(void **save, void *load);
asm(".text\n.type emu_switch,@function\n.globl emu_switch\nemu_switch:\n"
    "push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
    "mov %rsp,(%rdi); mov %rsi,%rsp\n"
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp; ret\n.size emu_switch,.-emu_switch\n");

static void to_scheduler()
{
	emu_switch(&cur->sp, scheduler_sp);
}

static void fail(const char *fmt, ...)
{
	va_list ap;

	if (!failed) {
		va_start(ap, fmt);
		vsnprintf(emu_settings.message, sizeof emu_settings.message, fmt, ap);
		va_end(ap);
	}
	failed = true;
}

/* From a fiber: the launch is over, and this fiber never runs again. */
static void fail_here()
{
	to_scheduler();
	abort();
}

static void entry()
{
	launch->run(launch->args);
	cur->st = DONE;
	if (!cur->copies.empty())
		fail("thread %d ended with %zu copies into LDS not waited for", cur->tid, cur->copies.size());
	to_scheduler();
	abort();
}

extern "C" void *emu_lds(size_t bytes)
{
	if (bytes > LDS_BYTES || bytes != launch->lds_bytes) {
		fail("kernel takes %zu bytes of LDS, its code object %zu, the machine has %d", bytes, launch->lds_bytes,
		     LDS_BYTES);
		fail_here();
	}
	return lds;
}

extern "C" void emu_barrier(const char *op)
{
	cur->op = op;
	if (++cur->barriers == emu_settings.skip_barrier)
		return;
	cur->st = AT_BARRIER;
	at_barrier++;
	to_scheduler();
}

/* All live lanes of the wave bring n bytes; `last` turns the lanes' slots into results. Returns the slots. */
static unsigned char (*meet(const char *op, const void *in, size_t n, void (*last)(unsigned char (*)[SLOT_BYTES])))[SLOT_BYTES]
{
	fiber *f = cur;
	wave &w = waves[f->wave];
	unsigned char(*s)[SLOT_BYTES] = w.slot[w.generation & 1];

	if (w.arrived == 0)
		memset(s, 0xff, sizeof w.slot[0]); /* lanes that do not come hold NaN */
	memcpy(s[f->lane], in, n);
	f->op = op;
	if (++w.arrived < w.live) {
		f->st = AT_MEETING;
		to_scheduler();
		return s;
	}
	if (last)
		last(s);
	w.arrived = 0;
	w.generation++;
	for (size_t i = (size_t)f->wave * WAVE; i < fibers.size() && i < (size_t)(f->wave + 1) * WAVE; i++) {
		fiber &g = fibers[i];

		if (g.st != AT_MEETING)
			continue;
		if (g.op != op && strcmp(g.op, op) != 0) {
			fail("wave %d diverged: lane %d at %s, lane %d at %s", f->wave, f->lane, op, g.lane, g.op);
			fail_here();
		}
		g.st = RUN;
	}
	return s;
}

extern "C" float emu_shfl_xor(float v, int mask)
{
	unsigned char(*s)[SLOT_BYTES] = meet("shuffle", &v, sizeof v, nullptr);
	float r;

	memcpy(&r, s[(cur->lane ^ mask) % WAVE], sizeof r);
	return r;
}

struct mfma_in {
	uint16_t a[4], b[4];
	float d[16];
	int is_bf16;
};
static_assert(sizeof(mfma_in) <= SLOT_BYTES, "slot");

static float up(uint16_t x, int is_bf16)
{
	uint32_t bits = (uint32_t)x << 16;
	float f;

	if (!is_bf16)
		return (float)__builtin_bit_cast(_Float16, x);
	memcpy(&f, &bits, sizeof f);
	return f;
}

/* A[i = l % M][k = 4 (l / M) + r], B[k][j] alike, D[i][j = l % M] with the rows i of a lane given by row(). */
template <int M, int K, int REGS> static void mfma(unsigned char (*s)[SLOT_BYTES])
{
	static float a[M][K], b[M][K];
	mfma_in x;

	for (int l = 0; l < WAVE; l++) {
		memcpy(&x, s[l], sizeof x);
		for (int r = 0; r < 4; r++) {
			a[l % M][4 * (l / M) + r] = up(x.a[r], x.is_bf16 == 1);
			b[l % M][4 * (l / M) + r] = up(x.b[r], x.is_bf16 == 1);
		}
	}
	for (int l = 0; l < WAVE; l++) {
		memcpy(&x, s[l], sizeof x);
		for (int r = 0; r < REGS; r++) {
			int i = M == 32 ? 8 * (r / 4) + 4 * (l / 32) + r % 4 : 4 * (l / 16) + r, j = l % M;
			float sum = x.d[r];

			if (emu_settings.swap_lanes) {
				int t = i;
				i = j;
				j = t;
			}
			for (int k = 0; k < K; k++)
				sum += a[i][k] * b[j][k];
			x.d[r] = sum;
		}
		memcpy(s[l], &x, sizeof x);
	}
}

template <int REGS>
static void mfma_lane(const char *op, const uint16_t a[4], const uint16_t b[4], float *d, int is_bf16,
		      void (*last)(unsigned char (*)[SLOT_BYTES]))
{
	mfma_in x = {};
	unsigned char(*s)[SLOT_BYTES];

	memcpy(x.a, a, sizeof x.a);
	memcpy(x.b, b, sizeof x.b);
	memcpy(x.d, d, REGS * sizeof *d);
	x.is_bf16 = is_bf16;
	s = meet(op, &x, sizeof x, last);
	memcpy(&x, s[cur->lane], sizeof x);
	memcpy(d, x.d, REGS * sizeof *d);
}

extern "C" void emu_mfma_32x32x8(const uint16_t a[4], const uint16_t b[4], float d[16], int is_bf16)
{
	mfma_lane<16>(is_bf16 ? "mfma 32x32x8 bf16" : "mfma 32x32x8 f16", a, b, d, is_bf16, mfma<32, 8, 16>);
}

extern "C" void emu_mfma_16x16x16(const uint16_t a[4], const uint16_t b[4], float d[4], int is_bf16)
{
	mfma_lane<4>(is_bf16 ? "mfma 16x16x16 bf16" : "mfma 16x16x16 f16", a, b, d, is_bf16, mfma<16, 16, 4>);
}

extern "C" void emu_copy_lds4(const void *global, void *lds_wave_base)
{
	unsigned char *to = (unsigned char *)lds_wave_base + 4 * cur->lane;

	if (to < lds || to + 4 > lds + LDS_BYTES) {
		fail("thread %d copies to %p, which is not in LDS", cur->tid, (void *)to);
		fail_here();
	}
	cur->copies.push_back({ global, to });
}

extern "C" void emu_wait_copies(int left)
{
	size_t n = cur->copies.size() > (size_t)left ? cur->copies.size() - (size_t)left : 0;

	if (!emu_settings.skip_wait)
		for (size_t i = 0; i < n; i++)
			memcpy(cur->copies[i].to, cur->copies[i].from, 4);
	cur->copies.erase(cur->copies.begin(), cur->copies.begin() + (ptrdiff_t)n);
}

/* Kept from launch to launch. */
static char *stack_of(int tid)
{
	static std::vector<char *> stacks;

	while (stacks.size() <= (size_t)tid)
		stacks.push_back((char *)mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	return stacks[(size_t)tid];
}

static void start_fiber(fiber &f, int tid)
{
	void **s;

	f.tid = tid;
	f.wave = tid / WAVE;
	f.lane = tid % WAVE;
	f.st = RUN;
	f.op = "its start";
	f.barriers = 0;
	f.copies.clear();
	waves[f.wave].live++;
	s = (void **)(stack_of(tid) + STACK_BYTES);
	*--s = nullptr;
	*--s = (void *)entry;
	for (int k = 0; k < 6; k++)
		*--s = nullptr;
	f.sp = s;
}

/* Runs a wave's runnable lanes once; true if any ran. */
static bool run_wave(size_t w, bool backwards)
{
	bool ran = false;

	for (size_t k = 0; k < WAVE && !failed; k++) {
		size_t i = w * WAVE + (backwards ? WAVE - 1 - k : k);

		if (i >= fibers.size() || fibers[i].st != RUN)
			continue;
		ran = true;
		cur = &fibers[i];
		emu_thread = cur->tid;
		emu_switch(&scheduler_sp, cur->sp);
		if (cur->st != DONE)
			continue;
		live--;
		if (--waves[w].live && waves[w].arrived >= waves[w].live)
			fail("lane %d left while its wave waits", cur->lane);
	}
	return ran;
}

static void report_deadlock()
{
	for (fiber &f : fibers)
		if (f.st != DONE)
			fail("deadlock in block %u,%u: thread %d waits at %s", emu_block.x, emu_block.y, f.tid, f.op);
}

static void release_barrier()
{
	at_barrier = 0;
	for (fiber &f : fibers)
		if (f.st == AT_BARRIER)
			f.st = RUN;
}

static void run_block()
{
	size_t n = waves.size();

	for (wave &w : waves)
		w.live = w.arrived = 0, w.generation = 0;
	live = (int)fibers.size();
	at_barrier = 0;
	for (size_t i = 0; i < fibers.size(); i++)
		start_fiber(fibers[i], (int)i);
	memset(lds, emu_settings.keep_lds ? 0 : 0xff, sizeof lds);
	while (live && !failed) {
		bool ran = false;

		for (size_t q = 0; q < n && !failed; q++) {
			size_t w = emu_settings.order == 1 ? n - 1 - q : q;

			while (run_wave(w, emu_settings.order == 1)) {
				ran = true;
				if (emu_settings.order == 2 || failed)
					break;
			}
		}
		if (live && at_barrier == live) {
			release_barrier();
			ran = true;
		}
		if (!ran && live && !failed)
			report_deadlock();
	}
	for (fiber &f : fibers)
		if (f.barriers > emu_settings.n_barriers)
			emu_settings.n_barriers = f.barriers;
}

int emu_run(const emu_launch *l)
{
	failed = false;
	launch = l;
	emu_settings.n_barriers = 0;
	emu_settings.launches++;
	if (fibers.size() != l->threads) {
		fibers.assign(l->threads, fiber{});
		waves.assign((l->threads + WAVE - 1) / WAVE, wave{});
	}
	for (unsigned z = 0; z < l->grid[2]; z++)
		for (unsigned y = 0; y < l->grid[1]; y++)
			for (unsigned x = 0; x < l->grid[0] && !failed; x++) {
				emu_block = { x, y, z };
				run_block();
			}
	return failed ? -1 : 0;
}
