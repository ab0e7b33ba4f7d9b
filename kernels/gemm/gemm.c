/* gemm: who computes a matrix product: a vendor's library that is there, else the own kernel.
 *
 * cuBLAS and rocBLAS are opened at run time, and are optional. Rows here are columns there:
 * C^T [n][m] = W X^T, with W transposed and everything column-major. Their handles are made and their workspace fixed when the
 * GPU is opened for a model, outside any timing; with a fixed workspace and atomics off both give the same bits twice.
 */
#include "base/str.h"
#include "kernels/gpu_internal.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKSPACE_BYTES = 32 << 20 };
enum { BAND = 16 }; /* tiles of 256 rows: at k 4096 their X takes 34 MB, and a wave of blocks some 8 tiles of W */

/* cublas_v2.h: operations, types and compute types by number, the same since cuBLAS 11. */
enum { CUBLAS_N = 0, CUBLAS_T = 1, CUDA_R_32F = 0, CUDA_R_16F = 2, CUDA_R_16BF = 14, CUBLAS_COMPUTE_32F = 68 };
/* rocblas-types.h likewise, since ROCm 4. */
enum { ROCBLAS_N = 111, ROCBLAS_T = 112, ROCBLAS_F16 = 150, ROCBLAS_F32 = 151, ROCBLAS_BF16 = 168 };
enum { ROCBLAS_ATOMICS_NOT_ALLOWED = 0 };

struct gpu_blas {
	void *lib, *handle, *workspace;
	bool amd;
	int (*destroy)(void *handle);
	int (*cublas_gemm)(void *handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int ta_type,
			   int lda, const void *b, int b_type, int ldb, const void *beta, void *c, int c_type, int ldc,
			   int compute, int algorithm);
	int (*rocblas_gemm)(void *handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int a_type,
			    int lda, const void *b, int b_type, int ldb, const void *beta, const void *c, int c_type, int ldc,
			    void *d, int d_type, int ldd, int compute, int algorithm, int32_t solution, uint32_t flags);
};

static int symbol(void *lib, const char *name, void *slot)
{
	void *p = dlsym(lib, name);

	if (!p)
		return -1;
	memcpy(slot, &p, sizeof p);
	return 0;
}

static void *open_first(const char *const *names, size_t n)
{
	void *lib = NULL;

	for (size_t i = 0; i < n && !lib; i++)
		lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
	return lib;
}

static int start_cublas(struct greta_gpu *g, struct gpu_blas *b)
{
	static const char *const names[] = { "libcublas.so.13", "libcublas.so.12", "libcublas.so" };
	int (*create)(void **handle), (*set_stream)(void *handle, gpu_stream s);
	int (*set_workspace)(void *handle, void *p, size_t n), (*set_atomics)(void *handle, int mode);

	b->lib = open_first(names, 3);
	if (!b->lib || symbol(b->lib, "cublasCreate_v2", &create) || symbol(b->lib, "cublasDestroy_v2", &b->destroy) ||
	    symbol(b->lib, "cublasSetStream_v2", &set_stream) || symbol(b->lib, "cublasSetAtomicsMode", &set_atomics) ||
	    symbol(b->lib, "cublasSetWorkspace_v2", &set_workspace) || symbol(b->lib, "cublasGemmEx", &b->cublas_gemm))
		return -1;
	if (create(&b->handle))
		return -1;
	return set_stream(b->handle, g->stream) || set_atomics(b->handle, 0) ||
	       set_workspace(b->handle, b->workspace, WORKSPACE_BYTES) ? -1 : 0;
}

/* From the folder that the runtime came from, so that both are of one ROCm. */
static int start_rocblas(struct greta_gpu *g, struct gpu_blas *b)
{
	char path[sizeof g->api.lib_path + 16];
	const char *names[] = { path, "librocblas.so.5", "librocblas.so.4" };
	char *slash;
	int (*create)(void **handle), (*set_stream)(void *handle, gpu_stream s);
	int (*set_workspace)(void *handle, void *p, size_t n), (*set_atomics)(void *handle, int mode);

	greta_str_copy(path, sizeof path - 16, g->api.lib_path);
	slash = strrchr(path, '/');
	snprintf(slash ? slash + 1 : path, 16, "librocblas.so");
	b->lib = open_first(names, slash ? 1 : 3);
	if (!b->lib || symbol(b->lib, "rocblas_create_handle", &create) ||
	    symbol(b->lib, "rocblas_destroy_handle", &b->destroy) || symbol(b->lib, "rocblas_set_stream", &set_stream) ||
	    symbol(b->lib, "rocblas_set_atomics_mode", &set_atomics) ||
	    symbol(b->lib, "rocblas_set_workspace", &set_workspace) || symbol(b->lib, "rocblas_gemm_ex", &b->rocblas_gemm))
		return -1;
	b->amd = true;
	if (create(&b->handle))
		return -1;
	return set_stream(b->handle, g->stream) || set_atomics(b->handle, ROCBLAS_ATOMICS_NOT_ALLOWED) ||
	       set_workspace(b->handle, b->workspace, WORKSPACE_BYTES) ? -1 : 0;
}

void gpu_blas_stop(struct greta_gpu *g)
{
	if (!g->blas)
		return;
	if (g->blas->handle)
		g->blas->destroy(g->blas->handle);
	greta_gpu_free(g, g->blas->workspace);
	free(g->blas);
	g->blas = NULL;
}

