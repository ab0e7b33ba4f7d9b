#include "tests/unit/unit.h"

#include "agent/evidence.h"
#include "agent/gauge.h"
#include "agent/sample.h"
#include "agent/telemetry.h"
#include "base/clock.h"
#include "base/mem.h"
#include "tests/unit/agent_trees.h"
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

static void keep(void *arg, const char *name, const char *text, size_t n)
{
	greta_buf_addf(arg, "#### %s\n", name);
	greta_buf_add(arg, text, n);
}

static struct greta_device amd_device(const char *root)
{
	return (struct greta_device){
		.uuid = greta_strdup("GPU-8af705259683161c"),
		.kind = greta_strdup("amd"),
		.path = greta_format("%s/dev/dri/renderD128", root),
	};
}

static void device_release(struct greta_device *d)
{
	free(d->uuid), free(d->kind), free(d->path);
}

static void played_back(const char *root, bool debugger, struct greta_buf *out)
{
	char *sys = greta_format("%s/sys", root), *proc = greta_format("%s/proc", root);
	struct greta_device d = amd_device(root);
	const pid_t pids[] = {4711};
	struct greta_spec spec = {0};
	greta_strs_add(&spec.unstored, "FROM_ELSEWHERE");
	const struct evidence_plan plan = {
		.sys = sys, .proc = proc, .devices = &d, .n_devices = 1, .spec = &spec, .pids = pids, .n_pids = 1, .debugger = debugger,
	};
	evidence_gather(&plan, keep, out);
	device_release(&d);
	greta_spec_release(&spec);
	free(sys), free(proc);
}

/* Entries end with a zero byte, the last one too. */
#define write_environ(root, entries) write_binary(root, "proc/4711/environ", entries, sizeof(entries))

static void write_binary(const char *root, const char *file, const void *bytes, size_t n)
{
	char *path = greta_format("%s/%s", root, file);
	tree_file(root, file, "%s", "");
	int fd = open(path, O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, bytes, n), n);
	close(fd);
	free(path);
}

/* gpu_metrics of format 1, content 6: drivers/gpu/drm/amd/include/kgd_pp_interface.h. */
static void write_metrics(const char *root, uint8_t revision, uint32_t residency)
{
	unsigned char table[288] = {(unsigned char)(sizeof table & 255), sizeof table >> 8, 1, revision};
	memcpy(table + (revision == 6 ? 40 : 104), &residency, sizeof residency);
	write_binary(root, "sys/class/drm/renderD128/device/gpu_metrics", table, sizeof table);
}

static void test_evidence__of_a_recorded_mi300x(void **state)
{
	struct greta_buf out = {0};
	tree_mi300x(*state, 1);
	tree_file(*state, "proc/4711/task/4711/stat", "4711 (greta_infer) R 1\n");
	tree_file(*state, "proc/4711/task/4711/wchan", "0");
	tree_file(*state, "proc/4711/task/4712/wchan", "kfd_wait_on_events");
	write_environ(*state, "HSA_ENABLE_SDMA=0\0HF_TOKEN=hf_abc\0FROM_ELSEWHERE=hunter2");
	write_metrics(*state, 6, 12345);
	tree_file(*state, "proc/4711/maps", "7f00-7f01 r-xp 00000000 08:01 1 /opt/rocm/lib/libamdhip64.so.6\n");
	tree_file(*state, "sys/class/kfd/kfd/proc/4711/vram_41000", "131072\n");
	tree_file(*state, "sys/class/kfd/kfd/proc/4711/queues/0/type", "0\n");
	tree_file(*state, "sys/class/devcoredump/devcd1/data", "**** AMDGPU Device Coredump ****\n");
	tree_file(*state, "sys/kernel/debug/kfd/hqds", "Inst 0,  CP Pipe 0, Queue 0\n");
	tree_file(*state, "sys/class/drm/renderD128/device/ras/a_folder/x", "reading the folder is an error\n");
	tree_file(*state, "sys/kernel/debug/dri/128/amdgpu_gpu_recover", "a read of this resets the GPU\n");
	played_back(*state, false, &out);
	const char *order[] = {"#### gpu.1", "gpu_busy_percent ==\n0\n", "gpu_metrics, in hex ==\n20 01 01 06 00",
			       "ras/a_folder ==\n(not readable: Is a directory)", "umc_err_count ==\nue: 0",
			       "#### devcoredump", "AMDGPU Device Coredump", "#### kfd", "131072",
			       "nodes/2/properties ==\n", "gfx_target_version 90402", "#### threads", "kfd_wait_on_events",
			       "#### processes", "libamdhip64", "#### environment", "HSA_ENABLE_SDMA=0\n",
			       "HF_TOKEN=(not stored)\n", "FROM_ELSEWHERE=(not stored)\n", "#### debugger", "D state",
			       "#### gpu.2"};
	const char *at = out.data;
	for (size_t i = 0; i < GRETA_COUNT(order); i++) {
		at = strstr(at, order[i]);
		if (!at)
			fail_msg("\"%s\" is not where it belongs", order[i]);
	}
	if (geteuid() == 0)
		assert_non_null(strstr(out.data, "CP Pipe 0"));
	assert_null(strstr(out.data, "resets the GPU"));
	assert_null(strstr(out.data, "hf_abc"));
	assert_null(strstr(out.data, "hunter2"));
	assert_non_null(strstr(out.data, "cmdline ==\n(not readable: No such file or directory)"));
	greta_buf_release(&out);
}

