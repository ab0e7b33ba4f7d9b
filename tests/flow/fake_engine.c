/* fake_engine: an engine that behaves, lies, floods, hangs or crashes as it is told, for all flows.
 *
 *   fake_engine MODE [--ctx N] [--attn NAME] [--layers N] [--layer-ms N] [--samples N] [--prefill-s X] [--bytes N]
 *               [--exit N] [--ledger FILE] [--ledgers DIR] [--cell TEXT] [--once FILE] [--pid FILE] [--until FILE]
 *
 * --ledger FILE: appends "ATTEMPT MODE PREFILL_S\n" in one write when a result is printed.
 * --ledgers DIR: keeps DIR/ATTEMPT, synced: "begin PID TEXT\n", and "result PREFILL_S TEXT\n" before a result is printed.
 * --cell TEXT:   what it was asked for, by its own account of it: bench/chaos-check compares.
 * --once FILE:   misbehaves only if FILE can be created; else the mode is ok.
 * --pid FILE:    appends its process ids, those of children too, a line each.
 * --until FILE:  layers take no time any more once FILE is there; nor where no attempt is made, only a build verified.
 *
 * Mode flaky hangs in the first of --one-in N repeats, as --repeat counts them, but only without the variable of --unless
 * and above the context of --above.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct options {
	const char *mode, *attn, *ledger, *ledgers, *cell, *once, *pid, *until, *unless;
	long above, repeat, one_in, ctx, layers, layer_ms, samples, bytes, exit_code;
	double prefill_s;
};

static struct options opt = {
	.attn = "flash_v2_naive",
	.cell = "-",
	.ctx = 4096,
	.layers = 4,
	.layer_ms = 1,
	.samples = 1,
	.bytes = 1L << 20,
	.one_in = 1,
	.exit_code = 3,
};

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void sleep_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		;
}

static void append(const char *file, const char *fmt, ...)
{
	char line[256];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	int fd = file ? open(file, O_WRONLY | O_APPEND | O_CREAT, 0644) : -1;
	if (fd >= 0 && (write(fd, line, (size_t)n) != n || fsync(fd) != 0))
		perror(file);
	if (fd >= 0)
		close(fd);
}

static const char *attempt(void)
{
	const char *uuid = getenv("GRETA_ATTEMPT");
	return uuid ? uuid : "-";
}

static const char *own_ledger(void)
{
	static char path[4096];
	snprintf(path, sizeof path, "%s/%s", opt.ledgers, attempt());
	return path;
}

static void tell_pid(void)
{
	append(opt.pid, "%d\n", (int)getpid());
}

/* what a good engine does */

static void progress(const char *phase, long done, long total, double t)
{
	static int fd = -2;
	char line[256];
	if (fd == -2)
		fd = getenv("GRETA_PROGRESS_FD") ? (int)strtol(getenv("GRETA_PROGRESS_FD"), NULL, 10) : -1;
	int n = snprintf(line, sizeof line,
			 "{\"phase\":\"%s\",\"done\":%ld,\"total\":%ld,\"unit\":\"layer\",\"t\":%.6f,\"at\":\"layer %ld attn %s\"}\n",
			 phase, done, total, t, done, opt.attn);
	if (fd >= 0 && write(fd, line, (size_t)n) < 0)
		return; /* dropped, as the contract says */
}

static bool may_end(void)
{
	return opt.until && (access(opt.until, F_OK) == 0 || !getenv("GRETA_ATTEMPT"));
}

static double prefill(double begun, long layers)
{
	double from = now_s();
	for (long i = 1; i <= layers; i++) {
		if (!may_end())
			sleep_ms(opt.layer_ms);
		progress("prefill", i, opt.layers, now_s() - begun);
	}
	return now_s() - from;
}

static void result(long sample, double prefill_s, long tokens, const char *attn)
{
	append(opt.ledger, "%s %s %.9f\n", attempt(), opt.mode, prefill_s);
	if (opt.ledgers)
		append(own_ledger(), "result %.9f %s\n", prefill_s, opt.cell);
	printf("[PERF_TIMING] {\"sample\":%ld,\"model_load_s\":0.0005,\"tokenize_s\":0.0001,\"prefill_s\":%.9f,\"decode_s\":0.0002,"
	       "\"attn_impl\":\"%s\",\"prompt_tokens\":%ld,\"backend\":\"cpu\"}\n", sample, prefill_s, attn, tokens);
	fflush(stdout);
}

