/* mma_hopper: NVIDIA's warp-level matrix instruction and what feeds it. Layout: tile_hopper.h. */
#ifndef KERNELS_DEV_MMA_HOPPER_H
#define KERNELS_DEV_MMA_HOPPER_H

#include "kernels/dev/device.h"

GPU_FN uint32_t gpu_smem(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

GPU_FN void gpu_copy16(uint32_t smem, const void *src, bool there)
{
	asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(smem), "l"(src), "r"(there ? 16 : 0));
}

GPU_FN void gpu_copy_wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }

GPU_FN void gpu_ldmatrix(uint32_t (&r)[4], uint32_t smem)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
		     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
		     : "r"(smem));
}

GPU_FN void gpu_ldmatrix_t(uint32_t (&r)[4], uint32_t smem)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
		     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
		     : "r"(smem));
}

template <class E> GPU_FN void gpu_mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
	if (E::is_bf16)
		asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
			     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
			     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
	else
		asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
			     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
			     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif
