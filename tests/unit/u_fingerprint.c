#include "tests/unit/unit.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/fingerprint.h"
#include <string.h>

/* gdb's own words, of two runs of one deadlock on nodes with different libc, pids and addresses. */
static const char deadlock_one[] =
	"[New LWP 4712]\n[New LWP 4713]\n"
	"  Id   Target Id                                         Frame \n"
	"* 1    Thread 0x7ffff7d8f740 (LWP 4711) \"greta-infer\" 0x00007ffff7e1a1f4 in ?? () from /lib/x86_64-linux-gnu/libc.so.6\n"
	"\nThread 3 (Thread 0x7ffff6d8d640 (LWP 4713) \"greta-infer\"):\n"
	"#0  futex_wait (private=0, expected=2, futex_word=0x5555555580a0 <one>) at ../sysdeps/nptl/futex-internal.h:146\n"
	"#1  __GI___lll_lock_wait (futex=futex@entry=0x5555555580a0 <one>, private=0) at ./nptl/lowlevellock.c:49\n"
	"#2  0x00007ffff7e1b0e3 in ___pthread_mutex_lock (mutex=0x5555555580a0 <one>) at ./nptl/pthread_mutex_lock.c:93\n"
	"#3  0x0000555555555a3c in lock_crosswise (arg=0x0) at ../../engine/x.c:200\n"
	"#4  0x00007ffff7e18044 in start_thread (arg=<optimized out>) at ./nptl/pthread_create.c:442\n"
	"#5  0x00007ffff7e9885c in clone3 () at ../sysdeps/unix/sysv/linux/x86_64/clone3.S:81\n"
	"\nThread 1 (Thread 0x7ffff7d8f740 (LWP 4711) \"greta-infer\"):\n"
	"#0  0x00007ffff7e1a1f4 in __futex_abstimed_wait_common64 (private=0, cancel=true) at ./nptl/futex-internal.c:57\n"
	"#1  0x00007ffff7e1a8d3 in __pthread_clockjoin_ex (threadid=140737335711296) at ./nptl/pthread_join_common.c:102\n"
	"#2  0x0000555555555b12 in deadlock () at ../../engine/x.c:214\n"
	"#3  0x0000555555555c77 in main (argc=3, argv=0x7fffffffe0a8) at ../../engine/x.c:590\n";
static const char deadlock_two[] =
	"\nThread 2 (LWP 99881):\n"
	"#0  0x00007f00aa123456 in syscall () from /usr/lib64/libc.so.6\n"
	"#1  0x00007f00aa223456 in pthread_mutex_lock@@GLIBC_2.2.5 () from /usr/lib64/libpthread.so.0\n"
	"#2  0x000000000040183c in lock_crosswise ()\n"
	"#3  0x00007f00aa323456 in start_thread () from /usr/lib64/libpthread.so.0\n"
	"\nThread 1 (LWP 99880):\n"
	"#0  0x00007f00aa423456 in __pthread_timedjoin_ex () from /usr/lib64/libpthread.so.0\n"
	"#1  0x0000000000401912 in deadlock ()\n"
	"#2  0x0000000000401a77 in main ()\n";
/* A busy wait, looked at twice: in the clock, and between two looks at it. */
static const char spin_one[] =
	"\nThread 2 (LWP 31):\n#0  0x00007f1 in ioctl () from /lib/libc.so.6\n#1  0x00007f2 in ?? () from /opt/rocm-6.2.1/lib/libhsa-runtime64.so.1\n"
	"\nThread 1 (LWP 30):\n#0  0x00007f3 in clock_gettime () from /lib/libc.so.6\n"
	"#1  0x00007f4 in rocr::core::BusyWaitSignal::WaitRelaxed(hsa_signal_condition_t, long) () from /opt/rocm/lib/libhsa-runtime64.so.1\n"
	"#2  0x00007f5 in ?? () from /opt/rocm-6.2.1/lib/libamdhip64.so.6.2.60201\n"
	"#3  0x0000555 in prefill (n=4096) at x.c:1\n#4  0x0000556 in main () at x.c:2\n";
static const char spin_two[] =
	"\nThread 1 (LWP 7730):\n"
	"#0  0x00007e4 in rocr::core::BusyWaitSignal::WaitRelaxed(hsa_signal_condition_t, long) () from /usr/lib/libhsa-runtime64.so.1\n"
	"#1  0x00007e5 in ?? () from /usr/lib/libamdhip64.so.6\n"
	"#2  0x0000655 in prefill (n=8192) at x.c:1\n#3  0x0000656 in main () at x.c:2\n";

