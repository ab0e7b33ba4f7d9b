/* emu_hip: libamdhip64's interface over the emulator, as far as kernels/gpu_api.h uses it. It takes the code object that
 * ships: checks the ELF flags, and each launch against the object's own metadata (argument offsets and sizes, threads,
 * LDS), then runs the kernel's source. Everything is done when a call returns. */
#include "tests/kernels/emu/emu.h"
#include "kernels/dev/types.h"
#include "kernels/kernel_list.h"
extern "C" {
#include "kernels/code_meta.h"
}
#include <elf.h>
#include <map>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
	HIP_OK = 0,
	HIP_INVALID_VALUE = 1,
	HIP_OUT_OF_MEMORY = 2,
	HIP_INVALID_IMAGE = 200,
	HIP_NO_BINARY_FOR_GPU = 209,
	HIP_NOT_FOUND = 500,
	HIP_LAUNCH_FAILURE = 719
};

static const size_t VRAM = (size_t)8 << 30;
static const size_t PAGE = 4096, NAN_BYTES = (size_t)1 << 20;

#define X(object, name, args, amd, nvidia, dynamic) extern "C" void name(args);
GPU_KERNEL_LIST(X)
#undef X

template <class A, void (*K)(A)> static void run_with(void *args)
{
	A a;

	memcpy(&a, args, sizeof a);
	K(a);
}

struct kernel {
	const char *name;
	size_t args_size;
	unsigned threads;
	emu_kernel_fn *run;
};

static const kernel kernels[] = {
#define X(object, name, args, amd, nvidia, dynamic) { #name, sizeof(args), amd, run_with<args, name> },
	GPU_KERNEL_LIST(X)
#undef X
};

struct module {
	code_meta meta;
};

struct function {
	const kernel *k;
	const code_kernel *meta;
};

static int sticky; /* a failed launch stays failed, as on the device */
static bool launched;
static std::map<void *, size_t> allocations;
static size_t used;

/* EMU_GPU_FAULT=hang, wrong, fault or old (a driver that knows none of the code): a GPU that is not well, for programs that can't reach the settings. */
static bool has_fault(const char *name)
{
	const char *set = getenv("EMU_GPU_FAULT");

	return set && strcmp(set, name) == 0;
}

static int refuse(int code, const char *what, const char *name)
{
	snprintf(emu_settings.message, sizeof emu_settings.message, "%s: %s", name, what);
	return code;
}

