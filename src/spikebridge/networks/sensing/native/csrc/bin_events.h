/* Events of a bin, as a picture and by their number near a box.

   The caller (bin_events.py) owns all memory and vouches for every size. */
#ifndef SPIKEBRIDGE_BIN_EVENTS_H
#define SPIKEBRIDGE_BIN_EVENTS_H

#include <stdint.h>

typedef struct {
    int64_t number;
    const uint16_t *x, *y;
    const uint8_t *is_on;
} BinEvents;

typedef struct {
    int64_t left, top, width, height;
} Crop;

/* image: [ON, OFF][y][x] of a crop, how many events there were, or 1 where there was any. */
void spikebridge_event_image(const BinEvents *events, const Crop *crop, int64_t is_counted, float *image);

/* Events whose larger distance from the middle of a box, in halves of its sides, is smaller than each of some limits. */
void spikebridge_count_near(const BinEvents *events, const float *middle_and_sides, const float *limits, int64_t number,
                            int64_t *counts);

#endif
