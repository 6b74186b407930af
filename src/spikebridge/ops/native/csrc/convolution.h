/* The weight and bias gradients of a convolution with few inputs. */
#ifndef SPIKEBRIDGE_CONVOLUTION_H
#define SPIKEBRIDGE_CONVOLUTION_H

#include "native.h"

/* A tap is an input channel at a place of the kernel, channel after channel; one more, of ones, stands for the bias. */
typedef struct {
    int64_t num_pictures, channels, height, width;    /* of the input */
    int64_t out_channels, out_height, out_width;      /* out_channels: a multiple of 16 */
    int64_t kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x;
    const float *x;                                   /* channels first, dense */
    const float *gradient;                            /* channels last, dense */
    float *sums;                                      /* [part][tap][out channel] */
    int64_t num_parts, num_threads;                   /* a part is a share of the pictures */
    Team team;
} Convolution;

/* 0, or 1 where there was not enough memory. */
int spikebridge_convolution_weights(const Convolution *job);

#endif
