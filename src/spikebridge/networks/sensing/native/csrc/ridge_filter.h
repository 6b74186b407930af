/* A filter that is learned by ridge regression in the Fourier domain: its response to patches, and the sums of a patch
   from which it learns. Transforms of real maps are [ky][kx up to half the size], real and imaginary part interleaved.

   The caller (ridge_filter.py) owns all memory but that of a call, and vouches for every size. */
#ifndef SPIKEBRIDGE_RIDGE_FILTER_H
#define SPIKEBRIDGE_RIDGE_FILTER_H

#include <stdint.h>

typedef struct {
    int64_t num_patches, channels, size;      /* cells along a side, of factors 2 and 3 */
    const float *features;                    /* [patch][channel][y][x] */
    const float *numerator, *first_numerator; /* complex, [channel][ky][kx] */
    const float *power, *first_power;         /* [ky][kx] */
    float first_share, ridge;
    float *response;                          /* [patch][y][x] */
} FilterResponse;

/* Gives 0, or 1 if there is not enough memory. */
int spikebridge_filter_response(const FilterResponse *job);

typedef struct {
    int64_t channels, size;
    const float *features; /* [channel][y][x] */
    const float *label;    /* complex, [ky][kx] */
    float *numerator;      /* complex, [channel][ky][kx]: conjugate of the transform, times that of the label */
    float *power;          /* [ky][kx], summed over channels */
} FilterSums;

/* Gives 0, or 1 if there is not enough memory. */
int spikebridge_filter_sums(const FilterSums *job);

#endif