/* By a library of our own that stands in for NVML: fake_nvml.c. */
static void test_evidence__of_an_nvidia_gpu(void **state)
{
	struct greta_buf out = {0};
	struct greta_device d = {.uuid = (char[]){"GPU-1"}, .kind = (char[]){"nvidia"}, .path = (char[]){"/dev/nvidia0"}};
	const struct evidence_plan plan = {.sys = *state, .proc = *state, .devices = &d, .n_devices = 1};
	setenv("FAKE_NVML_PID", "0", 1);
	evidence_gather(&plan, keep, &out);
	assert_non_null(strstr(out.data, "#### gpu.1\n# GPU-1 /dev/nvidia0\nbusy_percent 97\nmem_busy_percent 12\nvram_bytes -\npower_w 650\n"));
	assert_non_null(strstr(out.data, "\nuncorrectable_errors 5\n"));
	unsetenv("FAKE_NVML_PID");
	greta_buf_clear(&out);
	evidence_gather(&plan, keep, &out);
	assert_non_null(strstr(out.data, "#### gpu.2\n# GPU-1 /dev/nvidia0\n(no NVML)\n"));
	greta_buf_release(&out);
}

/* A FIFO that nobody writes stands in for a read that hangs in the kernel. */
static void test_evidence__a_read_that_hangs_is_given_up(void **state)
{
	struct greta_buf out = {0};
	tree_mi300x(*state, 1);
	char *fifo = greta_format("%s/sys/class/drm/renderD128/device/gpu_busy_percent", (char *)*state);
	unlink(fifo);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	int64_t begun = greta_clock_mono_ns();
	int keep_open = open(fifo, O_RDWR); /* with a writer there, a non-blocking read says EAGAIN instead of end */
	played_back(*state, false, &out);
	assert_true(greta_clock_mono_ns() - begun < 10 * GRETA_NS_PER_S);
	assert_non_null(strstr(out.data, "#### gpu.2"));
	close(keep_open);
	free(fifo);
	greta_buf_release(&out);
}

static void test_evidence__of_a_live_process(void **state)
{
	struct greta_buf out = {0};
	(void)state;
	pid_t child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	const struct evidence_plan plan = {.sys = "/sys", .proc = "/proc", .pids = &child, .n_pids = 1, .debugger = true};
	evidence_gather(&plan, keep, &out);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	assert_non_null(strstr(out.data, "u_evidence"));
	assert_non_null(strstr(out.data, "#### debugger"));
	if (access("/usr/bin/gdb", X_OK) == 0)
		assert_non_null(strstr(out.data, "pause"));
	greta_buf_release(&out);
}

static void test_evidence__comes_through_a_pipe_in_any_pieces(void **state)
{
	const char *stream = "one 5\nab\ncdtwo 0\nthree 3\nxyz";
	(void)state;
	for (size_t cut = 0; cut <= strlen(stream); cut++) {
		struct greta_buf in = {0}, out = {0};
		greta_buf_add(&in, stream, cut);
		evidence_take(&in, keep, &out);
		greta_buf_add(&in, stream + cut, strlen(stream) - cut);
		evidence_take(&in, keep, &out);
		assert_string_equal(out.data, "#### one\nab\ncd#### two\n#### three\nxyz");
		greta_buf_release(&in);
		greta_buf_release(&out);
	}
}

/* gauge */