static void run_samples(long tokens, const char *attn)
{
	double begun = now_s();
	progress("load", 0, 1, 0);
	sleep_ms(1);
	progress("load", 1, 1, now_s() - begun);
	for (long i = 1; i <= opt.samples; i++) {
		double measured = prefill(begun, opt.layers);
		result(i, opt.prefill_s > 0 ? opt.prefill_s : measured, tokens, attn);
	}
	progress("finish", 1, 1, now_s() - begun);
}

static void begin_and_stall(void)
{
	double begun = now_s();
	puts("loading");
	fflush(stdout);
	progress("load", 1, 1, 0.001);
	prefill(begun, opt.layers / 2);
}

/* modes */

static int ok(void)
{
	printf("Prompt tokens: %ld\n", opt.ctx);
	run_samples(opt.ctx, opt.attn);
	return 0;
}

static int progress_flood(void)
{
	for (long i = 0; i < 200000; i++)
		progress("prefill", i % opt.layers, opt.layers, (double)i);
	return ok();
}

static _Noreturn void sleep_for_ever(void)
{
	for (;;)
		pause();
}

static int hang_sleep(void)
{
	begin_and_stall();
	sleep_for_ever();
}

static int flaky(void)
{
	if (opt.ctx > opt.above && !(opt.unless && getenv(opt.unless)) && (opt.repeat - 1) % opt.one_in == 0)
		return hang_sleep();
	return ok();
}

/* One long launch: busy, and not a word until it is done. */
static int silent(void)
{
	double begun = now_s();
	progress("load", 1, 1, 0.001);
	progress("prefill", 0, 1, 0.001);
	while (now_s() < begun + (double)opt.layer_ms / 1e3)
		;
	result(1, now_s() - begun, opt.ctx, opt.attn);
	return 0;
}

static int hang_nap(void)
{
	begin_and_stall();
	sleep_ms(3600 * 1000);
	return 0;
}

static int hang_spin(void)
{
	begin_and_stall();
	for (volatile uint64_t i = 1; i; i++)
		;
	return 0;
}

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER, other = PTHREAD_MUTEX_INITIALIZER;

static void *lock_crosswise(void *arg)
{
	pthread_mutex_t *first = arg ? &one : &other, *second = arg ? &other : &one;
	pthread_mutex_lock(first);
	sleep_ms(50);
	pthread_mutex_lock(second);
	return NULL;
}

static int deadlock(void)
{
	pthread_t threads[2];
	begin_and_stall();
	pthread_create(&threads[0], NULL, lock_crosswise, &one);
	pthread_create(&threads[1], NULL, lock_crosswise, NULL);
	pthread_join(threads[0], NULL);
	return 0;
}

static int stop(void)
{
	begin_and_stall();
	raise(SIGSTOP);
	return ok();
}

/* A vfork parent sleeps uninterruptibly until its child is gone: a D state that KILL still ends. */
static int host_io(void)
{
	begin_and_stall();
	if (vfork() == 0) {
		sleep_for_ever();
	}
	return 0;
}

static int segv(void)
{
	begin_and_stall();
	signal(SIGSEGV, SIG_DFL);
	raise(SIGSEGV);
	return 0;
}

static int abort_now(void)
{
	begin_and_stall();
	fprintf(stderr, "terminate called after throwing an instance of 'std::runtime_error'\n");
	signal(SIGABRT, SIG_DFL);
	raise(SIGABRT);
	return 0;
}

static int exit_code(void)
{
	begin_and_stall();
	fprintf(stderr, "HIP error: invalid device function\n");
	return (int)opt.exit_code;
}

static int device_oom(void)
{
	begin_and_stall();
	fprintf(stderr, "GGML: HIP error: out of memory\n  in function alloc at line 7\n");
	return 1;
}

