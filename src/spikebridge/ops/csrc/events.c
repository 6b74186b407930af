/* A step of a network of events for both kinds of numbers: see events.h. */
#include "events.h"

#include <string.h>

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
/* without fused multiply-add, which would round a membrane in another way than PyTorch does */
#define FOR_THIS_PROCESSOR __attribute__((target_clones("default", "avx2")))
#else
#define FOR_THIS_PROCESSOR
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(x) JOIN(x, REAL)

#define REAL float
#include "events_of_a_type.h"
#undef REAL

#define REAL double
#include "events_of_a_type.h"
#undef REAL

int64_t spikebridge_events_version(void) { return SPIKEBRIDGE_EVENTS_VERSION; }

int64_t spikebridge_events_layer_size(void) { return (int64_t)sizeof(Layer); }
