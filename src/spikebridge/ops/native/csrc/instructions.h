/* The sets of instructions that some files are compiled for: 0 is plain C, 1 AVX2, 2 AVX-512. */
#ifndef SPIKEBRIDGE_INSTRUCTIONS_H
#define SPIKEBRIDGE_INSTRUCTIONS_H

#include <stdint.h>

/* The widest set that this processor runs; its name; and, for tests, the widest to use. */
int64_t spikebridge_instruction_set(void);
const char *spikebridge_instructions(void);
void spikebridge_use_at_most(int64_t set);

#endif
