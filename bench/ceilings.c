/* ceilings: what this machine can do at best, for bench/infer to hold the engine against. One line each:
 *
 *	fma      multiply-adds from registers, all threads
 *	read     memory read, all threads, from an array far larger than the caches
 *	sgemm    OpenBLAS on one thread at prefill shapes (m tokens x n outputs x k inputs), if libopenblas.so.0 is there
 *
 * Rates are per processor second, which others on the machine disturb less than seconds on the wall.
 */
#include "base/mem.h"
#include "base/str.h"
#include <dlfcn.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHAINS = 12, MAX_THREADS = 256 };

#if defined(__x86_64__)
#define FMA_LOOP(name, isa, vec, lanes, set, fmadd)                                                                    \
	__attribute__((target(isa), noinline)) static double name(int64_t n)                                           \
	{                                                                                                              \
		vec x[CHAINS], m = set(0.999f), a = set(1e-3f);                                                        \
		_Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++)                                              \
			x[i] = set((float)i);                                                                          \
		for (int64_t k = 0; k < n; k++) {                                                                      \
			_Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++)                                      \
			{                                                                                              \
				x[i] = fmadd(x[i], m, a);                                                              \
				__asm__ volatile("" : "+x"(x[i]));                                                     \
			}                                                                                              \
		}                                                                                                      \
		return 2.0 * CHAINS * lanes * (double)n;                                                               \
	}
FMA_LOOP(avx512_flops, "avx512f", __m512, 16, _mm512_set1_ps, _mm512_fmadd_ps)
FMA_LOOP(avx2_flops, "avx2,fma", __m256, 8, _mm256_set1_ps, _mm256_fmadd_ps)
#endif

static double fma_flops(int64_t n)
{
#if defined(__x86_64__)
	return __builtin_cpu_supports("avx512f") ? avx512_flops(n) : __builtin_cpu_supports("fma") ? avx2_flops(n) : 0.0;
#else
	(void)n;
	return 0.0;
#endif
}

struct worker {
	const uint64_t *data; /* NULL: multiply-adds */
	size_t n;
	double rate; /* work per processor second */
	volatile uint64_t sink;
};

static double processor_seconds(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t s[8] = {0};
	double begun = processor_seconds(CLOCK_THREAD_CPUTIME_ID), work_done = (double)w->n * 8;

	if (!w->data)
		work_done = fma_flops(4000000);
	for (size_t i = 0; w->data && i + 8 <= w->n; i += 8)
		for (int k = 0; k < 8; k++)
			s[k] += w->data[i + (size_t)k];
	w->sink = s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
	w->rate = work_done / (processor_seconds(CLOCK_THREAD_CPUTIME_ID) - begun);
	return NULL;
}

/* Of all threads together, the best of five: the least disturbed. */
static double rate(int n_threads, const uint64_t *data, size_t n)
{
	double best = 0.0;

	for (int round = 0; round < 5; round++) {
		pthread_t thread[MAX_THREADS];
		struct worker w[MAX_THREADS];
		double total = 0.0;
		for (int i = 0; i < n_threads; i++) {
			size_t share = n / (size_t)n_threads;
			w[i] = (struct worker){.data = data ? data + share * (size_t)i : NULL, .n = share};
			if (pthread_create(&thread[i], NULL, work, &w[i]))
				abort();
		}
		for (int i = 0; i < n_threads; i++) {
			pthread_join(thread[i], NULL);
			total += w[i].rate;
		}
		best = total > best ? total : best;
	}
	return best;
}

typedef void sgemm_fn(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b,
		      int ldb, float beta, float *c, int ldc);

static void sgemm(void)
{
	static const int shapes[][3] = {{128, 2816, 1024}, {512, 1024, 1024}, {512, 2816, 1024}, {512, 1024, 2816}};
	void *lib = dlopen("libopenblas.so.0", RTLD_NOW);
	void *symbol = lib ? dlsym(lib, "cblas_sgemm") : NULL, *threads = lib ? dlsym(lib, "openblas_set_num_threads") : NULL;
	sgemm_fn *gemm;
	void (*set)(int);

	if (!symbol || !threads) {
		printf("sgemm    libopenblas.so.0 is not installed\n");
		return;
	}
	memcpy(&gemm, &symbol, sizeof gemm);
	memcpy(&set, &threads, sizeof set);
	set(1);
	for (size_t s = 0; s < GRETA_COUNT(shapes); s++) {
		int m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
		float *a = greta_alloc((size_t)m * (size_t)k * 4), *b = greta_alloc((size_t)n * (size_t)k * 4);
		float *c = greta_alloc((size_t)m * (size_t)n * 4);
		double best = 0.0;
		for (int round = 0; round < 10; round++) {
			double begun = processor_seconds(CLOCK_THREAD_CPUTIME_ID);
			gemm(101, 111, 112, m, n, k, 1.0f, a, k, b, k, 0.0f, c, n); /* row-major, B transposed */
			double now = 2e-9 * m * n * k / (processor_seconds(CLOCK_THREAD_CPUTIME_ID) - begun);
			best = now > best ? now : best;
		}
		printf("sgemm    %7.1f GFLOP/s at %d x %d x %d, one thread\n", best, m, n, k);
		free(a);
		free(b);
		free(c);
	}
}

int main(int argc, char **argv)
{
	int64_t n_threads = 1;
	size_t n = (size_t)64 << 20; /* 512 MiB */

	if (argc > 2 || (argc == 2 && (greta_str_i64(argv[1], &n_threads) || n_threads < 1 || n_threads > MAX_THREADS))) {
		fprintf(stderr, "Usage: bench-ceilings [THREADS]\n");
		return 2;
	}
	uint64_t *data = malloc(n * sizeof *data);
	if (!data)
		return 1;
	memset(data, 1, n * sizeof *data);
	printf("fma      %7.1f GFLOP/s with %d threads\n", rate((int)n_threads, NULL, 0) / 1e9, (int)n_threads);
	printf("read     %7.1f GB/s with %d threads\n", rate((int)n_threads, data, n) / 1e9, (int)n_threads);
	sgemm();
	free(data);
	return 0;
}