static int garbage(void)
{
	unsigned seed = 7;
	for (int i = 0; i < 100000; i++) {
		seed = seed * 1664525 + 1013904223;
		putchar((int)(seed >> 24));
	}
	printf("\n[PERF_TIMING] {\"prefill_s\": 1.5, \"attn\n[PERF_TIMING] [1,2\n");
	return 0;
}

static int twice(bool same)
{
	result(1, 0.001, opt.ctx, opt.attn);
	sleep_ms(10);
	result(1, same ? 0.001 : 0.002, opt.ctx, opt.attn);
	return 0;
}

static int twice_same(void)
{
	return twice(true);
}

static int twice_different(void)
{
	return twice(false);
}

static void flood_fd(int fd, long bytes)
{
	static char block[65536];
	memset(block, 'x', sizeof block);
	for (size_t i = 79; i < sizeof block; i += 80)
		block[i] = '\n';
	for (long left = bytes; left > 0;) {
		ssize_t n = write(fd, block, left < (long)sizeof block ? (size_t)left : sizeof block);
		if (n < 0)
			return;
		left -= n;
	}
}

static int flood(void)
{
	flood_fd(1, opt.bytes);
	if (write(1, "\n", 1) != 1)
		return 1;
	return ok();
}

static int late_flood(void)
{
	int rc = ok();
	flood_fd(1, opt.bytes);
	return rc;
}

static int flood_both(void)
{
	if (fork() == 0) {
		flood_fd(2, opt.bytes);
		_exit(0);
	}
	flood_fd(1, opt.bytes);
	wait(NULL);
	return ok();
}

static int no_result(void)
{
	puts("done, trust me");
	return 0;
}

static int short_prompt(void)
{
	run_samples(opt.ctx / 2, opt.attn);
	return 0;
}

static int wrong_attn(void)
{
	run_samples(opt.ctx, "something_else");
	return 0;
}

static int zero_prefill(void)
{
	result(1, 0, opt.ctx, opt.attn);
	return 0;
}

static int lying_time(void)
{
	result(1, 3600, opt.ctx, opt.attn);
	return 0;
}

/* A child has told its number, and closed its end. */
static void wait_until_told(const int told[2])
{
	char byte;
	close(told[1]);
	while (read(told[0], &byte, 1) < 0 && errno == EINTR)
		;
	close(told[0]);
}

/* A grandchild in a session of its own that ignores TERM. */
static void run_away(void)
{
	int told[2];
	pid_t child = pipe(told) == 0 ? fork() : -1;
	if (child == 0) {
		setsid();
		if (fork() != 0)
			_exit(0);
		signal(SIGTERM, SIG_IGN);
		tell_pid();
		close(told[0]);
		close(told[1]);
		sleep_for_ever();
	}
	wait_until_told(told);
	waitpid(child, NULL, 0);
}

static int runaway(void)
{
	run_away();
	sleep_ms(20);
	return ok();
}

static int runaway_hang(void)
{
	begin_and_stall();
	run_away();
	sleep_for_ever();
}

static void *outlive_the_first(void *unused)
{
	sleep_for_ever();
	return unused;
}

/* A child in a session of its own whose first thread ends, while another stays: it looks like a zombie, and is none. */
static int headless(void)
{
	int told[2];
	if (pipe(told) == 0 && fork() == 0) {
		pthread_t stays;
		setsid();
		alarm(120); /* where nobody finds it */
		pthread_create(&stays, NULL, outlive_the_first, NULL);
		tell_pid();
		close(told[0]);
		close(told[1]);
		pthread_exit(NULL);
	}
	wait_until_told(told);
	return ok();
}

static int ignore_term(void)
{
	signal(SIGTERM, SIG_IGN);
	return hang_sleep();
}

static void say_and_exit(int signo)
{
	(void)signo;
	_exit(write(2, "got TERM\n", 9) == 9 ? 0 : 1);
}

static int obey_term(void)
{
	signal(SIGTERM, say_and_exit);
	return hang_sleep();
}

static int oom(void)
{
	begin_and_stall();
	for (long taken = 0; taken < opt.bytes; taken += 1 << 20) {
		char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			return 1;
		memset(p, 1, 1 << 20);
	}
	return ok();
}

