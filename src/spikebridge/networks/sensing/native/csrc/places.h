/* Mean places of a target under products of a map of log-odds and Gaussians, for several of both:

       p(y, x) ~ exp(a fits[y][x] + b changes[y][x]) exp(-((x - x0)^2 + (y - y0)^2) / (2 variance))

   The caller (places.py) owns all memory and vouches for every size. */
#ifndef SPIKEBRIDGE_PLACES_H
#define SPIKEBRIDGE_PLACES_H

#include <stdint.h>

typedef struct {
    int64_t height, width, num_odds, num_priors; /* size and numbers of the maps */
    double left, top;                            /* position of the first pixel */
    const double *fits, *changes;                /* [y][x] */
    const double *factors;                       /* [odds][2]: a, b */
    const double *middles;                       /* [prior][2]: x0, y0 */
    const double *variances;                     /* [prior] */
    double *places;                              /* [odds][prior][2]: x, y */
    double *spreads;                             /* [odds][prior]: the variance along an axis */
} Places;

/* Gives 0, or 1 if there is not enough memory. */
int spikebridge_places(const Places *job);

#endif
