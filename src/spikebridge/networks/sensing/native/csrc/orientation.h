/* Features of square patches of a picture, by cells of 4 x 4 pixels: means of the strength of the gradient, of
   HARMONICS multiples of its angle, cosine and sine, and of grey.

   The caller (orientation.py) owns all memory and vouches for every size. */
#ifndef SPIKEBRIDGE_ORIENTATION_H
#define SPIKEBRIDGE_ORIENTATION_H

#include <stdint.h>

enum { CELL = 4, HARMONICS = 4, NUM_FEATURES = 2 + 2 * HARMONICS };

typedef struct {
    const uint8_t *frame;      /* [y][x] */
    int64_t frame_width;
    int64_t left, top, width, height; /* the part that is read */
    int64_t num_patches, side; /* pixels of a patch, a multiple of CELL */
    const float *levels;       /* [256], the value of each grey level */
    const float *x, *y;        /* [patch][side]: positions in the part, from the centre of its first pixel on */
    const float *weights;      /* [NUM_FEATURES] */
    const float *window;       /* [cell][cell], a factor */
    float faint, flat;         /* added to each strength, and to the root mean square of features */
    float *features;           /* [patch][NUM_FEATURES][cell][cell] */
} Orientation;

/* Gives 0, or 1 if there is not enough memory. */
int spikebridge_orientation(const Orientation *job);

#endif
