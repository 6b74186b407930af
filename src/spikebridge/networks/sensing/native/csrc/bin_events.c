/* Plain loops over the events of a bin. */

#include <math.h>
#include <string.h>

#include "bin_events.h"

#if defined(__GNUC__)

#include "clones.h"

void spikebridge_event_image(const BinEvents *events, const Crop *crop, int64_t is_counted, float *image)
{
    const int64_t left = crop->left, top = crop->top, width = crop->width, height = crop->height, area = height * width;
    memset(image, 0, (size_t)(2 * area) * sizeof(float));
    for (int64_t k = 0; k < events->number; k++) {
        const int64_t x = events->x[k] - left, y = events->y[k] - top;
        if ((uint64_t)x >= (uint64_t)width || (uint64_t)y >= (uint64_t)height)
            continue;
        float *pixel = image + (events->is_on[k] ? 0 : area) + y * width + x;
        *pixel = is_counted ? *pixel + 1.0f : 1.0f;
    }
}

CLONES void spikebridge_count_near(const BinEvents *events, const float *middle_and_sides, const float *limits,
                                   int64_t number, int64_t *counts)
{
    const float x = middle_and_sides[0], y = middle_and_sides[1], wide = middle_and_sides[2], high = middle_and_sides[3];
    for (int64_t i = 0; i < number; i++) {
        const float limit = limits[i];
        int32_t count = 0;
        for (int64_t k = 0; k < events->number; k++) {
            const float offset_x = fabsf(((float)events->x[k] + x) / wide - 0.5f);
            const float offset_y = fabsf(((float)events->y[k] + y) / high - 0.5f);
            count += (2.0f * offset_x < limit) & (2.0f * offset_y < limit); /* NaN is near nothing */
        }
        counts[i] = count;
    }
}

#endif
