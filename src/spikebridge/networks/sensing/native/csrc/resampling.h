/* Pictures read between their pixels, bilinear; beyond the edges, the nearest pixels. Places are counted from the
   middle of the first pixel.

   The callers (resampling.py, orientation.c, search_region.c) own all memory but that of a call, and vouch for every
   size. */
#ifndef SPIKEBRIDGE_RESAMPLING_H
#define SPIKEBRIDGE_RESAMPLING_H

#include <stdint.h>

typedef struct {
    int64_t channels, height, width;    /* size of the picture */
    int64_t num_patches, rows, columns; /* number and size of patches */
    const float *picture;               /* [channel][y][x] */
    const float *x, *y;                 /* [patch][column] and [patch][row]: positions */
    float *patches;                     /* [patch][channel][row][column] */
} Sampling;

/* Gives 0, or 1 if there is not enough memory. */
int spikebridge_sample_patches(const Sampling *job);

typedef struct {
    int64_t height, width; /* size of the picture, 2 at least */
    int64_t rows, columns; /* size of the output */
    const float *picture;  /* [y][x][grey level, 1 if it is known] */
    const float *x, *y;    /* [column] and [row], from -1 at one edge of the picture to 1 at the other */
    float motion[6];       /* rows of a matrix from (x, y, 1) to the position in the picture */
    float *output;         /* [row][column][grey level, 1 if it is known: 0 outside of the picture] */
    int64_t step;          /* numbers from a column of it to the next, 2 or more */
} MovedSampling;

/* Gives 0, or 1 if there is not enough memory. */
int spikebridge_sample_moved(const MovedSampling *job);

/* The pixel before each position along an axis, and the share of the next pixel, which is `next` further. */
typedef struct {
    int32_t *before;
    float *share;
    int64_t next;
} Line;

static inline float nearest(float at, int64_t number)
{
    const float last = (float)(number - 1);
    return !(at > 0.0f) ? 0.0f : at > last ? last : at; /* 0 also for NaN */
}

static inline int32_t pixel_before(float at, int64_t number)
{
    const int32_t before = (int32_t)at, last = number > 1 ? (int32_t)number - 2 : 0;
    return before < last ? before : last;
}

/* `number` is the number of pixels along the axis. */
static inline void find_places(const float *places, int64_t count, int64_t number, Line *line)
{
    line->next = number > 1;
    for (int64_t k = 0; k < count; k++) {
        const float at = nearest(places[k], number);
        line->before[k] = pixel_before(at, number);
        line->share[k] = at - (float)line->before[k];
    }
}

#endif