static int chatty_hang(void)
{
	begin_and_stall();
	while (puts("still here") >= 0 && fflush(stdout) == 0)
		sleep_ms(100);
	return 1;
}

/* What hangs until it is looked at: SIGUSR1, from whoever plays the debugger, lets it go on. It adds a line to --pid then,
 * without a wait for the disk: one that spins must not be seen to sleep. */

static volatile sig_atomic_t woken;

static void wake(int signo)
{
	woken = signo;
}

static void tell_woken(void)
{
	int fd = opt.pid ? open(opt.pid, O_WRONLY | O_APPEND) : -1;
	if (fd < 0 || write(fd, "woken\n", 6) != 6)
		perror("--pid");
	close(fd);
}

static void sleep_until_woken(void)
{
	sigset_t usr1, none;
	sigemptyset(&none);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	signal(SIGUSR1, wake);
	while (!woken)
		sigsuspend(&none);
}

static int woken_hang(void)
{
	begin_and_stall();
	sleep_until_woken();
	progress("prefill", 3, opt.layers, 1);
	tell_woken();
	for (volatile uint64_t i = 1; i; i++)
		;
	return 0;
}

static int woken_slow(void)
{
	begin_and_stall();
	signal(SIGUSR1, wake);
	while (!woken)
		;
	progress("prefill", 3, opt.layers, 1);
	tell_woken();
	for (double until = now_s() + 2; now_s() < until;)
		;
	result(1, 0.001, opt.ctx, opt.attn);
	return 0;
}

/* Without a word of progress: output alone shows that it lives. */
static int woken_mute(void)
{
	puts("it begins");
	fflush(stdout);
	sleep_until_woken();
	puts("it goes on");
	fflush(stdout);
	tell_woken();
	sleep_ms(2000);
	result(1, 0.001, opt.ctx, opt.attn);
	return 0;
}

/* A GPU kernel of ours that reports in the page: one that stands still, and one that is only slow. */
static volatile uint64_t *gpu_page(void)
{
	const char *path = getenv("GRETA_GPU_PAGE");
	int fd = path ? open(path, O_RDWR | O_CREAT, 0600) : -1;
	void *p = fd >= 0 && ftruncate(fd, 4096) == 0 ? mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
	if (p == MAP_FAILED) {
		perror("GRETA_GPU_PAGE");
		exit(1);
	}
	/* as base/gpu_page.h has it */
	snprintf((char *)p + 72 + 4 * 64, 64, "attn q_lds");
	snprintf((char *)p + 72 + 6 * 64, 64, "swiglu, \x1b down");
	volatile uint64_t *page = p;
	page[8] = 1ull << 32 | 31 << 16 | 6;
	page[0] = 1ull << 32 | 7 << 16 | 4;
	page[1] = (uint64_t)opt.bytes << 32;
	return page;
}

static int hang_kernel(void)
{
	begin_and_stall();
	gpu_page()[1] |= 10;
	for (volatile uint64_t i = 1; i; i++)
		;
	return 0;
}

static int slow_kernel(void)
{
	begin_and_stall();
	volatile uint64_t *page = gpu_page();
	for (double until = now_s() + 6; now_s() < until;)
		if (now_s() * 10 > (double)(page[1] & 0xffffffff) + 1)
			page[1] = (page[1] & ~0xffffffffull) | (uint32_t)(now_s() * 10);
	return ok();
}

static int show_environment(void)
{
	extern char **environ;
	for (char **v = environ; *v; v++)
		puts(*v);
	return ok();
}

/* Everything that an engine can reach of its own attempt: the agent's files beside its working folder, each descriptor it
 * has inherited, standard output with frames and results of others, and processes that try to stay. */

static void spoil(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	if (fd < 0)
		return;
	for (int i = 0; i < 2000; i++)
		if (write(fd, "{\"type\":\"event\",\"bytes\":99999999}\n\xff\x00garbage", 44) < 0)
			break;
	close(fd);
}

static void forge(const char *victim)
{
	printf("{\"type\":\"event\",\"event\":{\"attempt\":\"%s\",\"seq\":1,\"kind\":\"outcome\",\"detail\":{\"outcome\":\"ok\"}}}\n"
	       "GRETA-AGENT 00 1\n{\"type\":\"refused\",\"code\":\"EFENCED\"}\n", victim);
	result(1, 0.5, opt.ctx, opt.attn);
	fflush(stdout);
}

