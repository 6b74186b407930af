/* The correlation of maps with a template at every place, by Fourier transforms of two maps at a time.

   The caller (correlation.py) owns all memory and vouches for every size. */
#ifndef SPIKEBRIDGE_TEMPLATE_FITS_H
#define SPIKEBRIDGE_TEMPLATE_FITS_H

#include <stdint.h>

typedef struct {
    int64_t num_pictures, channels, height, width;
    int64_t picture_step, channel_step, row_step, column_step; /* strides of the pictures */
    int64_t side;                    /* side of the template */
    int64_t size;                    /* side of a transform, of factors 2 and 3: at least a picture and half a template,
                                        and at least a template */
    const float *pictures, *template; /* the template [channel][y][x] */
    float *fits;                     /* [picture][y][x] */
} TemplateFits;

/* Gives 0, or 1 if there is not enough memory. */
int spikebridge_template_fits(const TemplateFits *job);

#endif
