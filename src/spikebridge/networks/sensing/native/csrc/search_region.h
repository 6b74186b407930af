/* What a detector sees around a predicted box: a part of two frames, of the events between them and of the background,
   read in squares of several sizes.

   The caller (search_region.py) owns all memory but that of a call, and vouches for every size. */
#ifndef SPIKEBRIDGE_SEARCH_REGION_H
#define SPIKEBRIDGE_SEARCH_REGION_H

#include "resampling.h"

enum { NUM_MEANS = 5 };

typedef struct {
    MovedSampling background;            /* of the part; `seen` and `step` are set here */
    int64_t width;                       /* of a frame */
    const uint8_t *now, *before;         /* [y][x] */
    int64_t left, top;                   /* of the part, which lies inside of the frames */
    int64_t num_events;
    const uint16_t *event_x, *event_y;
    const uint8_t *is_on;
    int64_t num_patches, side;           /* pixels of a patch, an even number */
    const float *x, *y;                  /* [patch][side]: where they read the part */
    float dark, faint;                   /* added to grey levels before the logarithm, and to the variance of a patch */
    float *light;                        /* [patch][now, before][y][x], logarithm with mean 0 and variance 1 */
    float *means;                        /* [patch][cell][cell][NUM_MEANS], of cells of 2 x 2 pixels: ON, OFF, the log
                                            contrast of the frame to the known background, its size, and what is known */
} SearchRegion;

/* 0, or 1 where there was not enough memory. */
int spikebridge_search_region(SearchRegion *job);

#endif