static int attack(void)
{
	const char *const files[] = {"../events", "../control", "../outcome.json", "../outcome.part", "../spec.json", "../new"};
	for (int i = 0; i < 3; i++)
		run_away();
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		spoil(files[i]);
	forge(opt.cell);
	for (int fd = 3; fd < 1024; fd++) {
		fcntl(fd, F_SETFL, O_NONBLOCK);
		while (write(fd, "\xff\x00{\"phase\":\"prefill\",\"done\":1e999}\n", 36) > 0 && fd == 3)
			;
	}
	forge(opt.cell);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} modes[] = {
	{"ok", ok},
	{"progress", progress_flood},
	{"silent", silent},
	{"hang-sleep", hang_sleep},
	{"hang-nap", hang_nap},
	{"flaky", flaky},
	{"hang-spin", hang_spin},
	{"deadlock", deadlock},
	{"stop", stop},
	{"host-io", host_io},
	{"segv", segv},
	{"abort", abort_now},
	{"exit", exit_code},
	{"device-oom", device_oom},
	{"garbage", garbage},
	{"twice-same", twice_same},
	{"twice-different", twice_different},
	{"flood", flood},
	{"late-flood", late_flood},
	{"flood-both", flood_both},
	{"no-result", no_result},
	{"short-prompt", short_prompt},
	{"wrong-attn", wrong_attn},
	{"zero-prefill", zero_prefill},
	{"lying-time", lying_time},
	{"runaway", runaway},
	{"runaway-hang", runaway_hang},
	{"headless", headless},
	{"ignore-term", ignore_term},
	{"obey-term", obey_term},
	{"oom", oom},
	{"chatty-hang", chatty_hang},
	{"woken-hang", woken_hang},
	{"woken-slow", woken_slow},
	{"woken-mute", woken_mute},
	{"hang-kernel", hang_kernel},
	{"slow-kernel", slow_kernel},
	{"env", show_environment},
	{"attack", attack},
};

static void parse(int argc, char **argv)
{
	const struct {
		const char *name;
		const char **text;
		long *number;
	} table[] = {
		{"--attn", &opt.attn, NULL},     {"--ledger", &opt.ledger, NULL}, {"--once", &opt.once, NULL},
		{"--ledgers", &opt.ledgers, NULL}, {"--cell", &opt.cell, NULL},
		{"--pid", &opt.pid, NULL},       {"--ctx", NULL, &opt.ctx},       {"--layers", NULL, &opt.layers},
		{"--layer-ms", NULL, &opt.layer_ms}, {"--samples", NULL, &opt.samples}, {"--bytes", NULL, &opt.bytes},
		{"--exit", NULL, &opt.exit_code}, {"--above", NULL, &opt.above}, {"--one-in", NULL, &opt.one_in},
		{"--unless", &opt.unless, NULL}, {"--until", &opt.until, NULL},
		{"--repeat", NULL, &opt.repeat},
	};
	for (int i = 2; i + 1 < argc; i += 2) {
		for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
			if (strcmp(argv[i], table[k].name) != 0)
				continue;
			if (table[k].text)
				*table[k].text = argv[i + 1];
			else
				*table[k].number = strtol(argv[i + 1], NULL, 10);
		}
		if (strcmp(argv[i], "--prefill-s") == 0)
			opt.prefill_s = strtod(argv[i + 1], NULL);
	}
}

int main(int argc, char **argv)
{
	opt.mode = argc > 1 ? argv[1] : "ok";
	parse(argc, argv);
	if (opt.once && open(opt.once, O_CREAT | O_EXCL | O_WRONLY, 0644) < 0)
		opt.mode = "ok";
	tell_pid();
	if (opt.ledgers)
		append(own_ledger(), "begin %d %s\n", (int)getpid(), opt.cell);
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
		if (strcmp(opt.mode, modes[i].name) == 0)
			return modes[i].run();
	fprintf(stderr, "fake_engine: unknown mode \"%s\"\n", opt.mode);
	return 2;
}
