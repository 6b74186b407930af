/* The sets of instructions that some files are compiled for: 0 is plain C, 1 AVX2, 2 AVX-512. */
#ifndef SPIKEBRIDGE_INSTRUCTIONS_H
#define SPIKEBRIDGE_INSTRUCTIONS_H

#include <stdint.h>

/* The widest set that this processor runs; its name; and, for tests, the widest to use. */
int64_t spikebridge_instruction_set(void);
const char *spikebridge_instructions(void);
void spikebridge_use_at_most(int64_t set);

/* The first instructions that this library was compiled for and that this processor lacks; empty where it has all. */
const char *spikebridge_missing_instructions(void);

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* Functions between BEGIN_... and END_SET are compiled for that set. SEVERAL_SETS says whether there is more than one. */
#if defined(__x86_64__) && defined(__clang__)
#define SEVERAL_SETS
#define BEGIN_AVX2 _Pragma("clang attribute push(__attribute__((target(\"avx2\"))), apply_to = function)")
/* one string: `_Pragma` takes no two that stand side by side */
#define BEGIN_AVX512 \
    _Pragma("clang attribute push(__attribute__((target(\"avx512f,avx512vl,avx512bw,avx512dq\"))), apply_to = function)")
#define END_SET _Pragma("clang attribute pop")
#elif defined(__x86_64__) && defined(__GNUC__)
#define SEVERAL_SETS
#define BEGIN_AVX2 _Pragma("GCC push_options") _Pragma("GCC target(\"avx2\")")
#define BEGIN_AVX512                \
    _Pragma("GCC push_options")     \
    _Pragma("GCC target(\"avx512f,avx512vl,avx512bw,avx512dq,prefer-vector-width=512\")")
#define END_SET _Pragma("GCC pop_options")
#endif

#endif