int greta_gpu_gemm_start(struct greta_gpu *g, const char *which, struct greta_err *e)
{
	bool amd = g->api.vendor == GPU_VENDOR_AMD;

	gpu_blas_stop(g);
	g->gemm_name = "own";
	if (greta_str_eq(which, "own"))
		return 0;
	if (which && !greta_str_eq(which, "library"))
		return greta_err_set(e, GRETA_EINVAL, "matrix products by '%s': it is library or own", which);
	g->blas = calloc(1, sizeof *g->blas);
	if (!g->blas || !(g->blas->workspace = greta_gpu_alloc(g, WORKSPACE_BYTES, "the workspace of matrix products", e)))
		return -1;
	if (amd ? start_rocblas(g, g->blas) == 0 : start_cublas(g, g->blas) == 0) {
		g->gemm_name = amd ? "rocblas" : "cublas";
		return 0;
	}
	gpu_blas_stop(g);
	if (which)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "no %s was found beside the driver", amd ? "librocblas" : "libcublas");
	return 0;
}

const char *greta_gpu_gemm_name(const struct greta_gpu *g)
{
	return g->gemm_name;
}

static int by_cublas(const struct gpu_blas *b, enum greta_gpu_dtype t, const struct gemm_args *a)
{
	const float one = 1, beta = a->out == GEMM_OUT_ADD_F32 ? 1 : 0;
	int in = t == GRETA_GPU_BF16 ? CUDA_R_16BF : CUDA_R_16F, out = a->out == GEMM_OUT_ELEMENT ? in : CUDA_R_32F;

	return b->cublas_gemm(b->handle, CUBLAS_T, CUBLAS_N, a->n, a->m, a->k, &one, a->w, in, (int)a->ldw, a->x, in,
			      (int)a->ldx, &beta, a->c, out, (int)a->ldc, CUBLAS_COMPUTE_32F, -1);
}

static int by_rocblas(const struct gpu_blas *b, enum greta_gpu_dtype t, const struct gemm_args *a)
{
	const float one = 1, beta = a->out == GEMM_OUT_ADD_F32 ? 1 : 0;
	int in = t == GRETA_GPU_BF16 ? ROCBLAS_BF16 : ROCBLAS_F16, out = a->out == GEMM_OUT_ELEMENT ? in : ROCBLAS_F32;

	return b->rocblas_gemm(b->handle, ROCBLAS_T, ROCBLAS_N, a->n, a->m, a->k, &one, a->w, in, (int)a->ldw, a->x, in,
			       (int)a->ldx, &beta, a->c, out, (int)a->ldc, a->c, out, (int)a->ldc, ROCBLAS_F32, 0, 0, 0);
}

/* Tiles as the kernels have them: 128 x 128 on AMD, where blocks are dealt to dies in turn, 256 x 128 on NVIDIA. */
static int tiled(struct greta_gpu *g, enum greta_gpu_dtype t, const struct gemm_args *a, struct greta_err *e)
{
	static const enum gpu_kernel gemm[] = { GPU_K_gemm_f16, GPU_K_gemm_bf16 };
	struct gemm_tiled_args v = { .a = *a, .band = BAND };
	unsigned cols = ((unsigned)a->n + 127) / 128;

	if (!g->api.tensor_map)
		return gpu_launch(g, gemm[t], ((unsigned)a->m + 127) / 128, cols, 1, &v, e);
	if (gpu_tensor_map(g, v.map_x, t, a->x, 1, a->m, a->k, a->ldx, e) ||
	    gpu_tensor_map(g, v.map_w, t, a->w, 1, a->n, a->k, a->ldw, e))
		return -1;
	return gpu_launch(g, gemm[t], ((unsigned)a->m + 255) / 256 * cols, 1, 1, &v, e);
}

static int by_own(struct greta_gpu *g, enum greta_gpu_dtype t, const struct gemm_args *a, struct greta_err *e)
{
	static const enum gpu_kernel gemv[] = { GPU_K_gemv_f16, GPU_K_gemv_bf16 };
	unsigned waves = (unsigned)(256 / g->info.wave);

	if (a->m == 1)
		return gpu_launch(g, gemv[t], ((unsigned)a->n + waves - 1) / waves, 1, 1, a, e);
	return tiled(g, t, a, e);
}

int greta_gpu_gemm(struct greta_gpu *g, enum greta_gpu_dtype t, const struct gemm_args *a, struct greta_err *e)
{
	int r;

	if (a->m <= 0 || a->n <= 0 || a->k <= 0 || a->k % GPU_K_MULTIPLE || a->ldx % 8 || a->ldw % 8 ||
	    ((uintptr_t)a->x | (uintptr_t)a->w) % 16)
		return greta_err_set(e, GRETA_EINVAL, "matrix product: m %d, n %d, k %d, strides %lld and %lld can't be done", a->m,
				     a->n, a->k, (long long)a->ldx, (long long)a->ldw);
	if (!g->blas || a->m == 1)
		return by_own(g, t, a, e);
	r = g->blas->amd ? by_rocblas(g->blas, t, a) : by_cublas(g->blas, t, a);
	if (r)
		return greta_err_set(e, GRETA_EFAIL, "%s refused a product of %d x %d x %d: status %d", g->gemm_name, a->m, a->n,
				     a->k, r);
	return 0;
}
