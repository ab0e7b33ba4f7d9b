/* gpu-gate: run by the build. Prints the kernels that break the static gate, and fails if there are any. */
#include "base/buf.h"
#include "kernels/gpu.h"
#include <stdio.h>

int main(void)
{
	cleanup_buf struct greta_buf table = { 0 };
	int broken = greta_gpu_resources(&table, false);

	if (broken)
		fprintf(stderr, "%s%d GPU kernels break the static gate (last column)\n", greta_buf_str(&table), broken);
	return broken != 0;
}
