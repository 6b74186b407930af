/* Convolutions of pictures that are mostly 0, channels last: each row of the input is listed once, and only its active
   values are summed. */
#ifndef SPIKEBRIDGE_SPIKE_CONVOLUTION_H
#define SPIKEBRIDGE_SPIKE_CONVOLUTION_H

#include "native.h"

enum { OUTPUTS = 64 }; /* of a block: those that are summed at once */

/* A tap is a row of the kernel, a column of it and an input channel, in this order. Weights, and their gradients, lie by
   block of outputs, tap and output. */
typedef struct {
    int64_t num_pictures, channels, height, width;  /* of the input */
    int64_t out_channels, out_height, out_width;    /* out_channels: a multiple of 16 */
    int64_t kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x;
    const float *x;
    const float *weights, *bias;                    /* bias may be NULL */
    float *y;                                       /* or NULL; then sums are computed */
    float *sums;                                    /* the gradient of the weights, for each part */
    const float *gradient;
    int64_t num_parts, num_threads;                 /* a part is a share of the pictures */
    Team team;
} SpikeConvolution;

/* 0, or 1 where there was not enough memory. */
int spikebridge_spike_convolution(const SpikeConvolution *job);

#endif
