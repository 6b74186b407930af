/* Functions compiled for several sets of instructions, whose sums are equal to rounding only. */
#ifndef SPIKEBRIDGE_CLONES_H
#define SPIKEBRIDGE_CLONES_H

#if defined(__x86_64__) && !defined(__clang__) && defined(__GLIBC__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif
#if !defined(__clang__)
#pragma GCC optimize("fp-contract=fast")
#endif

enum { LANES = 16 }; /* of a block */

typedef float Block __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

#endif
