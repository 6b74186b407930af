/* Convolutions with weights that no longer change, of a few pictures, as in a network that answers step by step.

   A kernel of 3 x 3 with a stride of 1 may run by tiles: 2 x 2 outputs of a channel take 16 products instead of 36
   (A. Lavin and S. Gray, CVPR 2016, F(2 x 2, 3 x 3)). */
#ifndef SPIKEBRIDGE_FIXED_CONVOLUTION_H
#define SPIKEBRIDGE_FIXED_CONVOLUTION_H

#include "native.h"

typedef struct {
    int64_t num_pictures, channels, height, width;     /* of the channels that are convolved */
    int64_t out_channels, out_height, out_width;
    int64_t kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x;
    int64_t picture_step, channel_step, row_step, column_step; /* between numbers of x */
    int64_t has_shortcut;   /* whether the first `out_channels` of x are added to the outputs; the others are convolved */
    int64_t by_tiles;       /* whether `weights` are those of tiles */
    int64_t parts;          /* of 8 outputs in a block: 1 or 2 */
    const float *weights;   /* [block of outputs][tap, or place in a tile][channel][output] */
    const float *bias;      /* of whole blocks, as is */
    const float *lower;     /* lower limit of each output: -inf where it is not rectified */
    int64_t num_threads;
    Team team;
} FixedConvolution;

/* Layers one behind the other. y: [picture][row][column][output]. 0, or 1 where there was not enough memory. */
int spikebridge_fixed_convolutions(const FixedConvolution *layers, int64_t number, const float *x, float *y);

#endif
