/* A step of a network of events for both types of numbers: see events.h. */
#include "events.h"

#include <string.h>

#include "instructions.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__GNUC__)
#define APART static __attribute__((noinline))
#else
#define APART static
#endif

/* The names of functions for every type of number and every set of instructions. */
#define JOIN_(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define NAME(x) JOIN(x, REAL, SET)

#define PLACES 7 /* that a dense convolution computes at once: their sums fill the registers */
#if defined(__GNUC__)
#define BLOCK 64  /* bytes of a block of channels */
#define VECTOR 16 /* bytes */
#endif
#define SET plain
#include "events_of_both.h"
#undef SET

#ifdef SEVERAL_SETS
BEGIN_AVX2
#undef VECTOR
#define VECTOR 32
#define SET avx2
#include "events_of_both.h"
#undef SET
END_SET
BEGIN_AVX512
#undef VECTOR
#define VECTOR 64
#define SET avx512
#include "events_of_both.h"
#undef SET
END_SET
#define CHOOSE(name, set) ((set) == 2 ? name##_avx512 : (set) == 1 ? name##_avx2 : name##_plain)
#else
#define CHOOSE(name, set) name##_plain
#endif

int64_t spikebridge_events_step_float(const Layer *layers, int64_t num_layers, const float *x, int64_t channels_last,
                                      const void *const *before, void *const *after, float *y)
{
    return CHOOSE(step_float, spikebridge_instruction_set())(layers, num_layers, x, channels_last, before, after, y);
}

int64_t spikebridge_events_step_double(const Layer *layers, int64_t num_layers, const double *x, int64_t channels_last,
                                       const void *const *before, void *const *after, double *y)
{
    return CHOOSE(step_double, spikebridge_instruction_set())(layers, num_layers, x, channels_last, before, after, y);
}

int64_t spikebridge_events_version(void)
{
    return SPIKEBRIDGE_EVENTS_VERSION;
}

int64_t spikebridge_events_layer_size(void)
{
    return (int64_t)sizeof(Layer);
}