static void test_gauge__reads_amdgpu(void **state)
{
	struct gauge_gpu g;
	struct greta_device d = amd_device(*state);
	char *sys = greta_format("%s/sys", (char *)*state);
	tree_mi300x(*state, 1);
	tree_file(*state, "sys/class/drm/renderD128/device/gpu_busy_percent", "97\n");
	tree_file(*state, "sys/class/drm/renderD128/device/pp_dpm_sclk", "0: 132Mhz\n1: 1700Mhz *\n2: 2100Mhz\n");
	write_metrics(*state, 6, 12345);
	gauge_read_amd(sys, &d, &g);
	assert_true(g.busy == 97 && g.mem_busy == 0 && g.vram_bytes == 297590784);
	assert_true(g.power_w == 140 && g.temp_c == 47);
	assert_true(g.sclk_mhz == 1700 && g.sclk_max_mhz == 2100 && g.mclk_mhz == 900);
	assert_true(g.throttle == 12345 && g.ras_ue == 0);
	tree_file(*state, "sys/class/drm/renderD128/device/ras/aca_sdma", "ue: 2\nce: 1\nde: 0\n");
	tree_file(*state, "sys/class/drm/renderD128/device/ras/aca_umc", "Query currently inaccessible\n"); /* being reset */
	gauge_read_amd(sys, &d, &g);
	assert_true(g.ras_ue == 2);
	write_metrics(*state, 5, 2);
	gauge_read_amd(sys, &d, &g);
	assert_true(g.throttle == 2);
	write_metrics(*state, 99, 2); /* a revision we do not know */
	gauge_read_amd(sys, &d, &g);
	assert_true(isnan(g.throttle));
	device_release(&d);
	free(sys);
}

/* Missing, unreadable, nonsensical: never a number that is not there. */
static void test_gauge__does_not_invent_readings(void **state)
{
	static const char *const nonsense[] = {"", "\n", "N/A\n", "busy\n", "12%\n", "\xff\xfe", "99999999999999999999\n"};
	struct gauge_gpu g;
	struct greta_device d = amd_device(*state);
	char *sys = greta_format("%s/sys", (char *)*state);
	gauge_read_amd(sys, &d, &g);
	const double *v = (const double *)&g;
	for (size_t i = 0; i < sizeof g / sizeof *v; i++)
		assert_true(isnan(v[i]));
	for (size_t i = 0; i < GRETA_COUNT(nonsense); i++) {
		tree_file(*state, "sys/class/drm/renderD128/device/gpu_busy_percent", "%s", nonsense[i]);
		tree_file(*state, "sys/class/drm/renderD128/device/pp_dpm_sclk", "%s", nonsense[i]);
		tree_file(*state, "sys/class/drm/renderD128/device/gpu_metrics", "%s", nonsense[i]);
		tree_file(*state, "sys/class/drm/renderD128/device/ras/umc_err_count", "%s", nonsense[i]);
		gauge_read_amd(sys, &d, &g);
		assert_true(isnan(g.busy) && isnan(g.sclk_mhz) && isnan(g.throttle) && isnan(g.ras_ue));
	}
	device_release(&d);
	free(sys);
}

static void test_gauge__a_reader_of_its_own(void **state)
{
	struct greta_err e = {0};
	struct gauge_record r = {0};
	struct greta_device d = amd_device(*state);
	char *sys = greta_format("%s/sys", (char *)*state);
	int fd = -1, waited = 0;
	tree_mi300x(*state, 1);
	pid_t pid = gauge_start(sys, &d, 1, 50, &fd, &e);
	assert_true(pid > 0);
	while (!gauge_take(fd, &r) && waited++ < 500)
		usleep(10000);
	assert_int_equal(r.n, 1);
	assert_true(r.gpus[0].vram_bytes == 297590784);
	assert_true(greta_clock_mono_ns() - r.t_ns < GRETA_NS_PER_S);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd);
	device_release(&d);
	free(sys);
}

/* sample */

static void thread(const char *root, int tid, char state, int ticks, const char *wchan, const char *call)
{
	char path[64];
	snprintf(path, sizeof path, "10/task/%d/stat", tid);
	tree_file(root, path, "%d (x) %c 1 1 1 0 -1 0 0 0 0 0 %d %d 0 0 20 0 2 0 5 0 0\n", tid, state, ticks, ticks);
	snprintf(path, sizeof path, "10/task/%d/status", tid);
	tree_file(root, path, "Name:\tx\nTracerPid:\t0\nvoluntary_ctxt_switches:\t%d\nnonvoluntary_ctxt_switches:\t3\n", tid);
	snprintf(path, sizeof path, "10/task/%d/wchan", tid);
	tree_file(root, path, "%s", wchan);
	snprintf(path, sizeof path, "10/task/%d/syscall", tid);
	tree_file(root, path, "%s", call);
}