static const struct fingerprint_facts one = {
	.class_ = "host_deadlock", .phase = "prefill", .at = "layer 7 attn q_lds",
	.verdict = "no progress for 61 s in prefill at layer 7 attn q_lds: all 3 threads wait for each other",
	.debugger = deadlock_one,
	.kernel_log = "usb 1-1: reset high-speed USB device\n"
		      "amdgpu 0000:1b:00.0: amdgpu: [gfxhub] page fault (src_id:0 ring:24 vmid:8 pasid:32771)\n",
	.log_tail = "loading /var/tmp/greta-0/a/model.gguf\nHIP error: invalid argument at 0x7f00aa123456 after 12.5 s\n",
};

static void print_of(const struct fingerprint_facts *f, char out[1024])
{
	struct greta_buf text = {0};
	fingerprint_make(f, &text);
	greta_str_copy(out, 1024, text.data);
	greta_buf_release(&text);
}

static void expect_same(const struct fingerprint_facts *a, const struct fingerprint_facts *b)
{
	char x[1024], y[1024];
	print_of(a, x);
	print_of(b, y);
	assert_string_equal(x, y);
}

static void expect_another(const struct fingerprint_facts *a, const struct fingerprint_facts *b)
{
	char x[1024], y[1024];
	print_of(a, x);
	print_of(b, y);
	assert_string_not_equal(x + FINGERPRINT_HASH, y + FINGERPRINT_HASH);
	x[FINGERPRINT_HASH] = y[FINGERPRINT_HASH] = '\0';
	assert_string_not_equal(x, y);
}

static void test_fingerprint__reads_well(void **state)
{
	char text[1024];
	(void)state;
	print_of(&one, text);
	assert_string_equal(text + FINGERPRINT_HASH,
			    " host_deadlock at prefill, layer * attn q_lds in deadlock | lock_crosswise; kernel: amdgpu *: amdgpu:"
			    " [gfxhub] page fault (src_id:* ring:* vmid:* pasid:*); engine: HIP error: invalid argument at * after *.* s");
	assert_int_equal(strspn(text, "0123456789abcdef"), FINGERPRINT_HASH);
}

/* The same hang elsewhere: other node, GPU, pids, addresses, libc, layer, folder, order of threads. */
static void test_fingerprint__the_same_elsewhere(void **state)
{
	struct fingerprint_facts two = one;
	(void)state;
	two.at = "layer 21 attn q_lds";
	two.debugger = deadlock_two;
	two.kernel_log = "amdgpu 0000:dd:00.0: amdgpu: [gfxhub] page fault (src_id:7 ring:3 vmid:1 pasid:99)\n";
	two.log_tail = "HIP error: invalid argument at 0x55 after 1.0 s\n";
	expect_same(&one, &two);
}

static void test_fingerprint__another_hang(void **state)
{
	struct fingerprint_facts f = one;
	(void)state;
	f.class_ = "host_spin";
	expect_another(&one, &f);
	f = one, f.at = "layer 7 attn flash_v2_naive";
	expect_another(&one, &f);
	f = one, f.phase = "load";
	expect_another(&one, &f);
	f = one, f.debugger = spin_one;
	expect_another(&one, &f);
	f = one, f.kernel_log = "";
	expect_another(&one, &f);
	f = one, f.log_tail = "HIP error: out of memory\n";
	expect_another(&one, &f);
}

/* The thread that spins is known by the verdict, and its busy wait by what stands below the clock that it reads. */
static void test_fingerprint__the_stuck_thread(void **state)
{
	char text[1024];
	struct fingerprint_facts a = {.class_ = "host_spin", .debugger = spin_one, .verdict = "no progress in prefill: thread 30 spins"};
	struct fingerprint_facts b = {.class_ = "host_spin", .debugger = spin_two, .verdict = "no progress in prefill: thread 7730 spins"};
	(void)state;
	expect_same(&a, &b);
	print_of(&a, text);
	assert_string_equal(text + FINGERPRINT_HASH,
			    " host_spin in rocr::core::BusyWaitSignal::WaitRelaxed(hsa_signal_condition_t, long) < libamdhip64.so < prefill");
	a.verdict = "no progress in prefill: thread 31 spins";
	expect_another(&a, &b);
	a.verdict = NULL; /* not said: the main thread */
	expect_same(&a, &b);
}