extern "C" {

int hipInit(unsigned) { return HIP_OK; }
int hipRuntimeGetVersion(int *v)
{
	const char *set = getenv("EMU_HIP_VERSION");

	*v = set ? atoi(set) : 60342133;
	return HIP_OK;
}

int hipGetDeviceCount(int *n) { *n = getenv("EMU_NO_DEVICE") ? 0 : 1; return *n ? HIP_OK : 100; }
int hipDeviceGet(int *d, int ordinal) { *d = ordinal; return ordinal == 0 ? HIP_OK : 101; }
int hipSetDevice(int ordinal) { return ordinal == 0 ? HIP_OK : 101; }

int hipDeviceGetName(char *name, int cap, int)
{
	snprintf(name, (size_t)cap, "emulated MI300X");
	return HIP_OK;
}

int hipDeviceGetPCIBusId(char *name, int cap, int)
{
	snprintf(name, (size_t)cap, "0000:0c:00.0");
	return HIP_OK;
}

int hipDeviceGetAttribute(int *value, int attribute, int)
{
	switch (attribute) {
	case 63: *value = emu_settings.units ? emu_settings.units : 304; return HIP_OK;
	case 87: *value = emu_settings.wave ? emu_settings.wave : 64; return HIP_OK;
	}
	return HIP_INVALID_VALUE;
}

int hipMemGetInfo(size_t *free_bytes, size_t *total)
{
	*total = VRAM;
	*free_bytes = VRAM - used;
	return HIP_OK;
}

/* A file of NaN, to be mapped wherever memory begins: most of it is never touched, and costs nothing then. */
static int nan_file()
{
	static int fd = -1;
	static char bytes[NAN_BYTES];

	if (fd >= 0)
		return fd;
	fd = memfd_create("nan", MFD_CLOEXEC);
	memset(bytes, 0xff, sizeof bytes);
	if (fd < 0 || write(fd, bytes, sizeof bytes) != (ssize_t)sizeof bytes)
		abort();
	return fd;
}

static bool fill_with_nan(char *base, size_t n)
{
	for (size_t at = 0; at < n; at += NAN_BYTES)
		if (mmap(base + at, n - at < NAN_BYTES ? n - at : NAN_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
			 nan_file(), 0) == MAP_FAILED)
			return false;
	return true;
}

/* Full of NaN, and ending (to 16 bytes) at a page that can't be touched. */
int hipMalloc(void **p, size_t n)
{
	size_t body = (n + PAGE - 1) / PAGE * PAGE, slack = (body - n) / 16 * 16;
	char *base;

	if (used + n > VRAM)
		return HIP_OUT_OF_MEMORY;
	base = (char *)mmap(NULL, body + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return HIP_OUT_OF_MEMORY;
	mprotect(base + body, PAGE, PROT_NONE);
	if (!fill_with_nan(base, body))
		return HIP_OUT_OF_MEMORY;
	*p = base + slack;
	allocations[*p] = n;
	used += n;
	return HIP_OK;
}

int hipFree(void *p)
{
	auto it = allocations.find(p);
	size_t body;

	if (it == allocations.end())
		return HIP_INVALID_VALUE;
	body = (it->second + PAGE - 1) / PAGE * PAGE;
	munmap((void *)((uintptr_t)p / PAGE * PAGE), body + PAGE); /* it starts in its first page */
	used -= it->second;
	allocations.erase(it);
	return HIP_OK;
}

int hipHostMalloc(void **p, size_t n, unsigned) { *p = aligned_alloc(PAGE, (n + PAGE - 1) / PAGE * PAGE); return *p ? HIP_OK : HIP_OUT_OF_MEMORY; }
int hipHostFree(void *p) { free(p); return HIP_OK; }
int hipHostRegister(void *, size_t, unsigned) { return HIP_OK; }
int hipHostUnregister(void *) { return HIP_OK; }
int hipHostGetDevicePointer(void **d, void *h, unsigned) { *d = h; return HIP_OK; }

/* Whether [p, p + n) lies in one allocation. */
static bool on_device(const void *p, size_t n)
{
	auto it = allocations.upper_bound((void *)p);

	if (it == allocations.begin())
		return false;
	--it;
	return (const char *)p + n <= (const char *)it->first + it->second;
}

static int copy(void *dst, const void *src, size_t n, bool to, bool from)
{
	if (sticky)
		return sticky;
	if ((to && !on_device(dst, n)) || (from && !on_device(src, n)))
		return refuse(HIP_INVALID_VALUE, "copy outside an allocation", "hipMemcpy");
	memcpy(dst, src, n);
	return HIP_OK;
}

int hipMemcpyHtoDAsync(void *dst, const void *src, size_t n, void *) { return copy(dst, src, n, true, false); }
int hipMemcpyDtoHAsync(void *dst, const void *src, size_t n, void *) { return copy(dst, src, n, false, true); }
int hipMemcpyDtoDAsync(void *dst, const void *src, size_t n, void *) { return copy(dst, src, n, true, true); }

int hipMemsetD8Async(void *p, unsigned char v, size_t n, void *)
{
	if (!on_device(p, n))
		return refuse(HIP_INVALID_VALUE, "outside an allocation", "hipMemsetD8Async");
	memset(p, v, n);
	return sticky;
}

int hipStreamCreateWithFlags(void **s, unsigned) { *s = malloc(1); return HIP_OK; }
int hipStreamDestroy(void *s) { free(s); return HIP_OK; }
int hipStreamSynchronize(void *)
{
	while (launched && has_fault("hang"))
		pause();
	return sticky;
}

int hipStreamQuery(void *) { return sticky; }
int hipStreamWaitEvent(void *, void *, unsigned) { return HIP_OK; }
int hipEventCreateWithFlags(void **e, unsigned) { *e = calloc(1, sizeof(timespec)); return HIP_OK; }
int hipEventDestroy(void *e) { free(e); return HIP_OK; }
int hipEventRecord(void *e, void *) { clock_gettime(CLOCK_MONOTONIC, (timespec *)e); return HIP_OK; }
int hipEventSynchronize(void *) { return sticky; }

int hipEventElapsedTime(float *ms, void *a, void *b)
{
	timespec *x = (timespec *)a, *y = (timespec *)b;

	*ms = (float)(y->tv_sec - x->tv_sec) * 1e3f + (float)(y->tv_nsec - x->tv_nsec) * 1e-6f;
	return HIP_OK;
}

/* The interface gives no size: the section headers are an ELF file's last part here. */
int hipModuleLoadData(void **out, const void *image)
{
	Elf64_Ehdr h;
	module *m;

	memcpy(&h, image, sizeof h);
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_machine != 224 /* EM_AMDGPU */ || h.e_ident[EI_OSABI] != 64)
		return HIP_INVALID_IMAGE;
	if ((h.e_flags & CODE_META_MACHINE_MASK) != CODE_META_MACHINE_GFX942 || has_fault("old"))
		return HIP_NO_BINARY_FOR_GPU;
	m = new module{};
	if (!code_meta_parse(&m->meta, image, h.e_shoff + (size_t)h.e_shnum * h.e_shentsize)) {
		delete m;
		return HIP_INVALID_IMAGE;
	}
	*out = m;
	return HIP_OK;
}

int hipModuleUnload(void *m)
{
	code_meta_release(&((module *)m)->meta);
	delete (module *)m;
	return HIP_OK;
}

int hipModuleGetFunction(void **out, void *m, const char *name)
{
	static std::map<std::string, function> functions; /* they live as long as the program */
	const code_kernel *meta = code_meta_find(&((module *)m)->meta, name);

	for (const kernel &k : kernels) {
		if (!meta || strcmp(k.name, name) != 0)
			continue;
		functions[name] = { &k, meta };
		*out = &functions[name];
		return HIP_OK;
	}
	return HIP_NOT_FOUND;
}

static const char *launch_fault(const function *f, const unsigned grid[3], const unsigned block[3], unsigned lds)
{
	const code_kernel *m = f->meta;
	unsigned threads = block[0] * block[1] * block[2];

	if (m->n_args < 1 || m->args[0].offset != 0 || m->args[0].size != f->k->args_size ||
	    strcmp(m->args[0].kind, "by_value") != 0)
		return "the code object's first argument is not the host's struct";
	for (size_t i = 1; i < m->n_args && i < CODE_META_ARGS; i++)
		if (strncmp(m->args[i].kind, "hidden_", 7) != 0)
			return "more than one argument";
	if (m->kernarg_bytes < f->k->args_size)
		return "kernel arguments do not fit their segment";
	if (m->wave != 64)
		return "not compiled for waves of 64";
	if (threads > m->max_threads || threads != f->k->threads || threads == 0)
		return "a block has more threads than the kernel was compiled for";
	if (lds != 0 || m->lds_bytes > 65536)
		return "dynamic LDS, or more than 64 KB of it";
	if (m->scratch_bytes || m->dynamic_stack)
		return "scratch memory";
	if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0 || grid[1] > 65535 || grid[2] > 65535)
		return "grid out of range";
	return NULL;
}

