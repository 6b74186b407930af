/* The largest values of windows that do not overlap, in pictures laid out channels last; the place of each is kept in a
   byte, as its number in the window, row by row. The caller (pooling.py) owns all memory and vouches for every size. */
#ifndef SPIKEBRIDGE_POOL_H
#define SPIKEBRIDGE_POOL_H

#include "native.h"

typedef struct {
    int64_t num_pictures, channels, height, width; /* of the full pictures */
    int64_t size_y, size_x;                        /* of a window, at most 255 places */
    float *full;                                   /* the full pictures, or their gradient */
    float *pooled;                                 /* the largest values, or their gradient */
    uint8_t *places;
    int64_t num_threads;
    Team team; /* NULL for one thread */
} Pool;

void spikebridge_pool_forward(const Pool *job);
void spikebridge_pool_backward(const Pool *job);

#endif
