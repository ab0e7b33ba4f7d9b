/* Bank conflicts of every LDS access of flash_mma, enumerated. Both machines have 32 banks of 4 bytes and serve 128 bytes
 * a turn: 8 lanes of a 16-byte access, 16 of an 8-byte one. A conflict of degree n takes n turns instead of one. */
#include "kernels/attn/order.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { BANKS = 32 };

/* Most different addresses that one bank is asked for, by lanes reading `bytes` each from their byte addresses. */
static int degree(const int *address, int lanes, int bytes)
{
	int most = 0;

	for (int bank = 0; bank < BANKS; bank++) {
		int hits = 0;

		for (int l = 0; l < lanes; l++)
			for (int b = 0; b < bytes; b += 4)
				hits += (address[l] + b) / 4 % BANKS == bank;
		most = hits > most ? hits : most;
	}
	return most;
}

/* Every piece of a row once: a swizzle that loses one corrupts data. */
static void test_swizzle__is_a_permutation(void **state)
{
	(void)state;
	for (int row = 0; row < 256; row++) {
		for (int pieces = 8; pieces <= 16; pieces += 8) {
			unsigned seen = 0;

			for (int p = 0; p < pieces; p++)
				seen |= 1u << swizzle_k(row, p);
			assert_int_equal(seen, (1u << pieces) - 1);
		}
		unsigned seen = 0;
		for (int p = 0; p < 4; p++)
			seen |= 1u << swizzle_v(row, p);
		assert_int_equal(seen, 15);
	}
	unsigned places = 0;
	for (int g = 0; g < 8; g++)
		places |= 1u << v_place(g);
	assert_int_equal(places, 255);
}

static void test_swizzle__k_reads_without_conflict(void **state)
{
	(void)state;
	for (int hd = 64; hd <= 128; hd += 64) {
		for (int piece = 0; piece < hd / 8; piece++) {
			for (int row0 = 0; row0 < 64; row0 += 8) { /* CDNA's read of K; a matrix of ldmatrix */
				int a[8];

				for (int l = 0; l < 8; l++)
					a[l] = (row0 + l) * hd * 2 + 16 * swizzle_k(row0 + l, piece);
				assert_int_equal(degree(a, 8, 16), 1);
			}
		}
	}
}

static void test_swizzle__k_writes_without_conflict(void **state)
{
	(void)state;
	for (int hd = 64; hd <= 128; hd += 64) {
		for (int first = 0; first < 64 * hd / 8; first += 8) {
			int a[8];

			for (int l = 0; l < 8; l++) {
				int row = (first + l) / (hd / 8);

				a[l] = row * hd * 2 + 16 * swizzle_k(row, (first + l) % (hd / 8));
			}
			assert_int_equal(degree(a, 8, 16), 1);
		}
	}
}

static void test_swizzle__v_reads_without_conflict(void **state)
{
	(void)state;
	for (int d0 = 0; d0 < 128; d0 += 8) {
		for (int piece = 0; piece < 4; piece++) {
			int a[8];

			for (int l = 0; l < 8; l++)
				a[l] = (d0 + l) * 64 + 16 * swizzle_v(d0 + l, piece);
			assert_int_equal(degree(a, 8, 16), 1);
		}
	}
}

/* Writing V turned, 16 lanes hold columns 4 apart: 4 turns, where no swizzle takes 16. */
static void test_swizzle__v_writes_in_four_turns(void **state)
{
	int worst = 0;

	(void)state;
	for (int group = 0; group < 8; group++) {
		for (int i = 0; i < 4; i++) {
			int a[16];

			for (int l = 0; l < 16; l++) {
				int d = 4 * l + i;

				a[l] = d * 64 + 16 * swizzle_v(d, v_place(group) / 2) + v_place(group) % 2 * 8;
			}
			worst = degree(a, 16, 8) > worst ? degree(a, 16, 8) : worst;
		}
	}
	assert_int_equal(worst, 4);
}

/* Every tile of every head once; and on MI300X all tiles of a head on one die, as far as heads can be dealt whole. */
static void test_order__does_every_tile_once(void **state)
{
	static const int heads[] = { 1, 4, 8, 12, 32, 33 };

	(void)state;
	for (int h = 0; h < 6; h++) {
		for (int group = 0; group < 9; group++) { /* 0: the order by dies */
			bool seen[33][5] = { { false } };
			int die_of[33], n = 5 * heads[h], tile, head;

			memset(die_of, 0xff, sizeof die_of);
			for (int b = 0; b < n; b++) {
				if (group)
					attn_order_of(b, 5, heads[h], group, &tile, &head);
				else
					attn_order_xcd(b, 5, heads[h], 8, &tile, &head);
				assert_in_range(tile, 0, 4);
				assert_in_range(head, 0, heads[h] - 1);
				assert_false(seen[head][tile]);
				seen[head][tile] = true;
				if (!group && head < heads[h] / 8 * 8) {
					assert_true(die_of[head] == -1 || die_of[head] == b % 8);
					die_of[head] = b % 8;
				}
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order__does_every_tile_once),
		cmocka_unit_test(test_swizzle__is_a_permutation),
		cmocka_unit_test(test_swizzle__k_reads_without_conflict),
		cmocka_unit_test(test_swizzle__k_writes_without_conflict),
		cmocka_unit_test(test_swizzle__v_reads_without_conflict),
		cmocka_unit_test(test_swizzle__v_writes_in_four_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