static void test_sample__of_a_recorded_process(void **state)
{
	struct sample_host h;
	const pid_t pid = 10, gone = 11;
	thread(*state, 10, 'S', 5, "futex_do_wait", "202 0x7f0 0x189 0x0 0x0 0x0 0xffffffff 0x7ffc 0x7f1\n");
	thread(*state, 11, 'S', 1, "futex_do_wait", "202 0x7f0 0x189 0x0 0x7ffd 0x0 0xffffffff 0x7ffc 0x7f1\n"); /* with a limit */
	thread(*state, 12, 'S', 0, "kfd_wait_on_events", "16 0x3 0xc0 0x7ffc 0x0 0x0 0x0 0x7ffc 0x7f1\n");
	thread(*state, 13, 'R', 90, "0", "running\n");
	thread(*state, 14, 'D', 0, "nfs_wait", "0 0x3 0x0 0x0 0x0 0x0 0x0 0x7ffc 0x7f1\n");
	thread(*state, 15, 'Z', 0, "0", "");
	tree_file(*state, "10/io", "rchar: 100\nread_bytes: 20\nwrite_bytes: 3\n");
	sample_read(*state, &pid, 1, &h);
	assert_int_equal(h.n_processes, 1);
	assert_int_equal(h.n_threads, 5);
	assert_int_equal(h.asleep, 3);
	assert_int_equal(h.parked, 1);
	assert_int_equal(h.in_device, 1);
	assert_int_equal(h.running, 1);
	assert_int_equal(h.blocked, 1);
	assert_int_equal(h.busiest, 13);
	assert_int_equal(h.busiest_ticks, 180);
	assert_int_equal(h.cpu_ticks, 192);
	assert_int_equal(h.switches, 10 + 11 + 12 + 13 + 14 + 5 * 3);
	assert_int_equal(h.io_bytes, 123);
	assert_string_equal(h.wait, "futex_do_wait");
	sample_read(*state, &gone, 1, &h);
	assert_int_equal(h.n_threads, 0);
}

/* telemetry */

static void test_telemetry__rows_and_black_box(void **state)
{
	struct telemetry t;
	struct gauge_record gpu = {.n = 1};
	const struct telemetry_place place = {.phase = GRETA_PHASE_PREFILL, .done = 7, .total = 32, .silent_s = 1.5};
	struct greta_buf detail = {0}, box = {0};
	gpu.gpus[0] = (struct gauge_gpu){.busy = 50, .mem_busy = NAN, .power_w = 700};
	tree_file(*state, "stat", "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 1 1\n");
	tree_file(*state, "meminfo", "MemTotal: 10 kB\nMemAvailable:    4 kB\n");
	tree_file(*state, "loadavg", "1.25 0.5 0.1 1/2 3\n");
	telemetry_init(&t, *state, 1, 2, 0);
	for (int s = 1; s <= 2000; s++)
		telemetry_tick(&t, s * GRETA_NS_PER_S, &gpu, s * 50, 4096, &place);
	assert_int_equal(t.n_rows, 1000); /* every second one */
	assert_true(telemetry_event(&t, false, &detail));
	assert_false(telemetry_event(&t, true, &detail));
	assert_int_equal(strncmp(detail.data, "{\"columns\":[\"cpu_percent\",\"mem_available_bytes\",\"load1\"", 50), 0);
	assert_non_null(strstr(detail.data, "gpu0.power_w"));
	assert_non_null(strstr(detail.data, ",4096,1.25,4096,50,50,null,0,700,"));
	assert_non_null(strstr(detail.data, "\"gpu0.throttle\",\"load_percent\",\"prefill_percent\",\"decode_percent\"],"));
	assert_non_null(strstr(detail.data, ",null,21.875,null]"));
	telemetry_black_box(&t, &box);
	assert_int_equal(strncmp(box.data, "t_s cpu_percent", 15), 0);
	assert_non_null(strstr(box.data, "\n1401.0 "));
	assert_non_null(strstr(box.data, "\n2000.0 "));
	assert_null(strstr(box.data, "\n1400.0 "));
	assert_non_null(strstr(box.data, " gpu0.throttle phase done total silent_s\n"));
	assert_string_equal(box.data + box.len - strlen(" prefill 7 32 1.5\n"), " prefill 7 32 1.5\n");
	greta_buf_release(&detail);
	greta_buf_release(&box);
	telemetry_release(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, unit_tmp_create, unit_tmp_remove)
		T(test_evidence__of_a_recorded_mi300x),
		T(test_evidence__of_an_nvidia_gpu),
		T(test_evidence__a_read_that_hangs_is_given_up),
		T(test_evidence__of_a_live_process),
		T(test_evidence__comes_through_a_pipe_in_any_pieces),
		T(test_gauge__reads_amdgpu),
		T(test_gauge__does_not_invent_readings),
		T(test_gauge__a_reader_of_its_own),
		T(test_sample__of_a_recorded_process),
		T(test_telemetry__rows_and_black_box),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
