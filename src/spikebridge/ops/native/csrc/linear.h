/* The weight gradient of a linear layer, where most inputs are 0. */
#ifndef SPIKEBRIDGE_LINEAR_H
#define SPIKEBRIDGE_LINEAR_H

#include "native.h"

enum { OUTPUTS = 64 }; /* of a block: their sums and a few rows of their gradient fit the caches */

typedef struct {
    int64_t num_rows, num_inputs, num_outputs;
    const float *x;        /* [row][input] */
    const float *gradient; /* [row][output] */
    float *sums;           /* scratch memory: [block of outputs][input][output of the block] */
    float *weights;        /* [output][input]: sum over rows of gradient * x */
    int64_t num_threads;
    Team team;
} Linear;

/* 0, or 1 where there was not enough memory. */
int spikebridge_linear_weights(const Linear *job);

#endif