/* Waves as rocgdb names them (its documentation, "Debugging heterogeneous programs"): thousands may be in one kernel. */
static void test_fingerprint__what_the_waves_execute(void **state)
{
	char text[1024];
	const struct fingerprint_facts f = {
		.class_ = "gpu_kernel",
		.debugger = "\nThread 8 (AMDGPU Wave 1:2:1:2 (31,0,0)/1 \"infer\"):\n#0  0x00007f1 in flash_tile (q=0x1) at a.hip:9\n"
			    "#1  attn_q_lds () at a.hip:57\n\nThread 7 (AMDGPU Wave 1:2:1:1 (0,0,0)/0 \"infer\"):\n"
			    "#0  0x00007f2 in flash_tile (q=0x1) at a.hip:9\n#1  attn_q_lds () at a.hip:57\n\nThread 1 (LWP 30):\n"
			    "#0  0x00007f3 in ioctl () from /lib/libc.so.6\n#1  0x00007f4 in hsa_wait () from /opt/rocm/lib/x.so\n"};
	(void)state;
	print_of(&f, text);
	assert_string_equal(text + FINGERPRINT_HASH, " gpu_kernel in flash_tile < attn_q_lds");
}

static void test_fingerprint__without_a_debugger(void **state)
{
	char text[1024];
	const struct fingerprint_facts f = {.class_ = "host_io", .debugger = "(threads in D state: a debugger would hang too)\n",
					    .threads = "== /proc/9/task/9/stat ==\n9 (x) D\n== /proc/9/task/9/wchan ==\nkernel_clone\n"};
	const struct fingerprint_facts nothing = {.class_ = "unclassified"};
	(void)state;
	print_of(&f, text);
	assert_string_equal(text + FINGERPRINT_HASH, " host_io in kernel_clone");
	print_of(&nothing, text);
	assert_string_equal(text + FINGERPRINT_HASH, " unclassified");
}

static void test_fingerprint__normalises(void **state)
{
	static const char *const cases[][2] = {
		{"layer 7 attn q_lds", "layer * attn q_lds"},
		{"flash_v2 q4_0 gfx942 hipMemcpy3D", "flash_v2 q4_0 gfx942 hipMemcpy3D"},
		{"at 0x7fff12, pid 4711, 30s, 12.5 GB", "at *, pid *, *s, *.* GB"},
		{"GPU-8af705259683161c failed", "GPU-* failed"},
		{"amdgpu 0000:1b:00.0: {12}poison", "amdgpu *: {*}poison"},
		{"can't open '/var/tmp/greta-0/x/m.gguf': no", "can't open 'm.gguf': no"},
		{"tokens/s and/or /a", "tokens/s and/or a"},
		{"a\tb\x01" "c", "a b c"},
	};
	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(cases); i++) {
		struct greta_buf out = {0};
		fingerprint_normalise(cases[i][0], strlen(cases[i][0]), &out);
		assert_string_equal(out.data, cases[i][1]);
		greta_buf_release(&out);
	}
}

/* Evidence is what a broken node could give: cut anywhere, any byte changed. */
static void test_fingerprint__of_garbage(void **state)
{
	unsigned seed = 7;
	(void)state;
	for (size_t cut = 0; cut < sizeof deadlock_one - 1; cut++) {
		char text[1024 * 8];
		struct greta_buf out = {0};
		greta_str_copy(text, sizeof deadlock_one - cut, deadlock_one);
		seed = seed * 1664525 + 1013904223;
		text[(seed >> 8) % (sizeof deadlock_one - 1 - cut)] = (char)(seed >> 24);
		fingerprint_make(&(struct fingerprint_facts){.class_ = "x", .debugger = text, .threads = text, .kernel_log = text,
							     .log_tail = text, .verdict = text, .at = text}, &out);
		assert_true(out.len > FINGERPRINT_HASH);
		greta_buf_release(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fingerprint__reads_well),
		cmocka_unit_test(test_fingerprint__the_same_elsewhere),
		cmocka_unit_test(test_fingerprint__another_hang),
		cmocka_unit_test(test_fingerprint__the_stuck_thread),
		cmocka_unit_test(test_fingerprint__what_the_waves_execute),
		cmocka_unit_test(test_fingerprint__without_a_debugger),
		cmocka_unit_test(test_fingerprint__normalises),
		cmocka_unit_test(test_fingerprint__of_garbage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
