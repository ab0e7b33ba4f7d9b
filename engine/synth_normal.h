/* synth_normal: normally distributed floats, by position: value i of a stream is the same whoever asks for it, on
 * whichever machine and thread, so that a synthesized file has one hash. */
#ifndef ENGINE_SYNTH_NORMAL_H
#define ENGINE_SYNTH_NORMAL_H

#include <stddef.h>
#include <stdint.h>

#define SYNTH_NORMAL_GROUP 64 /* positions and counts are multiples of this */

/* Values first .. first + n - 1 of stream `key`, N(mean, deviation). first < 2^38. */
void synth_normal(uint64_t key, uint64_t first, size_t n, float mean, float deviation, float *out);

/* A stream of its own for each (seed, number). */
uint64_t synth_normal_key(uint64_t seed, uint64_t number);

#endif
