/* The correlation of maps with a template at every place, by Fourier transforms of two maps at a time.

   The caller (correlation.py) owns all memory and vouches for every size. */
#ifndef SPIKEBRIDGE_TEMPLATE_FITS_H
#define SPIKEBRIDGE_TEMPLATE_FITS_H

#include <stdint.h>

typedef struct {
    int64_t num_pictures, channels, height, width;
    int64_t picture_step, channel_step, row_step, column_step; /* between numbers of the pictures */
    int64_t side;                    /* of the template */
    int64_t size;                    /* of a transform, of factors 2 and 3: a picture and half a template or more, and
                                        a template or more */
    const float *pictures, *template; /* the template [channel][y][x] */
    float *fits;                     /* [picture][y][x] */
} TemplateFits;

/* 0, or 1 where there was not enough memory. */
int spikebridge_template_fits(const TemplateFits *job);

#endif
