/* A step of a network of events for both kinds of numbers: see events.h. */
#include "events.h"

#include <string.h>

#include "instructions.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline))
#else
#define INLINE static inline
#define APART static
#endif

/* The steps for every kind of number and every set of instructions. */
#define JOIN_(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define NAME(x) JOIN(x, REAL, SET)

/* bytes of a block of channels and of a vector; places that a dense convolution works out at once */
#define PLACES 7
#if defined(__GNUC__)
#define BLOCK 64
#define VECTOR 16
#endif
#define SET plain
#include "events_of_both.h"
#undef SET

#if defined(__GNUC__) && defined(__x86_64__)
#define SEVERAL_SETS

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#undef VECTOR
#define VECTOR 32
#define SET avx2
#include "events_of_both.h"
#undef SET
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,prefer-vector-width=512")
#endif
#undef VECTOR
#define VECTOR 64
#define SET avx512
#include "events_of_both.h"
#undef SET
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#if defined(SEVERAL_SETS)
#define CHOOSE(name, set) ((set) == 2 ? name##_avx512 : (set) == 1 ? name##_avx2 : name##_plain)
#else
#define CHOOSE(name, set) name##_plain
#endif

int64_t spikebridge_events_step_float(const Layer *layers, int64_t num_layers, const float *x, int64_t channels_last,
                                      const void *const *before, void *const *after, float *y) {
    return CHOOSE(step_float, spikebridge_instruction_set())(layers, num_layers, x, channels_last, before, after, y);
}

int64_t spikebridge_events_step_double(const Layer *layers, int64_t num_layers, const double *x, int64_t channels_last,
                                       const void *const *before, void *const *after, double *y) {
    return CHOOSE(step_double, spikebridge_instruction_set())(layers, num_layers, x, channels_last, before, after, y);
}

int64_t spikebridge_events_version(void) { return SPIKEBRIDGE_EVENTS_VERSION; }

int64_t spikebridge_events_layer_size(void) { return (int64_t)sizeof(Layer); }
