/* The correlation of a picture with a template at some displacements:

       fits[i][j] = sum over y, x, c of picture[y][x][c] template[y + i][x + j][c]

   The caller (correlation.py) owns all memory and vouches for every size. */
#ifndef SPIKEBRIDGE_CORRELATION_H
#define SPIKEBRIDGE_CORRELATION_H

#include "native.h"

typedef struct {
    int64_t height, width, channels; /* size of the picture */
    int64_t template_width;          /* columns of the template */
    int64_t rows, columns;           /* number of displacements */
    const float *picture, *template; /* the template at the first displacement */
    double *fits;                    /* [row][column] */
} Correlation;

/* Gives 0, or 1 if there is not enough memory. */
int spikebridge_correlate(const Correlation *job);

#endif
