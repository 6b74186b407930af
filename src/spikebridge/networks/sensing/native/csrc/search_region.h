/* The inputs of a detector around a predicted box: a part of two frames, of the events between them and of the
   background, read in squares of several sizes.

   The caller (search_region.py) owns all memory but that of a call, and vouches for every size. */
#ifndef SPIKEBRIDGE_SEARCH_REGION_H
#define SPIKEBRIDGE_SEARCH_REGION_H

#include "resampling.h"

enum { NUM_MEANS = 5 };

typedef struct {
    MovedSampling background;            /* sampling of the part; `output` and `step` are not read */
    int64_t width;                       /* columns of a frame */
    const uint8_t *frame, *before;       /* [y][x] */
    int64_t left, top;                   /* position of the part, which is inside of the frames */
    int64_t num_events;
    const uint16_t *event_x, *event_y;
    const uint8_t *is_on;
    int64_t num_patches, side;           /* pixels of a patch, an even number */
    const float *x, *y;                  /* [patch][side]: positions in the part */
    float dark, faint;                   /* added to grey levels before the logarithm, and to the variance of a patch */
    float *light;                        /* [patch][frame, before][y][x], logarithm with mean 0 and variance 1 */
    float *means;                        /* [patch][cell][cell][NUM_MEANS], of cells of 2 x 2 pixels: ON, OFF, the log
                                            contrast of the frame to the known background, its size, the known share */
} SearchRegion;

/* Gives 0, or 1 if there is not enough memory. */
int spikebridge_search_region(const SearchRegion *job);

#endif