int hipModuleLaunchKernel(void *fn, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
			  unsigned lds, void *, void **args, void **extra)
{
	const function *f = (const function *)fn;
	const unsigned grid[3] = { gx, gy, gz }, block[3] = { bx, by, bz };
	const char *fault = launch_fault(f, grid, block, lds);
	emu_launch l = { { gx, gy, gz }, bx, f->meta->lds_bytes, f->k->run, args ? args[0] : NULL };

	if (fault)
		return refuse(HIP_INVALID_VALUE, fault, f->k->name);
	if (!args || extra)
		return HIP_INVALID_VALUE;
	if (sticky)
		return sticky;
	launched = true;
	if (has_fault("fault") || (!has_fault("wrong") && emu_run(&l)))
		sticky = HIP_LAUNCH_FAILURE;
	return HIP_OK; /* as on the device: found at the next synchronisation */
}

const char *hipGetErrorName(int r)
{
	switch (r) {
	case HIP_OK: return "hipSuccess";
	case HIP_INVALID_VALUE: return "hipErrorInvalidValue";
	case HIP_OUT_OF_MEMORY: return "hipErrorOutOfMemory";
	case 100: return "hipErrorNoDevice";
	case HIP_INVALID_IMAGE: return "hipErrorInvalidImage";
	case HIP_NO_BINARY_FOR_GPU: return "hipErrorNoBinaryForGpu";
	case HIP_NOT_FOUND: return "hipErrorNotFound";
	case HIP_LAUNCH_FAILURE: return emu_settings.message[0] ? emu_settings.message : "hipErrorLaunchFailure";
	}
	return "hipErrorUnknown";
}

/* For tests of what must fail: forgets a failed launch. */
void emu_forget(void)
{
	sticky = HIP_OK;
	emu_settings.message[0] = 0;
}
}
