/* Means of many numbers. */
#ifndef SPIKEBRIDGE_MEANS_H
#define SPIKEBRIDGE_MEANS_H

#include <stdint.h>

/* The mean of numbers, or of the squares of their distances from a middle. */
static inline __attribute__((always_inline)) double mean(const float *numbers, int64_t number, int is_squared,
                                                         float middle)
{
    enum { AT_ONCE = 8 }; /* sums side by side, which need not wait for each other */
    double sums[AT_ONCE] = {0.0}, sum = 0.0;
    int64_t k = 0;
    for (; k + AT_ONCE <= number; k += AT_ONCE)
        for (int i = 0; i < AT_ONCE; i++) {
            const double away = (double)(numbers[k + i] - middle);
            sums[i] += is_squared ? away * away : away;
        }
    for (; k < number; k++) {
        const double away = (double)(numbers[k] - middle);
        sum += is_squared ? away * away : away;
    }
    for (int i = 0; i < AT_ONCE; i++)
        sum += sums[i];
    return sum / (double)number;
}

#endif
