/* Gauss-Newton steps of the affine motion from places of one picture to another picture, with small weights for
   outliers. A motion maps positions (x, y), from -1 at one edge to 1 at the other.

   The caller (alignment.py) owns all memory and vouches for every size. */
#ifndef SPIKEBRIDGE_ALIGNMENT_H
#define SPIKEBRIDGE_ALIGNMENT_H

#include <stdint.h>

/* numbers of a motion: two rows of three */
enum { NUM_OF_MOTION = 6 };

typedef struct {
    int64_t height, width, number;  /* size of the other picture; number of places */
    const float *picture;           /* [y][x] */
    const float *places;            /* [3][place]: x, y, 1 */
    const float *values, *weights;  /* [place]: values, and their weights, 1 or 0 */
    const float *slopes;            /* [NUM_OF_MOTION][place]: derivatives of the values by each number */
    float beyond_x, beyond_y;       /* sides of the whole frame, in sides of the picture */
    int64_t num_steps;
    float *motion;                  /* [2][3], before and after */
    double misfit;                  /* mean difference before the steps, at most 1 a place */
} Alignment;

/* Gives 0, or 1 if there is not enough memory. */
int spikebridge_align(Alignment *job);

#endif
