#include "engine/cpu/kernels.h"
#include "base/mem.h"
#include "base/str.h"

static bool always(void)
{
	return true;
}

#if defined(__x86_64__)
static bool has_avx2(void)
{
	/* F16C comes with AVX2; clang 14 has no name for it */
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
	return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("avx512vnni");
}
#endif

static const struct {
	const struct cpu_kernels *kernels;
	bool (*runs_here)(void);
} tables[] = {
	/* best first */
#if defined(__x86_64__)
	{&cpu_kernels_avx512, has_avx512},
	{&cpu_kernels_avx2, has_avx2},
#endif
	{&cpu_kernels_generic, always},
};

const struct cpu_kernels *cpu_kernels_named(const char *name)
{
	for (size_t i = 0; i < GRETA_COUNT(tables); i++)
		if (greta_str_eq(tables[i].kernels->name, name))
			return tables[i].runs_here() ? tables[i].kernels : NULL;
	return NULL;
}

const struct cpu_kernels *cpu_kernels_best(void)
{
	for (size_t i = 0;; i++)
		if (tables[i].runs_here())
			return tables[i].kernels;
}

const char *attn_name(enum attn_id id)
{
	static const char *const names[] = {
#define X(name, what) #name,
		ATTN_IMPLS(X)
#undef X
	};
	return names[id];
}

const char *attn_about(enum attn_id id)
{
	static const char *const about[] = {
#define X(name, what) what,
		ATTN_IMPLS(X)
#undef X
	};
	return about[id];
}
